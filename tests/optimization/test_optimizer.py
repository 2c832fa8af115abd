import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import erfcx
from scipy.stats import loguniform, norm, randint
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import kernels as sk
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._maximize import exploit_step
from lookahead_sk.optimization._posterior import moments
from lookahead_sk.optimization._trust_region import TrustRegion

BOX = [(0.0, 6.0), (0.0, 6.0)]
FAST = {"n_fantasies": 8, "n_restarts": 2, "max_iter": 4}


def evaluate(X):
    """Gardner's first problem with an active constraint."""
    a, b = np.asarray(X).T
    objective = np.cos(2 * a) * np.cos(b) + np.sin(a)
    return np.stack([objective, np.cos(a + b) + 0.5], axis=1)


def make_optimizer(**parameters):
    return TwoStepConstrainedBO(BOX, 1, random_state=0, **{**FAST, **parameters})


def run(optimizer, n, function=evaluate, **options):
    while len(optimizer.y_) < n:
        X = optimizer.ask(**options)
        optimizer.tell(X, function(X))
    return optimizer


@parametrize_with_checks([TwoStepConstrainedBO(random_state=0)])
def test_it_is_a_scikit_learn_regressor(estimator, check):
    check(estimator)


@pytest.mark.parametrize("acquisition", ["two_step", "eic"])
def test_it_finds_the_constrained_optimum(acquisition):
    optimizer = run(make_optimizer(acquisition=acquisition), 25)
    assert optimizer.best_y_ < -1.85  # the optimum is -1.88875
    assert optimizer.is_feasible_.any()
    np.testing.assert_array_equal(
        optimizer.best_x_, optimizer.X_[np.flatnonzero(optimizer.y_[:, 0] == optimizer.best_y_)[0]]
    )


def test_nothing_is_known_before_the_first_tell():
    optimizer = make_optimizer()
    assert optimizer.y_.shape == (0, 2)
    assert optimizer.best_x_ is None
    assert math.isnan(optimizer.best_y_)
    with pytest.raises(NotFittedError):
        optimizer.predict([[1.0, 1.0]])


def test_clone_copies_parameters_and_no_data():
    optimizer = run(make_optimizer(kernel=sk.RBF(0.3)), 3)
    copy = clone(optimizer)
    assert copy.get_params()["kernel"] == sk.RBF(0.3)
    assert len(copy.y_) == 0


def test_a_saved_optimizer_resumes_the_very_same_sequence_of_asks(tmp_path):
    first = run(make_optimizer(batch_size=2), 8)
    first.ask()  # pending points travel too
    first.tell([[1.0, 2.0]], [[np.nan, np.nan]])
    first.save(tmp_path / "run.json")
    second = TwoStepConstrainedBO.load(tmp_path / "run.json")
    for _ in range(3):
        X = first.ask()
        np.testing.assert_array_equal(X, second.ask())
        np.testing.assert_array_equal(first.pending_, second.pending_)
        first.tell(X, evaluate(X))
        second.tell(X, evaluate(X))
    np.testing.assert_array_equal(first.y_, second.y_)


def test_a_long_run_that_was_saved_goes_on_with_what_it_has_decided(tmp_path):
    first = make_optimizer(acquisition="eic")
    X = np.random.default_rng(0).uniform(0, 6, (100, 2))
    first.tell(X, evaluate(X))
    for _ in range(2):
        X = first.ask()
        first.tell(X, evaluate(X))
    first.save(tmp_path / "run.json")
    second = TwoStepConstrainedBO.load(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    assert [start["n"] for start in content["state"]["starts"]] == [100, 100]
    np.testing.assert_array_equal(first.ask(), second.ask())


def test_a_file_with_starts_for_some_outputs_is_refused(tmp_path):
    path = tmp_path / "run.json"
    run(make_optimizer(acquisition="eic"), 7).save(path)
    content = json.loads(path.read_text())
    del content["checksum"], content["state"]["starts"][0]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="starts must be none, or one for every output"):
        TwoStepConstrainedBO.load(path)


