"""The sampler in Optuna's studies: constraints, storages, pending trials, failures."""

import itertools
import math

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from lookahead_sk.integrations._optuna_space import is_inside, to_bounds, to_params, to_point
from lookahead_sk.integrations.optuna import TwoStepConstrainedSampler, _Known
from lookahead_sk.optimization import _optimizer
from lookahead_sk.optimization._space import make_space
from lookahead_sk.optimization._surrogate import fit_surrogate

optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial):
    x, y = trial.suggest_float("x", 0, 6), trial.suggest_float("y", 0, 6)
    trial.set_constraint("product", 1 - x * y)
    return x + y  # the optimum is 2, at (1, 1)


def negative(trial):
    return -objective(trial)


def study_with(storage=None, seed=0, direction="minimize", **options):
    options = {"acquisition": "eic", **options}
    sampler = TwoStepConstrainedSampler(seed=seed, **options)
    return optuna.create_study(
        study_name="s", storage=storage, sampler=sampler, direction=direction, load_if_exists=True
    )


def params_of(study):
    return [trial.params for trial in study.trials]


def test_it_finds_the_constrained_optimum():
    study = study_with(acquisition="two_step")
    study.optimize(objective, n_trials=14)
    assert study.best_value < 2.15
    assert study.best_trial.constraints["product"] <= 0
    plans = [t.system_attrs.get("two_step:is_plan") for t in study.trials]
    assert plans[:5] == [None] * 5  # one random trial, then the design
    assert set(plans[5:]) == {True, False}


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL])
def test_trials_take_turns_at_the_steps_of_a_plan_whatever_becomes_of_them(state):
    study = study_with(acquisition="two_step")
    study.optimize(objective, n_trials=8)
    asked = []
    for _ in range(4):
        trial = study.ask()
        trial.suggest_float("x", 0, 6), trial.suggest_float("y", 0, 6)
        if state != TrialState.RUNNING:
            study.tell(trial, state=state)
        asked.append(trial.number)
    plans = [study.trials[number].system_attrs["two_step:is_plan"] for number in asked]
    assert any(plans)
    if state == TrialState.RUNNING:  # what is expected of a running exploit step leaves no gain
        assert all(a or b for a, b in itertools.pairwise(plans))
    else:
        assert plans in ([True, False] * 2, [False, True] * 2)


def test_maximising_is_minimising_the_negative():
    down, up = study_with(), study_with(direction="maximize")
    down.optimize(objective, n_trials=8)
    up.optimize(negative, n_trials=8)
    assert params_of(down) == params_of(up)


