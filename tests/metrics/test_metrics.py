import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate

from lookahead_sk import metrics
from lookahead_sk.metrics import (
    area_under_cost_quality,
    best_model_accuracy,
    best_single_model,
    cost_quality_curve,
    make_cost_scorer,
    make_utility_scorer,
    oracle_gain_score,
    paired_bootstrap,
    routing_regret,
    routing_score,
)

MODELS = ["small", "medium", "large"]
SCORES = np.array(
    [
        [1.0, 0.0, 1.0],
        [0.0, 0.5, 1.0],
        [0.2, 0.2, 0.2],
        [0.0, 1.0, 0.0],
        [1.0, 1.0, 0.0],
    ]
)
CHOSEN = ["small", "small", "medium", "medium", "large"]
GROUPS = ["a", "a", "a", "b", "b"]


@pytest.fixture(scope="module")
def table():
    """Scores with many ties, predicted qualities, groups of unequal size."""
    rng = np.random.RandomState(0)
    scores = rng.choice([0.0, 0.5, 1.0], size=(400, 4), p=[0.4, 0.1, 0.5])
    quality = scores + 0.8 * rng.standard_normal(scores.shape)
    groups = rng.choice(["a", "b", "c"], size=400, p=[0.7, 0.2, 0.1])
    return scores, quality, groups


# By hand


def test_measures_by_hand():
    arguments = {"models": MODELS}
    assert routing_score(SCORES, CHOSEN, **arguments) == pytest.approx((1 + 0 + 0.2 + 1 + 0) / 5)
    assert routing_regret(SCORES, CHOSEN, **arguments) == pytest.approx((0 + 1 + 0 + 0 + 1) / 5)
    assert best_model_accuracy(SCORES, CHOSEN, **arguments) == pytest.approx(3 / 5)
    # means .44, .54, .44; oracle .84; the router's mean is .44
    gain = oracle_gain_score(SCORES, CHOSEN, best_single="medium", **arguments)
    assert gain == pytest.approx((0.44 - 0.54) / (0.84 - 0.54))


def test_macro_averages_the_groups_means_first():
    arguments = {"models": MODELS, "groups": GROUPS}
    assert routing_score(SCORES, CHOSEN, average=None, **arguments) == pytest.approx(
        {"a": 0.4, "b": 0.5}
    )
    assert routing_score(SCORES, CHOSEN, average="macro", **arguments) == pytest.approx(0.45)
    assert best_model_accuracy(SCORES, CHOSEN, average="macro", **arguments) == pytest.approx(
        (2 / 3 + 1 / 2) / 2
    )
    # medium: .7 / 3 and 1; oracle: 2.2 / 3 and 1
    single, oracle = (0.7 / 3 + 1) / 2, (2.2 / 3 + 1) / 2
    gain = oracle_gain_score(SCORES, CHOSEN, best_single=1, average="macro", **arguments)
    assert gain == pytest.approx((0.45 - single) / (oracle - single))


def test_weights_count_a_prompt_so_many_times():
    weights = [1, 2, 0, 3, 1]
    repeated = np.repeat(np.arange(5), weights)
    for measure in (routing_score, routing_regret, best_model_accuracy):
        weighted = measure(SCORES, CHOSEN, models=MODELS, sample_weight=weights)
        plain = measure(SCORES[repeated], np.array(CHOSEN)[repeated], models=MODELS)
        assert weighted == pytest.approx(plain)
    for average in ("micro", "macro"):
        weighted, plain = (
            oracle_gain_score(
                SCORES[rows],
                np.array(CHOSEN)[rows],
                models=MODELS,
                best_single="small",
                groups=np.array(GROUPS)[rows],
                average=average,
                sample_weight=w,
            )
            for rows, w in ((np.arange(5), weights), (repeated, None))
        )
        assert weighted == pytest.approx(plain)


# Identities


def test_the_oracle_has_no_regret_and_all_of_the_gain(table):
    scores, _, groups = table
    oracle, single = scores.argmax(axis=1), best_single_model(scores)
    assert routing_regret(scores, oracle) == 0
    assert best_model_accuracy(scores, oracle) == 1
    for average in ("micro", "macro"):
        gain = oracle_gain_score(scores, oracle, best_single=single, groups=groups, average=average)
        assert gain == pytest.approx(1)
        none = oracle_gain_score(scores, single, best_single=single, groups=groups, average=average)
        assert none == 0