def test_a_kernel_may_be_replaced_between_asks():
    optimizer = run(make_optimizer(acquisition="eic"), 7)
    optimizer.tell([[1.0, 2.0]], [[np.nan, np.nan]])
    optimizer.set_params(kernel=sk.RBF(0.3))
    assert optimizer.ask().shape == (1, 2)


def test_looking_at_predictions_between_asks_does_not_change_the_asks():
    quiet, curious = run(make_optimizer(), 6), run(make_optimizer(), 6)
    for _ in range(2):
        X = quiet.ask()
        curious.predict(X)
        curious.acquisition_value(X)
        np.testing.assert_array_equal(X, curious.ask())
        quiet.tell(X, evaluate(X))
        curious.tell(X, evaluate(X))


def test_named_spaces_give_dicts_and_save_and_load(tmp_path):
    bounds = {"C": loguniform(1e-3, 1e3), "depth": randint(1, 9), "kind": ["a", "b"], "x": (0, 1)}

    def cost(points):
        return [
            [abs(np.log10(p["C"]) - 1) + (p["kind"] == "b") + p["x"], p["depth"] - 5.0]
            for p in points
        ]

    optimizer = TwoStepConstrainedBO(bounds, 1, random_state=1, **FAST)
    run(optimizer, 14, cost)
    best = optimizer.best_x_
    assert set(best) == set(bounds)
    assert best["kind"] == "a"
    assert isinstance(best["depth"], int)
    assert 1e-3 <= best["C"] <= 1e3
    optimizer.save(tmp_path / "run.json")
    assert TwoStepConstrainedBO.load(tmp_path / "run.json").ask() == optimizer.ask()


def test_pending_points_are_never_suggested_twice_and_may_be_told_in_any_order():
    optimizer = run(make_optimizer(), 6)
    points = np.concatenate([optimizer.ask() for _ in range(4)])
    distances = np.abs(points[:, None] - points[None]).max(-1) + np.eye(4)
    assert distances.min() > 1e-3
    assert len(optimizer.pending_) == 4
    optimizer.tell(points[[2]], evaluate(points[[2]]))
    optimizer.tell([[3.0, 3.0]], evaluate([[3.0, 3.0]]))  # never asked
    np.testing.assert_array_equal(optimizer.pending_, points[[0, 1, 3]])
    optimizer.tell(points[[3, 0, 1]], evaluate(points[[3, 0, 1]]))
    assert len(optimizer.pending_) == 0
    assert len(optimizer.y_) == 11


def test_failed_evaluations_are_kept_and_their_border_is_learned():
    def fragile(X):
        a, b = np.asarray(X).T
        y = np.stack([0.1 * (b - 2) ** 2 - a, b - 5], axis=1)
        y[a > 4] = np.nan  # the objective would lead the search far beyond
        return y

    optimizer = run(make_optimizer(acquisition="eic"), 26, fragile)
    failed = np.isnan(optimizer.y_).any(axis=1)
    assert failed.any()
    assert len(optimizer.X_) == 26
    assert (optimizer.X_[failed, 0] > 4).all()
    assert failed.mean() < 0.8
    assert 3.7 < optimizer.best_x_[0] <= 4  # close to the border, from the side that runs


def test_a_wholly_infeasible_start_is_left_behind():
    def narrow(X):
        a, b = np.asarray(X).T
        return np.stack([np.sin(a) + b, np.sin(a) * np.sin(b) + 0.95], axis=1)

    optimizer = TwoStepConstrainedBO(BOX, 1, n_initial=5, random_state=3, **FAST)
    run(optimizer, 5, narrow)
    assert not optimizer.is_feasible_.any()
    assert run(optimizer, 25, narrow).is_feasible_.any()


@pytest.mark.parametrize("q", [2, 4, 8, 10])
def test_a_batch_has_distinct_points_inside_the_bounds(q):
    optimizer = run(make_optimizer(), 6)
    X = optimizer.ask(q)
    assert X.shape == (q, 2)
    assert ((X >= 0) & (X <= 6)).all()
    assert (np.abs(X[:, None] - X[None]).max(-1) + np.eye(q)).min() > 1e-4