def test_the_design_fills_the_space_and_has_the_wanted_size():
    study = study_with(n_startup_trials=9)
    study.optimize(objective, n_trials=10)
    designed = ["two_step:is_plan" not in t.system_attrs for t in study.trials]
    assert designed == [True] * 9 + [False]
    x = np.array([[p["x"], p["y"]] for p in params_of(study)[1:9]])
    assert len({tuple(row) for row in x // 3}) == 4  # every quarter of the box


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(tmp_path, kind):
    def storage():
        if kind == "journal":
            return JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
        return RDBStorage(f"sqlite:///{tmp_path}/study.db")

    whole = study_with()
    whole.optimize(objective, n_trials=9)
    study_with(storage()).optimize(objective, n_trials=7)
    resumed = study_with(storage())
    resumed.optimize(objective, n_trials=2)
    for expected, actual in zip(params_of(whole), params_of(resumed), strict=True):
        assert actual == pytest.approx(expected, rel=1e-9)


def test_running_trials_of_other_workers_are_taken_into_account(tmp_path):
    def worker():  # its own sampler, the same seed: nothing but the study keeps them apart
        return study_with(JournalStorage(JournalFileBackend(str(tmp_path / "study.journal"))))

    first = worker()
    first.optimize(objective, n_trials=7)
    points = []
    for _ in range(3):
        trial = worker().ask()
        points.append([trial.suggest_float("x", 0, 6), trial.suggest_float("y", 0, 6)])
    gaps = [math.dist(a, b) for i, a in enumerate(points) for b in points[:i]]
    assert min(gaps) > 0.01
    states = [t.state for t in first.get_trials()]
    assert states.count(TrialState.RUNNING) == 3


def test_a_proposal_is_known_to_others_before_its_parameters_are_asked_for():
    study = study_with()
    study.optimize(objective, n_trials=7)
    early = study.ask()
    _ = early.relative_params  # planned, but nothing was suggested yet
    late = study.ask()
    assert math.dist(early.relative_params.values(), late.relative_params.values()) > 0.01


def test_several_threads(tmp_path):
    study = study_with(RDBStorage(f"sqlite:///{tmp_path}/study.db"))
    study.optimize(objective, n_trials=8, n_jobs=2)
    assert len({tuple(p.items()) for p in params_of(study)}) == 8


def test_reseeding_changes_the_points():
    points = []
    for reseeds in (False, False, True):
        study = study_with()
        if reseeds:
            study.sampler.reseed_rng()
        study.optimize(objective, n_trials=3)
        points.append(params_of(study))
    assert points[0] == points[1]
    assert points[0][1:] != points[2][1:]


def test_several_objectives_are_refused():
    study = optuna.create_study(directions=["minimize"] * 2, sampler=TwoStepConstrainedSampler())
    with pytest.raises(ValueError, match=r"study must be a study of one objective; .*constraint"):
        study.optimize(lambda trial: (0.0, 0.0), n_trials=1)


@pytest.mark.filterwarnings("ignore:Parameter 'y'")
def test_a_range_that_moves_is_sampled_independently():
    def moving(trial):
        x = trial.suggest_float("x", 0, 6)
        return x + 0.01 * trial.suggest_float("y", 0, 1 + trial.number)

    study = study_with()
    study.optimize(moving, n_trials=8)
    assert set(study.sampler.infer_relative_search_space(study, study.trials[-1])) == {"x"}
    assert min(p["x"] for p in params_of(study)) < 0.3


def test_parameters_of_every_kind_stay_legal():
    def every_kind(trial):
        trial.suggest_float("fixed", 1.0, 1.0)
        x = trial.suggest_float("step", 0.1, 1.0, step=0.3)
        n = trial.suggest_int("log_int", 1, 1000, log=True)
        k = trial.suggest_int("odd", 1, 9, step=2)
        kind = trial.suggest_categorical("kind", [None, True, 2, "2"])
        return x + abs(math.log(n / 30)) + k + (kind is not True)

    study = study_with()
    study.optimize(every_kind, n_trials=16)  # Optuna warns of, and pytest fails on, illegal values
    assert study.best_value < 3.5  # 1.1 is the optimum


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (FloatDistribution(0, 2), [0.0, 0.3, 2.0]),
        (FloatDistribution(0.01, 100, log=True), [0.01, 1.0, 100.0]),
        (FloatDistribution(-1, 1, step=0.25), [-1.0, -0.25, 1.0]),
        (IntDistribution(2, 7), [2, 5, 7]),
        (IntDistribution(2, 12, step=5), [2, 7, 12]),
        (IntDistribution(1, 100, log=True), [1, 10, 100]),
        (CategoricalDistribution([2, True, "2", None]), [2, True, "2", None]),
    ],
)
def test_values_survive_the_way_to_the_optimiser_and_back(distribution, values):
    distributions = {"p": distribution}
    space = make_space(to_bounds(distributions))
    for value in values:
        assert is_inside({"p": value}, distributions)
        point = space.decode(space.snap(space.encode([to_point({"p": value}, distributions)])))[0]
        back = to_params(point, distributions)["p"]
        assert back == pytest.approx(value) if isinstance(value, float) else back is value
    assert not is_inside({}, distributions)


def fails_to_the_right(trial):
    x, y = trial.suggest_float("x", 0, 6), trial.suggest_float("y", 0, 6)
    return float("nan") if x > 3 else y - x


def test_failed_trials_are_avoided():
    study = study_with()
    study.optimize(fails_to_the_right, n_trials=12)
    planned = [t.params["x"] for t in study.trials if "two_step:is_plan" in t.system_attrs]
    assert sum(x > 3 for x in planned) <= len(planned) // 2
    assert study.best_value < -2


@pytest.mark.parametrize("learns", [True, False])
def test_failed_trials_can_be_ignored(learns):
    study = study_with(learns_from_failures=learns, n_startup_trials=3)
    study.optimize(objective, n_trials=4)
    with_failure = study.ask()
    objective(with_failure)
    study.tell(with_failure, state=TrialState.FAIL)
    space = study.sampler.infer_relative_search_space(study, study.trials[0])
    known = _Known(study, study.trials, space, learns)
    assert len(known.points) == 4 + learns
    assert np.isnan(known.outputs).any(axis=1).tolist() == [False] * 4 + [True] * learns


def test_bad_parameters_are_named():
    with pytest.raises(ValueError, match="acquisition must be one of"):
        TwoStepConstrainedSampler(acquisition="ucb")
    with pytest.raises(ValueError, match="n_startup_trials must be an int in"):
        TwoStepConstrainedSampler(n_startup_trials=0)


def told_trials(n, sampler, function):
    study = optuna.create_study(sampler=sampler)
    study.optimize(function, n_trials=n)
    return study


@pytest.mark.parametrize("distribution", ["linear", "log", "step"])
def test_no_trial_repeats_a_point_that_is_known_exactly(distribution):
    options = {"log": {"log": True}, "step": {"step": 3}}.get(distribution, {})

    def function(trial):
        n = trial.suggest_int("n", 1, 40, **options)
        trial.set_constraint("least", 10 - n)
        return float((n - 17) ** 2)

    study = told_trials(13, TwoStepConstrainedSampler(seed=0, acquisition="eic"), function)
    assert len({t.params["n"] for t in study.trials}) == 13