def test_score_and_regret_make_the_oracle(table):
    scores, quality, _ = table
    chosen = quality.argmax(axis=1)
    total = routing_score(scores, chosen) + routing_regret(scores, chosen)
    assert total == pytest.approx(scores.max(axis=1).mean())


def test_any_of_several_best_models_is_a_hit():
    last_best = [2, 2, 2, 1, 1]
    first_best = [0, 2, 0, 1, 0]
    assert best_model_accuracy(SCORES, last_best) == best_model_accuracy(SCORES, first_best) == 1


def test_a_near_miss_is_no_hit():
    assert best_model_accuracy([[0.5, 0.6], [0.6, 0.6]], [0, 0]) == 0.5


def test_names_numbers_and_frames_mean_the_same(table):
    scores, quality, _ = table
    names = np.array(["w", "x", "y", "z"])
    chosen = quality.argmax(axis=1)
    by_number = routing_score(scores, chosen)
    assert routing_score(scores, names[chosen], models=names) == by_number
    assert routing_score(pd.DataFrame(scores, columns=names), names[chosen]) == by_number
    assert routing_score(scores, names[chosen].astype(object), models=list(names)) == by_number


def test_names_that_are_numbers_go_before_column_numbers():
    assert routing_score([[1.0, 0.0]], [1], models=[1, 0]) == 1
    assert routing_score([[1.0, 0.0]], [1]) == 0


def test_the_best_single_model_follows_the_average():
    scores = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1.0]])
    groups = ["big", "big", "big", "small", "tiny"]
    assert best_single_model(scores, models=["x", "y"]) == "x"
    assert best_single_model(scores, groups=groups, average="macro") == 1


def test_nothing_to_gain_is_nan():
    assert np.isnan(oracle_gain_score([[1.0, 0.0]], [1], best_single=0))


# Scores that were not observed


def test_prompts_without_the_chosen_score_are_left_out():
    scores = SCORES.copy()
    scores[1, 0] = np.nan
    assert routing_score(scores, CHOSEN, models=MODELS) == pytest.approx((1 + 0.2 + 1 + 0) / 4)
    by_group = routing_score(scores, CHOSEN, models=MODELS, groups=GROUPS, average=None)
    assert by_group == pytest.approx({"a": 0.6, "b": 0.5})


def test_the_oracle_takes_the_best_observed_model():
    scores = SCORES.copy()
    scores[1, 2] = np.nan
    assert routing_regret(scores, CHOSEN, models=MODELS) == pytest.approx((0.5 + 1) / 5)


def test_the_gain_is_taken_where_the_best_single_model_was_observed_too():
    scores = SCORES.copy()
    scores[0, 1] = np.nan
    rows = slice(1, None)
    expected = oracle_gain_score(SCORES[rows], CHOSEN[rows], best_single="medium", models=MODELS)
    assert oracle_gain_score(scores, CHOSEN, best_single="medium", models=MODELS) == pytest.approx(
        expected
    )