def test_without_constraints_it_is_unconstrained_two_step_optimisation():
    optimizer = TwoStepConstrainedBO([(-2, 3)], random_state=0, **FAST)
    run(optimizer, 12, lambda X: (np.asarray(X)[:, 0] - 1) ** 2)
    assert optimizer.best_y_ < 1e-2
    assert optimizer.predict([[1.0]]).shape == (1,)


def test_ten_constraints_of_very_different_scales():
    weights = np.logspace(-6, 6, 10)

    def outputs(X):
        x = np.asarray(X)
        return np.concatenate([x.sum(1, keepdims=True), weights * (1 - x[:, :1])], axis=1)

    optimizer = TwoStepConstrainedBO([(0, 3)] * 3, 10, random_state=0, **FAST)
    run(optimizer, 14, outputs)
    assert optimizer.best_y_ < 1.5  # the optimum is 1
    assert optimizer.predict([[1.0, 1.0, 1.0]]).shape == (1, 11)


def test_duplicated_points_and_constant_outputs_do_no_harm():
    X = np.array([[1.0, 1.0]] * 3 + [[1.0 + 1e-9, 1.0]] + [[4.0, 2.0]] * 2)
    optimizer = make_optimizer().fit(X, np.tile([2.0, -1.0], (6, 1)))
    assert np.isfinite(optimizer.predict(X)).all()
    assert np.isfinite(optimizer.ask()).all()


def test_the_last_evaluation_of_a_budget_maximises_eic():
    two_step, eic = run(make_optimizer(), 7), run(make_optimizer(), 7)
    eic.set_params(acquisition="eic")
    only_eic = make_optimizer(acquisition="eic", exploit=False).tell(eic.X_, eic.y_)
    last = two_step.ask(remaining=1, plan_pending=False)
    np.testing.assert_array_equal(last, eic.ask(plan_pending=False))
    np.testing.assert_allclose(last, only_eic.ask(), atol=1e-3)


def scaled_log_eic(optimizer, X, std_factor):
    """EIC with standard deviations scaled, from the posterior's moments by scipy."""
    problem = optimizer._problem()
    at = moments(problem.posterior, torch.as_tensor(optimizer.space_.encode(X)))
    mean, std = at.mean.numpy(), std_factor * at.variance.sqrt().numpy()
    z = (problem.incumbent - mean[0]) / std[0]
    # log(phi(z) + z Phi(z)): scipy's scaled complement where it cancels, its limit beyond
    low = np.minimum(z, -1e-9)
    scaled = 1 + np.sqrt(np.pi / 2) * erfcx(-low / np.sqrt(2)) * low
    with np.errstate(divide="ignore"):
        plain = np.log(norm.pdf(z) + z * norm.cdf(z))
    ratio = np.where(z > -30, np.log(np.maximum(scaled, 1e-9)), -2 * np.log(-low))
    log_gain = np.where(z > -1, plain, norm.logpdf(low) + ratio)
    return np.log(std[0]) + log_gain + norm.logcdf(-mean[1:] / std[1:]).sum(axis=0)


def test_a_plan_is_carried_out_by_exploiting_at_the_ask_after_it():
    optimizer = run(make_optimizer(max_iter=10), 6)
    n_exploiting = n_exploring = 0
    for _ in range(12):
        pending, was_feasible = optimizer.plan_pending_, optimizer.is_feasible_.any()
        centre, radius = optimizer.best_x_, 1.0
        if was_feasible:
            radius = optimizer._state.trust_region.around(centre / 6)
        X = optimizer.ask()
        exploits = optimizer._state.trust_region.point is not None
        assert exploits <= (pending or len(optimizer.y_) == 6)
        assert optimizer.plan_pending_ == (was_feasible and not exploits)
        assert np.abs(optimizer.X_ - X).max(axis=1).min() > 1e-9
        if exploits:  # the model expects the best point to be there, and it is near the best one
            region = optimizer._state.trust_region
            there, now = optimizer.predict([X[0], centre])
            if region.is_local:
                there, now = region.expected, region.before
            assert there[0] < now[0]
            assert there[1] < 1e-3
            assert np.abs(X[0] - centre).max() <= 6 * radius + 1e-9
        n_exploiting, n_exploring = n_exploiting + exploits, n_exploring + (not exploits)
        optimizer.tell(X, evaluate(X))
    assert n_exploiting > 2
    assert n_exploring > 1