def test_integers_on_a_log_scale_are_a_lattice():
    bound = to_bounds({"n": IntDistribution(1, 1000, log=True)})["n"]
    space = make_space({"n": bound})
    points = space.decode(space.all_points())
    assert [p["n"] for p in points] == list(range(1, 1001))
    unit = np.random.default_rng(0).random((4000, 1))
    values = np.array([p["n"] for p in space.decode(unit)])
    expected = np.log(31.5 / 0.5) / np.log(1000.5 / 0.5)
    assert np.mean(values <= 31) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("suggest", "reason"),
    [
        (lambda t: t.suggest_float("v", 0, 1 + t.number), "another distribution"),
        (lambda t: t.suggest_int("v", 0, 5 + t.number), "another distribution"),
        (lambda t: t.suggest_float("v", 0, 1) if t.number % 2 else 0.0, "is missing in some"),
        (lambda t: t.suggest_categorical("v", range(1000)), "more than 250 choices"),
    ],
)
def test_what_is_not_modelled_is_announced_once(suggest, reason):
    def function(trial):
        return trial.suggest_float("x", 0, 1) + suggest(trial)

    with pytest.warns(UserWarning, match=f"Parameter 'v' .*{reason}.*sampled by") as caught:
        study = told_trials(9, TwoStepConstrainedSampler(seed=0, acquisition="eic"), function)
    assert len([w for w in caught if "Parameter" in str(w.message)]) == 1
    space = study.sampler.infer_relative_search_space(study, study.trials[-1])
    assert set(space) == {"x"}


def test_a_fit_begins_where_that_of_the_latest_trial_has_ended(monkeypatch):
    begun = []

    def fit(x, y, kernel, starts, transform, noise):
        begun.append(starts)
        return fit_surrogate(x, y, kernel, starts, transform, noise)

    monkeypatch.setattr(_optimizer, "fit_surrogate", fit)

    def function(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("c", 0.2 - x)
        return x**2

    study = told_trials(8, TwoStepConstrainedSampler(seed=0, acquisition="eic"), function)
    assert begun[0] == ()
    assert all(len(starts) == 2 for starts in begun[1:])
    n_fits = len(begun)
    # A worker that has just come reads the same from the study.
    study.sampler = TwoStepConstrainedSampler(seed=0, acquisition="eic")
    study.optimize(function, n_trials=1)
    assert len(begun[n_fits]) == 2


@pytest.mark.parametrize(("low", "high"), [(1, 10**6), (3, 2**40), (10**9, 10**9 + 10**5)])
def test_integers_on_a_long_log_scale_are_a_lattice(low, high):
    distributions = {"n": IntDistribution(low, high, log=True)}
    space = make_space(to_bounds(distributions))
    assert space.n_values <= 2**16
    unit = space.snap(np.random.default_rng(0).random((500, 1)))
    params = [to_params(point, distributions) for point in space.decode(unit)]
    assert all(type(p["n"]) is int and low <= p["n"] <= high for p in params)
    np.testing.assert_array_equal(space.encode([to_point(p, distributions) for p in params]), unit)
    logs = np.log([p["n"] for p in params])
    np.testing.assert_allclose(unit[:, 0], (logs - np.log(low)) / np.log(high / low), atol=0.06)
    for other in (low, high, low + 12345, int(math.sqrt(low * high))):
        (point,) = space.decode(space.encode([to_point({"n": other}, distributions)]))
        assert to_params(point, distributions)["n"] == pytest.approx(other, rel=1e-3)


def test_integers_on_a_long_log_scale_are_paid_once():
    study = study_with(seed=0)
    study.optimize(lambda t: (t.suggest_int("n", 1, 10**6, log=True) - 1) ** 2.0, n_trials=18)
    values = [trial.params["n"] for trial in study.trials]
    assert len(set(values)) == 18


@pytest.mark.parametrize("options", [{}, {"log": True}, {"step": 2**10}])
def test_integers_that_floats_cannot_tell_apart_are_announced(options):
    study = study_with(n_startup_trials=2)
    with pytest.warns(UserWarning, match="'n' has integers larger than 9007199254740992"):
        study.optimize(lambda t: t.suggest_int("n", 1, 1 + 2**60, **options) * 1e-18, n_trials=4)
    assert len({t.params["n"] for t in study.trials}) == 4


def test_no_trial_violates_a_known_constraint():
    def excess(params):
        return [p["x"] * p["n"] - (6 if p["kind"] == "wide" else 2) for p in params]

    def outcome(trial):
        x, n = trial.suggest_float("x", 0.1, 6), trial.suggest_int("n", 2, 20, step=2)
        kind = trial.suggest_categorical("kind", ["wide", "narrow"])
        return -x - n * (1 if kind == "narrow" else 0.5)

    study = study_with(known_constraints=excess)
    study.enqueue_trial({"x": 0.1, "n": 2, "kind": "wide"})
    study.optimize(outcome, n_trials=14)
    assert max(excess(params_of(study))) <= 0
    assert study.best_value < -13
    with pytest.raises(TypeError, match="known_constraints must be a callable"):
        TwoStepConstrainedSampler(known_constraints="x < 1")
    impossible = TwoStepConstrainedSampler(known_constraints=lambda ps: [1.0 for _ in ps])
    with pytest.raises(ValueError, match="known_constraints must be such that a point"):
        optuna.create_study(sampler=impossible).optimize(objective, n_trials=2)