def test_a_group_without_observations_does_not_count_in_the_macro_average():
    scores = SCORES.copy()
    scores[3:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = routing_score(scores, CHOSEN, models=MODELS, groups=GROUPS, average="macro")
    assert value == pytest.approx(0.4)


# Cost and quality


def test_a_curve_by_hand():
    # prompt 1 leaves the dear model at w = .6 / 2, prompt 2 at w = .2 / 2
    quality = [[0.2, 0.8], [0.5, 0.7]]
    scores = [[0.0, 1.0], [1.0, 0.5]]
    curve = cost_quality_curve(scores, quality, [1.0, 3.0], weights=[0.0, 0.2, 0.4])
    assert curve.weights.tolist() == [0.4, 0.2, 0.0]
    assert curve.costs.tolist() == [1, 2, 3]
    assert curve.qualities.tolist() == [0.5, 1.0, 0.75]


def test_the_cost_never_falls_along_the_curve_and_ends_are_known(table):
    scores, quality, _ = table
    costs = np.array([1.0, 2.0, 5.0, 9.0])
    curve = cost_quality_curve(scores, quality, costs)
    assert (np.diff(curve.costs) >= 0).all()
    assert curve.costs[0] == 1
    assert curve.qualities[0] == pytest.approx(scores[:, 0].mean())
    chosen = quality.argmax(axis=1)
    assert curve.costs[-1] == pytest.approx(costs[chosen].mean())
    assert curve.qualities[-1] == pytest.approx(routing_score(scores, chosen))


def test_every_point_of_the_curve_is_the_argmax_of_utility(table):
    scores, quality, _ = table
    costs = np.random.RandomState(1).rand(*scores.shape)
    curve = cost_quality_curve(scores, quality, costs, n_weights=20)
    rows = np.arange(len(scores))
    for cost, value, weight in zip(*curve, strict=True):
        best = (quality - weight * costs).argmax(axis=1)
        assert value == pytest.approx(scores[rows, best].mean())
        assert cost == pytest.approx(costs[rows, best].mean())


def test_equal_quality_goes_to_the_cheaper_model():
    curve = cost_quality_curve([[1.0, 1.0]], [[0.5, 0.5]], [3.0, 2.0], weights=[0.0])
    assert curve.costs.tolist() == [2]


def test_equal_costs_leave_the_curve_at_one_point(table):
    scores, quality, _ = table
    curve = cost_quality_curve(scores, quality, np.ones(4))
    assert set(curve.costs) == {1.0}
    assert len(set(curve.qualities)) == 1


def test_areas_by_hand():
    assert area_under_cost_quality([1, 3], [0.0, 1.0]) == pytest.approx(0.5)
    assert area_under_cost_quality([1, 2], [0.5, 1.0], cost_range=(1, 3)) == pytest.approx(0.875)
    assert area_under_cost_quality([1, 2, 2], [0.5, 0.1, 1.0]) == pytest.approx(0.75)
    assert area_under_cost_quality([2], [0.7]) == pytest.approx(0.7)
    assert area_under_cost_quality([1, 5], [0, 1], cost_range=(2, 3)) == pytest.approx(0.375)


def test_the_area_is_the_mean_over_budgets(table):
    scores, quality, _ = table
    curve = cost_quality_curve(scores, quality, [1.0, 2.0, 5.0, 9.0])
    area = area_under_cost_quality(curve.costs, curve.qualities, cost_range=(1.0, 9.0))
    budgets = np.linspace(1, 9, 200_001)
    x, first = np.unique(curve.costs[::-1], return_index=True)
    # Among points of equal cost the best counts; here equal costs mean equal choices.
    mean = np.interp(budgets, x, curve.qualities[::-1][first]).mean()
    assert area == pytest.approx(mean, abs=1e-4)


class Fixed(ClassifierMixin, BaseEstimator):
    """Routes to one column, or, for the sake of a search, to the one its parameter names."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, X, y):
        self.classes_ = np.arange(np.shape(y)[1]) if not hasattr(y, "columns") else y.columns
        return self

    def predict(self, X):
        return np.full(len(X), np.asarray(self.classes_)[self.column])


def test_a_utility_scorer_charges_for_the_model_it_sees(table):
    scores, _, _ = table
    X = np.zeros((len(scores), 1))
    router = Fixed(2).fit(X, scores)
    value = make_utility_scorer([1, 2, 5, 9], 0.1)(router, X, scores)
    assert value == pytest.approx(scores[:, 2].mean() - 0.5)
    assert make_cost_scorer([1, 2, 5, 9])(router, X, scores) == 5
    frame = pd.DataFrame(scores, columns=list("wxyz"))
    router = Fixed(2).fit(X, frame)
    by_name = dict(zip("zyxw", [9, 5, 2, 1], strict=True))
    assert make_utility_scorer(by_name, 0.1)(router, X, frame) == pytest.approx(value)


def test_a_utility_scorer_takes_weights_and_skips_what_was_not_observed():
    scores = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 1.0]])
    X = np.zeros((3, 1))
    router = Fixed(0).fit(X, scores)
    scorer = make_utility_scorer([2.0, 4.0], 0.1)
    assert scorer(router, X, scores) == pytest.approx(0.5 - 0.2)
    weighted = scorer(router, X, scores, sample_weight=[3.0, 1.0, 1.0])
    assert weighted == pytest.approx(0.75 - 0.2)


def test_a_search_by_utility_finds_the_cheap_model_that_a_search_by_score_leaves(table):
    scores, _, _ = table
    scores = np.column_stack([scores[:, 0], np.minimum(scores[:, 0] + 0.1, 1)])
    X = np.zeros((len(scores), 1))
    best = {}
    for weight in (0.0, 0.5):
        scoring = {
            "utility": make_utility_scorer([1.0, 2.0], weight),
            "cost": make_cost_scorer([1.0, 2.0]),
        }
        search = GridSearchCV(
            clone(Fixed()), {"column": [0, 1]}, scoring=scoring, refit="utility", cv=KFold(3)
        ).fit(X, scores)
        best[weight] = search.best_params_["column"]
        assert search.cv_results_["mean_test_cost"].tolist() == [1, 2]
    assert best == {0.0: 1, 0.5: 0}


def test_scorers_work_with_labels():
    X, y = np.zeros((4, 1)), np.array(["a", "b", "a", "a"])
    router = Fixed(0)
    router.classes_ = np.array(["a", "b"])
    assert make_utility_scorer({"a": 1, "b": 2}, 0.25)(router, X, y) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="costs must be a mapping"):
        make_utility_scorer([1, 2], 0.25)(router, X, y)


def test_scorers_serve_in_cross_validation(table):
    scores, _, _ = table
    result = cross_validate(
        Fixed(1),
        np.zeros((len(scores), 1)),
        scores,
        cv=KFold(4),
        scoring={"utility": make_utility_scorer([0, 1, 2, 3], 1.0)},
    )
    assert result["test_utility"].mean() == pytest.approx(scores[:, 1].mean() - 1)


# Paired bootstrap


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_interval_agrees_with_scipys_on_the_differences(table, seed):
    scores, quality, _ = table
    rows = np.arange(len(scores))
    difference = scores[rows, quality.argmax(axis=1)] - scores[:, 0]
    peer = bootstrap(
        (difference,), np.mean, n_resamples=4000, method="percentile", rng=seed, vectorized=True
    )
    ours = paired_bootstrap(scores, quality.argmax(axis=1), 0, n_resamples=4000, random_state=seed)
    assert ours.estimate == pytest.approx(difference.mean())
    assert ours.standard_error == pytest.approx(peer.standard_error, rel=0.06)
    # A quantile of 4,000 draws is itself uncertain by about 0.05 standard errors.
    assert ours.low == pytest.approx(peer.confidence_interval.low, abs=0.25 * ours.standard_error)
    assert ours.high == pytest.approx(peer.confidence_interval.high, abs=0.25 * ours.standard_error)


@pytest.mark.parametrize("average", ["micro", "macro"])
@pytest.mark.parametrize("single", [None, 1])
def test_it_agrees_with_a_loop_that_draws_prompts_within_groups(table, average, single):
    scores, quality, groups = table
    a, b = quality.argmax(axis=1), np.full(len(scores), 3)
    rng = np.random.RandomState(5)

    def measure(rows, chosen):
        if single is None:
            return routing_score(scores[rows], chosen[rows], groups=groups[rows], average=average)
        return oracle_gain_score(
            scores[rows], chosen[rows], best_single=single, groups=groups[rows], average=average
        )

    drawn = []
    for _ in range(600):
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(groups == g), np.sum(groups == g)) for g in "abc"]
        )
        drawn.append(measure(rows, a) - measure(rows, b))
    ours = paired_bootstrap(
        scores, a, b, groups=groups, average=average, best_single=single, random_state=0
    )
    everything = np.arange(len(scores))
    assert ours.estimate == pytest.approx(measure(everything, a) - measure(everything, b))
    # The spread of 600 draws is known to about 3 %, that of 2,000 to 1.6 %.
    assert ours.standard_error == pytest.approx(np.std(drawn), rel=0.15)
    assert np.median(drawn) == pytest.approx((ours.low + ours.high) / 2, abs=0.3 * np.std(drawn))


def test_the_standard_error_is_that_of_a_stratified_mean(table):
    scores, quality, groups = table
    difference = scores[np.arange(400), quality.argmax(axis=1)] - scores[:, 2]
    parts = [difference[groups == name] for name in "abc"]
    result = {
        average: paired_bootstrap(
            scores, quality.argmax(axis=1), 2, groups=groups, average=average,
            n_resamples=20_000, random_state=0,
        ).standard_error
        for average in ("micro", "macro")
    }  # fmt: skip
    micro = np.sqrt(sum(len(part) * part.var() for part in parts)) / 400
    macro = np.sqrt(sum(part.var() / len(part) for part in parts)) / 3
    assert result["micro"] == pytest.approx(micro, rel=0.03)
    assert result["macro"] == pytest.approx(macro, rel=0.03)


def test_a_router_does_not_differ_from_itself(table):
    scores, quality, _ = table
    chosen = quality.argmax(axis=1)
    assert paired_bootstrap(scores, chosen, chosen, random_state=0)[:3] == (0, 0, 0)


def test_runs_are_averaged_on_each_prompt(table):
    scores, quality, _ = table
    runs = np.array([quality.argmax(axis=1), np.zeros(400, dtype=int)])
    result = paired_bootstrap(scores, runs, 0, random_state=0)
    single = paired_bootstrap(scores, runs[0], 0, random_state=0)
    assert result.estimate == pytest.approx(single.estimate / 2)
    assert result.standard_error == pytest.approx(single.standard_error / 2, rel=0.1)


def test_only_prompts_on_which_both_were_observed_are_compared(table):
    scores, quality, _ = table
    chosen = quality.argmax(axis=1)
    hidden = scores.copy()
    hidden[:100, 0] = np.nan
    result = paired_bootstrap(hidden, np.where(chosen == 0, 1, chosen), 0, random_state=0)
    kept = scores[100:]
    expected = paired_bootstrap(kept, np.where(chosen == 0, 1, chosen)[100:], 0, random_state=0)
    assert result == expected


def test_the_same_random_state_gives_the_same_interval(table):
    scores, quality, _ = table
    one, two, other = (
        paired_bootstrap(scores, quality.argmax(axis=1), 0, random_state=seed) for seed in (3, 3, 4)
    )
    assert one == two
    assert one.low != other.low


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: routing_score([1.0, 2.0], [0, 1]), "scores must be a 2-D array"),
        (lambda: routing_score([[np.inf, 0.0]], [0]), "scores must be finite, or NaN"),
        (lambda: routing_score(np.empty((0, 2)), []), "at least one prompt"),
        (lambda: routing_score(SCORES, [0, 1]), "one model for each of the 5 prompts"),
        (lambda: routing_score(SCORES, [0, 1, 2, 3, 0]), "numbers from 0 to 2; got 3"),
        (lambda: routing_score(SCORES, [0, 1, 2, -1, 0]), "numbers from 0 to 2; got -1"),
        (lambda: routing_score(SCORES, CHOSEN), "got 'small'. Pass models= to use names"),
        (lambda: routing_score(SCORES, ["tiny"] * 5, models=MODELS), "models out of .*got 'tiny'"),
        (lambda: routing_score(SCORES, CHOSEN, models=MODELS[:2]), "models must be 3 names"),
        (lambda: routing_score(SCORES, 0, average="macro"), "groups must be given when average"),
        (lambda: routing_score(SCORES, 0, average="mean"), "average must be one of 'micro'"),
        (lambda: routing_score(SCORES, 0, groups=["a"]), "groups must be one label for each"),
        (lambda: routing_score(SCORES, 0, sample_weight=[1, 1]), "sample_weight must be one"),
        (lambda: routing_score(SCORES, 0, sample_weight=[-1] * 5), "sample_weight must be finite"),
        (lambda: routing_score([[np.nan, 1.0]], [0]), "observed for the chosen model"),
        (lambda: oracle_gain_score(SCORES, 0, best_single=[0, 1]), "best_single must be one model"),
        (lambda: oracle_gain_score(SCORES, 0, best_single=0, average=None), "average must be one"),
        (lambda: cost_quality_curve(SCORES, SCORES, [1, 2]), r"costs must be of shape \(3,\)"),
        (lambda: cost_quality_curve(SCORES, SCORES, [1, 2, -3]), "costs must be finite and not"),
        (lambda: cost_quality_curve(SCORES, SCORES[:, :2], [1, 2, 3]), "quality must be of shape"),
        (
            lambda: cost_quality_curve(SCORES, SCORES, [1, 2, 3], weights=[-1.0]),
            "weights must be a list of finite numbers",
        ),
        (lambda: area_under_cost_quality([1, 2], [1]), "costs and qualities must be finite"),
        (lambda: area_under_cost_quality([1, 2], [0, 1], cost_range=(0, 2)), "cost_range must be"),
        (lambda: area_under_cost_quality([1, 2], [0, 1], cost_range=(2, 1)), "cost_range must be"),
        (lambda: make_utility_scorer([1, 2], -1.0), "cost_weight must be a float in"),
        (lambda: paired_bootstrap(SCORES, 0, 1, confidence_level=1.0), "confidence_level must be"),
        (lambda: paired_bootstrap(SCORES, 0, 1, n_resamples=0), "n_resamples must be an int"),
        (lambda: paired_bootstrap(SCORES, 0, 9), "chosen_b must be column numbers"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_public_name_exists():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