def test_only_the_first_point_of_a_batch_exploits():
    for n in range(8, 20):
        optimizer = run(make_optimizer(), n)
        eic = copy.deepcopy(optimizer).set_params(acquisition="eic")
        (first,) = copy.deepcopy(optimizer).ask(plan_pending=True)
        if np.abs(first - eic.ask()[0]).max() > 0.01:
            break
    else:
        pytest.fail("no state in which the exploit step differs from EIC")
    batch = copy.deepcopy(optimizer).ask(3, plan_pending=True)
    np.testing.assert_array_equal(batch[0], first)
    # The others are EIC's on the posterior conditioned on the first.
    eic = copy.deepcopy(optimizer).set_params(acquisition="eic").add_pending(first[None])
    found = [scaled_log_eic(eic, x[None], 1.0)[0] for x in (batch[1], eic.ask()[0])]
    assert found[0] == pytest.approx(found[1], abs=0.05)


def test_a_large_batch_is_one_step_of_a_plan():
    optimizer = run(make_optimizer(), 8)
    steps = []
    for options in ({"plan_pending": False}, {}, {"remaining": 30}, {"remaining": 10}):
        optimizer.forget_pending()
        optimizer.ask(10, **options)
        steps.append(optimizer.plan_pending_)
    assert steps == [True, False, True, False]
    before = run(make_optimizer(), 8)
    eic = copy.deepcopy(before).set_params(acquisition="eic")
    last = before.ask(10, remaining=10, plan_pending=True)
    np.testing.assert_array_equal(last, eic.ask(10, plan_pending=True))


def test_who_keeps_the_plan_elsewhere_hands_it_to_ask():
    optimizer = run(make_optimizer(), 10)
    while not optimizer.plan_pending_:
        run(optimizer, len(optimizer.y_) + 1)
    by_itself, handed, other = (copy.deepcopy(optimizer) for _ in range(3))
    asked = by_itself.ask()
    np.testing.assert_array_equal(handed.ask(plan_pending=True), asked)
    assert not np.array_equal(other.ask(plan_pending=False), asked)
    assert [o.plan_pending_ for o in (by_itself, handed, other)] == [False, False, True]


def test_whether_a_plan_is_pending_can_be_read_and_not_set():
    optimizer = make_optimizer()
    assert optimizer.plan_pending_ is False
    with pytest.raises(ValueError, match="plan_pending must be one of True, False, None"):
        optimizer.ask(plan_pending="yes")
    assert not hasattr(optimizer, "space_")
    with pytest.raises(AttributeError):
        optimizer.plan_pending_ = True


def test_a_subclass_changes_options_that_are_no_parameters():
    class WithFewCandidates(TwoStepConstrainedBO):
        def get_search_options(self):
            return replace(super().get_search_options(), exploit=False, n_screen=32)

    ours, ablated = (
        kind(BOX, 1, random_state=0, **FAST) for kind in (TwoStepConstrainedBO, WithFewCandidates)
    )
    for optimizer in (ours, ablated):
        optimizer.tell(*_data(12))
    assert ablated.get_search_options().n_screen == 32
    assert not np.array_equal(ablated.ask(plan_pending=True), ours.ask(plan_pending=True))


def test_without_exploit_steps_the_second_step_of_a_plan_is_eics():
    ours = make_optimizer(exploit=False).tell(*_data(12))
    eic = make_optimizer(acquisition="eic", exploit=False).tell(*_data(12))
    np.testing.assert_array_equal(ours.ask(plan_pending=True), eic.ask())


def noisy_choices(seed):
    """Five choices, evaluated again and again, and the one of them with the least mean."""
    points = [{"a": a} for a in [0, 1, 2, 3] * 3 + [4] * 2]
    noise = np.random.default_rng(seed).normal(size=14)
    optimizer = TwoStepConstrainedBO({"a": list(range(5))}, random_state=seed, n_initial=3, **FAST)
    optimizer.tell(points, 0.3 * np.array([p["a"] for p in points]) + noise)
    return optimizer, {"a": int(np.argmin(optimizer.predict([{"a": a} for a in range(5)])))}


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_exploit_step_asks_for_no_pending_point_of_a_used_up_space(seed):
    optimizer, best = noisy_choices(seed)
    optimizer.add_pending([best])
    assert optimizer.ask(plan_pending=True) != [best]


def test_the_exploit_step_repeats_no_evaluation():
    x = np.repeat(np.linspace(0, 1, 6), 3)[:, None]
    y = x[:, 0] + 0.05 * np.random.default_rng(0).normal(size=18)
    optimizer = TwoStepConstrainedBO([(0.0, 1.0)], random_state=0, **FAST).tell(x, y)
    options = optimizer.get_search_options()
    step = exploit_step(optimizer._problem(), options, 0, TrustRegion())
    assert step is None or np.abs(x - step.point).min() > 1e-6


def test_the_exploit_step_needs_a_feasible_point():
    X = np.random.default_rng(0).uniform(0, 6, (8, 2))
    y = np.stack([X[:, 0], 1 + X[:, 0] ** 2, 5 + np.sin(X[:, 1])], axis=1)
    exploits, none = (
        TwoStepConstrainedBO(
            BOX, 2, acquisition="eic", exploit=exploit, random_state=0, **FAST
        ).tell(X, y)
        for exploit in (True, False)
    )
    np.testing.assert_array_equal(exploits.ask(plan_pending=True), none.ask())
    assert exploits._state.trust_region.point is None


def test_noisy_observations_are_smoothed():
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 6, (60, 2))
    clean = evaluate(X)
    optimizer = make_optimizer().fit(X, clean + 0.2 * rng.standard_normal(clean.shape))
    error = optimizer.predict(X) - clean
    assert np.sqrt((error[:, 0] ** 2).mean()) < 0.15
    assert optimizer.fit(X, clean).score(X, clean) > 0.999


def test_predictions_are_in_the_units_of_the_user():
    optimizer = run(make_optimizer(), 30)
    X = np.random.default_rng(1).uniform(0.5, 5.5, (40, 2))
    mean, std = optimizer.predict(X, return_std=True)
    assert mean.shape == std.shape == (40, 2)
    z = (evaluate(X) - mean) / std
    assert (np.abs(z) < 4).mean() > 0.9
    np.testing.assert_allclose(optimizer.predict(optimizer.X_), optimizer.y_, atol=0.05)


def test_log_predictive_density_is_the_density_of_the_users_outputs():
    optimizer = make_optimizer(output_transform="bilog").fit(*_data(15))
    point = np.array([[2.0, 2.5]])
    mean, std = optimizer.predict(point, return_std=True)
    grid = np.linspace(mean[0] - 12 * std[0], mean[0] + 12 * std[0], 801)
    density = np.empty((2, 801))
    for j in range(2):
        for i, value in enumerate(grid[:, j]):
            y = mean.copy()
            y[0, j] = value
            density[j, i] = optimizer.log_predictive_density(point, y)
    for j in range(2):  # each slice integrates to the density of the other output
        mass = np.trapezoid(np.exp(density[j]), grid[:, j])
        other = np.trapezoid(np.exp(density[1 - j]), grid[:, 1 - j])
        joint = np.exp(optimizer.log_predictive_density(point, mean))
        assert mass * other == pytest.approx(joint, rel=1e-2)


def _data(n, seed=0):
    X = np.random.default_rng(seed).uniform(0, 6, (n, 2))
    return X, evaluate(X)


def test_a_grid_search_compares_kernels_by_predictive_density():
    kernels = [sk.RBF(1.0) + sk.WhiteKernel(1e-6), sk.Matern(1e-3, (1e-3, 2e-3), nu=0.5)]
    search = GridSearchCV(
        make_optimizer(),
        {"kernel": kernels},
        scoring=lambda model, X, y: model.log_predictive_density(X, y),
        cv=3,
    ).fit(*_data(40))
    assert search.best_params_["kernel"] == kernels[0]
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.5


def test_a_pipeline_scales_the_inputs_in_front():
    X, y = _data(30)
    model = make_pipeline(StandardScaler(), TwoStepConstrainedBO(n_constraints=1, random_state=0))
    assert model.fit(X, y).score(X, y) > 0.99
    assert model.predict(X[:3]).shape == (3, 2)


@pytest.mark.parametrize("acquisition", ["eic", "two_step"])
def test_the_acquisition_gradient_is_that_of_its_value(acquisition):
    optimizer = make_optimizer(acquisition=acquisition).fit(*_data(12))
    X, step = np.array([[2.2, 4.1], [4.0, 1.0]]), 1e-3
    gradient = optimizer.acquisition_gradient(X)
    assert (optimizer.acquisition_value(X) > 0).all()
    for j in range(2):
        move = step * np.eye(2)[j]
        high, low = optimizer.acquisition_value(X + move), optimizer.acquisition_value(X - move)
        np.testing.assert_allclose(gradient[:, j], (high - low) / (2 * step), rtol=0.2, atol=0.02)


BAD_PARAMETERS = [
    ({"bounds": [(6.0, 0.0)]}, "low < high; got low=6, high=0 for dimension 0"),
    ({"bounds": [(0.0, np.nan)]}, "finite"),
    ({"bounds": np.empty((0, 2))}, "d >= 1"),
    ({"bounds": {}}, "at least one variable"),
    ({"bounds": {"a": "b"}}, "list of choices"),
    ({"bounds": None}, "bounds must be given before ask or tell"),
    ({"n_constraints": -1}, r"n_constraints must be an int in \[0, inf\); got -1"),
    ({"batch_size": 0}, "batch_size"),
    ({"acquisition": "ei"}, "one of 'two_step', 'eic'; got 'ei'"),
    ({"gradient_estimator": "pathwise"}, "gradient_estimator"),
    ({"output_transform": "log"}, "output_transform"),
    ({"kernel": sk.RBF([1.0, 1.0, 1.0])}, "1 or 2 length-scales"),
    ({"kernel": sk.ExpSineSquared()}, "made of ConstantKernel"),
    ({"kernel": sk.WhiteKernel() ** 2}, "without a power of its WhiteKernel"),
    ({"kernel": sk.Matern(nu=0.7)}, "nu 0.5, 1.5, 2.5 or inf"),
    ({"kernel": sk.WhiteKernel() * sk.RBF()}, "scaled by a constant"),
    ({"n_fantasies": 1.5}, "n_fantasies"),
    ({"device": "tpu"}, "device"),
]


@pytest.mark.parametrize(("parameters", "message"), BAD_PARAMETERS)
def test_a_bad_parameter_is_named_by_ask_tell_and_add_pending(parameters, message):
    X = [[1.0, 1.0]]
    for call in (
        lambda optimizer: optimizer.ask(),
        lambda optimizer: optimizer.tell(X, X),
        lambda optimizer: optimizer.add_pending(X),
    ):
        optimizer = make_optimizer().set_params(**parameters)
        with pytest.raises((ValueError, TypeError), match=message):
            call(optimizer)
        assert not hasattr(optimizer, "space_")


BAD_DATA = [
    ([[1.0, 7.0]], [[1.0, 1.0]], "inside"),
    ([[1.0, np.nan]], [[1.0, 1.0]], "finite"),
    ([[1.0]], [[1.0, 1.0]], r"shape \(n, 2\)"),
    ([1.0, 2.0], [[1.0, 1.0]], "2-D"),
    ([[1.0, 2.0]], [[1.0]], r"shape \(1, 2\)"),
    ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], r"shape \(1, 2\)"),
    ([[1.0, 2.0]], [[1.0, np.inf]], "infinity"),
    ([[1.0, 2.0]], "abc", "array of numbers"),
]


@pytest.mark.parametrize(("X", "y", "message"), BAD_DATA)
def test_bad_data_are_refused_and_change_nothing(X, y, message):
    optimizer = run(make_optimizer(), 3)
    optimizer.ask()
    before = (optimizer.X_.copy(), optimizer.y_.copy(), optimizer.pending_.copy())
    with pytest.raises(ValueError, match=message):
        optimizer.tell(X, y)
    for old, new in zip(before, (optimizer.X_, optimizer.y_, optimizer.pending_), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("n_points", [0, -3, 1.5, True, "2"])
def test_ask_refuses_a_number_of_points_that_is_none(n_points):
    optimizer = make_optimizer()
    with pytest.raises((ValueError, TypeError), match="n_points must be an int"):
        optimizer.ask(n_points)


def test_fit_refuses_data_that_all_failed_and_keeps_the_old_ones():
    optimizer = make_optimizer().fit(*_data(8))
    with pytest.raises(ValueError, match="at least one row without NaN"):
        optimizer.fit([[1.0, 1.0]], [[np.nan, 1.0]])
    assert len(optimizer.y_) == 8


def test_tells_that_all_failed_lead_to_more_design_points():
    optimizer = make_optimizer()
    for _ in range(7):
        X = optimizer.ask()
        optimizer.tell(X, [[np.nan, np.nan]])
    assert len(np.unique(optimizer.X_, axis=0)) == 7


def test_load_refuses_another_file(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("no json")
    for name in ("a.json", "b.json"):
        with pytest.raises(ValueError, match="path must be a file written by"):
            TwoStepConstrainedBO.load(tmp_path / name)


def test_the_saved_file_is_plain_json(tmp_path):
    kernel = sk.ConstantKernel(2.0) * sk.Matern([0.1, 0.2], nu=1.5) + sk.WhiteKernel(1e-3)
    kernel = kernel + sk.DotProduct(0.5) ** 2
    run(make_optimizer(kernel=kernel), 6).save(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["format"] == "lookahead_sk.TwoStepConstrainedBO"
    assert TwoStepConstrainedBO.load(tmp_path / "run.json").kernel == kernel


@settings(max_examples=40, deadline=None)
@given(
    X=hnp.arrays(float, hnp.array_shapes(min_dims=1, max_dims=2, max_side=4)),
    y=hnp.arrays(float, hnp.array_shapes(min_dims=1, max_dims=2, max_side=4)),
)
def test_any_array_is_taken_or_refused_with_a_value_error(X, y):
    optimizer = make_optimizer()
    try:
        optimizer.tell(X, y)
    except ValueError:
        assert len(optimizer.y_) == 0
    else:
        assert optimizer.y_.shape == (len(X), 2)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(1e-12, 1e12),
    shift=st.floats(-1e12, 1e12),
    seed=st.integers(0, 10**6),
    n_failed=st.integers(0, 3),
)
def test_an_ask_is_legal_whatever_the_scale_of_the_outputs(scale, shift, seed, n_failed):
    X, y = _data(7, seed)
    y = scale * y + [shift, 0.0]
    y[:n_failed] = np.nan
    optimizer = make_optimizer(max_iter=1, n_fantasies=4).tell(X, y)
    asked = optimizer.ask()
    assert np.isfinite(asked).all()
    assert ((asked >= 0) & (asked <= 6)).all()


def test_more_threads_are_not_needed_to_repeat_a_run():
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(run(make_optimizer(), 8).X_)
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
