"""A race: candidates are dropped before all splits, and only those that cannot be the best."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from _step import DATA, Step, quality, size
from scipy.stats import t as student
from scipy.stats import uniform
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import make_scorer
from sklearn.model_selection import KFold, RandomizedSearchCV, ShuffleSplit

from lookahead_sk import ConstrainedSearchCV
from lookahead_sk.model_selection import NoFeasibleCandidateWarning
from lookahead_sk.model_selection._racing import predict_mean, predict_splits

pytestmark = pytest.mark.filterwarnings("ignore:A budget of .* initial design")
N_SPLITS = 4
TIMES = ("fit_time", "score_time")


def make_search(estimator=None, **parameters):
    defaults = {
        "objective": quality,
        "constraints": {size: (None, 0.25)},
        "n_iter": 12,
        "cv": N_SPLITS,
        "random_state": 0,
        "n_initial": 100,  # no candidate is planned: quick, and the same with and without racing
        "racing": True,
    }
    return ConstrainedSearchCV(
        estimator or Step(), {"x": uniform(0, 1)}, **{**defaults, **parameters}
    )


def noisy(model, X, y):
    """Quality with an effect of the split and a residual, both by the first row of the split."""
    return model.x + X[0, 0] / 5 + np.sin(1000 * model.x + X[0, 0]) / 100


NOISY = np.arange(12.0)[:, None], np.arange(12) % 2


def make_noisy(**parameters):
    defaults = {"objective": noisy, "cv": KFold(N_SPLITS), "n_iter": 14}
    return make_search(**{**defaults, **parameters})


def without_times(results):
    return {k: v for k, v in results.items() if not k.endswith(TIMES)}


def assert_same(one, two):
    one, two = without_times(one), without_times(two)
    assert one.keys() == two.keys()
    for key, column in one.items():
        if key != "params":
            column = np.ma.getdata(column).astype(float)
            np.testing.assert_allclose(column, two[key].astype(float), rtol=1e-6, err_msg=key)


def is_dropped(results):
    return (results["n_splits_evaluated"] < N_SPLITS) & ~np.isnan(results["violation"])


# Predictions


def test_the_prediction_is_that_of_a_two_way_analysis_of_variance():
    """Against least squares with dummies for rows and columns; all rows are similar."""
    rng = np.random.default_rng(0)
    complete, seen = rng.normal(size=(3, 4)), rng.normal(size=(1, 2))
    rows, columns = np.indices(complete.shape).reshape(2, -1)
    design = np.hstack([rows[:, None] == np.arange(3), columns[:, None] == np.arange(1, 4)])
    coef, rss, rank, _ = np.linalg.lstsq(design.astype(float), complete.ravel(), rcond=None)
    effects = np.r_[0, coef[3:]]
    mean = (seen - effects[:2]).mean() + effects.mean()
    # Of the mean of the candidate's four values: those not seen, and the effects' errors.
    weights = np.r_[[1 / 4 - 1 / 2] * 2, [1 / 4] * 2]
    variance = rss[0] / (12 - rank) * (weights @ weights) * (1 + 1 / 3)
    predicted = predict_mean(complete, seen)
    np.testing.assert_allclose(predicted.mean, mean)
    np.testing.assert_allclose(predicted.std, np.sqrt(variance))
    assert predicted.dof == 12 - rank
    chance = student.sf((0.3 - mean) / np.sqrt(variance), 12 - rank)
    np.testing.assert_allclose(predicted.chance_above(0.3), chance, rtol=1e-6)


@pytest.mark.parametrize("n_seen", [1, 3])
def test_chances_are_calibrated_where_the_model_holds(n_seen):
    """The level of the predicted distribution at the true mean is uniform."""
    rng = np.random.default_rng(0)
    n, n_splits = 4000, 5
    levels = []
    for _ in range(n // 20):
        table = rng.normal(size=n_splits) + rng.normal(size=(26, n_splits))
        table += 10 * rng.normal(size=(26, 1))
        complete, new = table[:6], table[6:]
        for row in new:
            predicted = predict_mean(complete, row[None, :n_seen])
            z = (predicted.mean - row.mean()) / predicted.std
            levels.append(student.cdf(z, predicted.dof)[0])
    counts, _ = np.histogram(levels, bins=10, range=(0, 1))
    assert abs(counts / n - 0.1).max() < 4.5 * np.sqrt(0.09 / n) + 0.01


def test_values_not_seen_have_the_predicted_mean():
    rng = np.random.default_rng(1)
    complete, seen = rng.normal(size=(9, 5)), rng.normal(size=(3, 2))
    rest = predict_splits(complete, seen)
    np.testing.assert_allclose(
        np.hstack([seen, rest]).mean(axis=1), predict_mean(complete, seen).mean
    )
    np.testing.assert_array_equal(
        predict_splits(complete[:2], seen), np.repeat(seen.mean(axis=1), 3).reshape(3, 3)
    )


# What is dropped


def test_what_is_deterministic_is_known_after_one_split():
    plain, raced = make_search(racing=False).fit(*DATA), make_search().fit(*DATA)
    assert plain.n_fits_ == 12 * N_SPLITS
    assert set(plain.cv_results_["n_splits_evaluated"]) == {N_SPLITS}
    results = raced.cv_results_
    assert results["n_splits_evaluated"].dtype == np.int64
    assert raced.n_fits_ == results["n_splits_evaluated"].sum() < 0.75 * plain.n_fits_
    assert set(results["n_splits_evaluated"]) == {1, N_SPLITS}
    # All fits give the same: nothing of the search is lost.
    for key in ("mean_test_quality", "mean_test_size", "violation"):
        np.testing.assert_allclose(results[key], plain.cv_results_[key], rtol=1e-6, atol=1e-9)
    assert raced.best_params_["x"] == pytest.approx(plain.best_params_["x"], abs=0.05)
    assert results["n_splits_evaluated"][raced.best_index_] == N_SPLITS


def test_a_candidate_is_dropped_if_and_only_if_it_is_not_better():
    results = make_search().fit(*DATA).cv_results_
    x = np.array([params["x"] for params in results["params"]])
    best = -np.inf
    for i, value in enumerate(x):
        may_be_best = value**2 <= 0.25 and value > best
        assert is_dropped(results)[i] == (i >= 3 and not may_be_best)
        if may_be_best:
            best = value


@pytest.mark.parametrize("seed", range(3))
def test_with_noise_the_best_is_the_best_of_all_that_were_tried(seed):
    search = make_noisy(random_state=seed).fit(*NOISY)
    results = search.cv_results_
    assert is_dropped(results).any()
    values = np.array(
        [
            [noisy(Step(p["x"]), NOISY[0][3 * k :], None) for k in range(4)]
            for p in results["params"]
        ]
    ).mean(axis=1)
    feasible = np.array([p["x"] ** 2 <= 0.25 for p in results["params"]])
    assert search.best_index_ == np.where(feasible, values, -np.inf).argmax()
    assert search.best_score_ == pytest.approx(values[search.best_index_])


def test_estimates_allow_for_the_effect_of_the_split():
    """The first split is the hardest by 0.9 on average: means of what was seen would be lower."""
    results = make_noisy().fit(*NOISY).cv_results_
    dropped = is_dropped(results)
    x = np.array([params["x"] for params in results["params"]])
    assert results["split0_test_noisy"][dropped] == pytest.approx(x[dropped], abs=0.02)
    assert results["mean_test_noisy"][dropped] == pytest.approx(x[dropped] + 0.9, abs=0.02)
    assert results["std_test_noisy"][dropped] == pytest.approx(np.std([0, 0.6, 1.2, 1.8]), abs=0.02)


def test_dropped_candidates_are_not_feasible_and_rank_last():
    results = make_noisy().fit(*NOISY).cv_results_
    dropped = is_dropped(results)
    assert (dropped & (results["violation"] == 0)).any()
    assert not results["is_feasible"][dropped].any()
    for i in np.flatnonzero(dropped):
        n = results["n_splits_evaluated"][i]
        values = [results[f"split{k}_test_noisy"][i] for k in range(N_SPLITS)]
        np.testing.assert_array_equal(np.isnan(values), np.arange(N_SPLITS) >= n)
    rank, mean = results["rank_test_noisy"], results["mean_test_noisy"]
    assert rank[~dropped].max() < rank[dropped].min()
    for part in (dropped, ~dropped):
        np.testing.assert_array_equal(np.argsort(-mean[part]), np.argsort(rank[part]))


def test_the_optimiser_learns_the_estimates():
    search = make_noisy().fit(*NOISY)
    np.testing.assert_array_equal(
        search.optimizer_.y_[:, 0], -search.cv_results_["mean_test_noisy"]
    )
    np.testing.assert_array_equal(
        search.optimizer_.y_[:, 1], search.cv_results_["mean_test_size"] - 0.25
    )


def test_nothing_is_dropped_that_may_be_the_best():
    """Later candidates are better and better: a race costs nothing and changes nothing."""

    def grows(model, X, y):
        grows.n += 1
        return float(grows.n)

    grows.n = 0
    plain = make_search(objective=grows, constraints=None, racing=False).fit(*DATA)
    grows.n = 0
    raced = make_search(objective=grows, constraints=None).fit(*DATA)
    assert raced.n_fits_ == plain.n_fits_
    assert_same(raced.cv_results_, plain.cv_results_)


def test_while_nothing_is_feasible_the_least_violating_one_is_completed():
    search = make_search(constraints={size: (None, -1.0)}, refit="always")
    with pytest.warns(NoFeasibleCandidateWarning):
        search.fit(*DATA)
    results = search.cv_results_
    assert is_dropped(results).any()
    assert search.best_index_ == results["violation"].argmin()
    assert results["n_splits_evaluated"][search.best_index_] == N_SPLITS
    assert search.best_estimator_.x == search.best_params_["x"]


def test_a_single_split_leaves_nothing_to_race():
    cv = ShuffleSplit(1, test_size=0.5, random_state=0)
    raced, plain = (make_search(cv=cv, racing=r).fit(*DATA) for r in (True, False))
    assert_same(raced.cv_results_, plain.cv_results_)


@pytest.mark.parametrize(
    "limits",
    [
        {"mean_score_time": (None, 60.0), "mean_fit_time": (0.0, None)},
        {"std_test_quality": (None, 1.0)},
        {"split2_test_quality": (None, 0.5)},
        {"mean_train_quality": (0.2, 0.5)},
    ],
)
def test_limits_on_other_columns(limits):
    parameters = {"constraints": limits, "return_train_score": True}
    search = make_search(**parameters).fit(*DATA)
    results = search.cv_results_
    assert 12 < search.n_fits_ < 12 * N_SPLITS
    assert results["n_splits_evaluated"][search.best_index_] == N_SPLITS
    x = np.array([params["x"] for params in results["params"]])
    top = 0.5 if any("split2" in c or "train" in c for c in limits) else 1.0
    assert search.best_params_["x"] == x[x <= top].max()
    dropped = is_dropped(results)
    assert results["mean_train_quality"][dropped] == pytest.approx(x[dropped])


def test_candidates_are_too_slow_after_one_split():
    class Slow(Step):
        def fit(self, X, y):
            time.sleep(0.02 if self.x > 0.5 else 0)
            return super().fit(X, y)

    limits = {"mean_fit_time": (None, 0.01)}
    results = make_search(Slow(), constraints=limits, n_iter=14).fit(*DATA).cv_results_
    x = np.array([params["x"] for params in results["params"]])
    assert (is_dropped(results) & (x > 0.5)).any()
    assert (results["mean_fit_time"][x > 0.5] > 0.019).all()


# How it is run


@pytest.mark.parametrize("batch_size", [1, 3])
def test_in_parallel_as_one_after_the_other(batch_size, tmp_path):
    runs = [
        make_noisy(batch_size=batch_size, n_jobs=n_jobs, results_file=path).fit(*NOISY)
        for n_jobs, path in ((None, None), (2, None), (None, tmp_path / "results.jsonl"))
    ]
    assert is_dropped(runs[0].cv_results_).any()
    for run in runs[1:]:
        assert_same(run.cv_results_, runs[0].cv_results_)
        assert run.n_fits_ == runs[0].n_fits_


def test_a_batch_goes_split_by_split():
    seen = []

    def spy(model, X, y):
        seen.append((model.x, X[0, 0]))
        return quality(model, X, y)

    make_noisy(objective=spy, batch_size=3, n_iter=6, refit=False).fit(*NOISY)
    assert [split for _, split in seen[:12]] == [0.0] * 3 + [3.0] * 3 + [6.0] * 3 + [9.0] * 3
    assert len({x for x, _ in seen[:12]}) == 3


def test_splits_of_a_random_splitter_are_the_same_for_all():
    seen = []

    class Spy(Step):
        def fit(self, X, y):
            seen.append(tuple(X[:, 0]))
            return super().fit(X, y)

    cv = ShuffleSplit(N_SPLITS, test_size=0.5)
    search = make_search(Spy(), cv=cv, n_iter=6, refit=False).fit(NOISY[0], NOISY[1])
    assert len(seen) == search.n_fits_
    assert len(set(seen)) == N_SPLITS


def test_a_splitter_that_miscounts_is_refused():
    class Wrong(KFold):
        def get_n_splits(self, *args, **kwargs):
            return 3

    with pytest.raises(ValueError, match="Expected 3 splits, got 4"):
        make_search(cv=Wrong(4)).fit(*DATA)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the")
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("error_score", [np.nan, 7.0])
def test_failed_candidates_are_given_up(batch_size, error_score):
    search = make_search(Step(fails_above=0.4), batch_size=batch_size, error_score=error_score)
    results = search.fit(*DATA).cv_results_
    x = np.array([params["x"] for params in results["params"]])
    assert (x > 0.4).any()
    assert (results["n_splits_evaluated"][x > 0.4] == 1).all()
    np.testing.assert_array_equal(np.isnan(results["violation"]), x > 0.4)
    np.testing.assert_array_equal(np.isnan(search.optimizer_.y_).any(axis=1), x > 0.4)
    np.testing.assert_array_equal(results["mean_test_quality"][x > 0.4], error_score)
    assert np.isnan(results["split1_test_quality"][x > 0.4]).all()
    assert search.best_params_["x"] == x[x <= 0.4].max()


def test_a_fit_that_fails_on_a_later_split():
    class Fails(Step):
        def fit(self, X, y):
            if self.x > 0.3 and X[0, 0] == 0 and X[3, 0] == 6:  # the second split
                raise ValueError("too large")
            return super().fit(X, y)

    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        results = make_search(Fails(), cv=KFold(4)).fit(*NOISY).cv_results_
    x = np.array([params["x"] for params in results["params"]])
    assert set(results["n_splits_evaluated"][x > 0.3]) <= {1, 2}
    failed = np.isnan(results["violation"])
    assert failed.any()
    np.testing.assert_array_equal(failed, (x > 0.3) & (results["n_splits_evaluated"] == 2))


def test_error_score_raise_raises_and_changes_nothing():
    search = make_search(Step(fails_above=0.4), error_score="raise")
    before = dict(vars(search))
    with pytest.raises(ValueError, match="too large"):
        search.fit(*DATA)
    after = dict(vars(search))
    after.pop("partial_results_", None)
    assert after == before


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_if_all_candidates_fail_the_error_is_scikit_learns():
    with pytest.raises(ValueError, match="All the 1 fits failed"):
        make_search(Step(fails_above=-1.0)).fit(*DATA)


def test_a_function_that_computes_several_metrics():
    def both(model, X, y):
        return {"good": model.x, "large": model.x**2}

    parameters = {"scoring": both, "objective": "good", "constraints": {"large": (None, 0.25)}}
    search = make_search(**parameters, refit=True).fit(*DATA)
    named = make_search().fit(*DATA)
    assert search.n_fits_ == named.n_fits_ < 12 * N_SPLITS
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_large"], named.cv_results_["mean_test_size"]
    )


def test_metrics_that_are_only_reported_are_estimated_too():
    scoring = {"quality": quality, "other": make_scorer(lambda y, p: np.mean(y))}
    search = make_search(scoring=scoring, objective="quality").fit(*DATA)
    results = search.cv_results_
    dropped = is_dropped(results)
    assert dropped.any()
    assert results["mean_test_other"][dropped] == pytest.approx(0.5)


def test_callbacks_see_every_fit_and_can_stop_it():
    class Count:
        def __init__(self):
            self.tasks = []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.tasks.append(context.task_name)
            return self.tasks.count("batch") == 6

    count = Count()
    search = make_search().set_callbacks(count).fit(*DATA)
    assert len(search.cv_results_["params"]) == 6
    assert count.tasks.count("candidate-split-evaluation") == search.n_fits_ < 6 * N_SPLITS


def test_it_stops_when_little_is_expected():
    stopped = make_search(tol=1e-2, n_iter=30, n_initial=4, acquisition="eic").fit(*DATA)
    assert 6 <= len(stopped.cv_results_["params"]) < 30
    assert stopped.best_params_["x"] > 0.49


def test_verbose_says_what_is_fitted(capsys):
    make_search(n_iter=4, verbose=2).fit(*DATA)
    out, err = capsys.readouterr()
    assert "Fitting 1 folds for each of 1 candidates" in out
    assert "4/4" in err


@pytest.mark.parametrize("racing", ["yes", 1, None])
def test_a_bad_value_is_named(racing):
    with pytest.raises(TypeError, match="racing must be a bool"):
        make_search(racing=racing).fit(*DATA)


# How it is continued


def through(results, path, kind):
    if kind == "csv":
        pd.DataFrame(results).to_csv(path)
        return pd.read_csv(path)
    return results


@pytest.mark.parametrize("kind", ["dict", "csv"])
def test_it_continues_as_if_it_had_not_stopped(tmp_path, kind):
    first = make_noisy(n_iter=8).fit(*NOISY).cv_results_
    assert is_dropped(first).any()
    table = through(first, tmp_path / "a.csv", kind)
    again = make_noisy(n_iter=4, initial_results=table).fit(*NOISY)
    results = again.cv_results_
    assert_same(
        {k: v[:8] for k, v in results.items() if "rank" not in k},
        {k: v for k, v in first.items() if "rank" not in k},
    )
    assert again.n_fits_ == results["n_splits_evaluated"][8:].sum() < 4 * N_SPLITS
    assert results["rank_test_noisy"][is_dropped(results)].min() > (~is_dropped(results)).sum()


def test_without_racing_dropped_candidates_stay_dropped():
    first = make_noisy().fit(*NOISY).cv_results_
    search = make_noisy(racing=False, n_iter=1, initial_results=first).fit(*NOISY)
    results = search.cv_results_
    np.testing.assert_array_equal(is_dropped(results)[:-1], is_dropped(first))
    assert not results["is_feasible"][is_dropped(results)].any()


def test_results_of_another_class_are_complete():
    random = RandomizedSearchCV(
        Step(), {"x": uniform(0, 1)}, n_iter=8, cv=N_SPLITS, random_state=0, refit=False,
        scoring={"quality": quality, "size": size},
    ).fit(*DATA)  # fmt: skip
    search = make_search(n_iter=5, initial_results=random.cv_results_).fit(*DATA)
    assert (search.cv_results_["n_splits_evaluated"][:8] == N_SPLITS).all()
    assert search.n_fits_ < 5 * N_SPLITS


def stop_after(n):
    """The objective of `NOISY`, interrupted at a fit."""

    def noisy_(model, X, y):
        noisy_.n += 1
        if noisy_.n > n:
            raise KeyboardInterrupt
        return noisy(model, X, y)

    noisy_.n = 0
    noisy_.__name__ = "noisy"
    return noisy_


@pytest.mark.parametrize("n_fits", [6, 18, 22, 25])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_what_was_interrupted_in_the_middle_of_a_race_is_not_kept(tmp_path, n_fits, batch_size):
    path = tmp_path / "results.jsonl"
    whole = make_noisy(batch_size=batch_size).fit(*NOISY).cv_results_
    stopped = make_noisy(objective=stop_after(n_fits), batch_size=batch_size, results_file=path)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(*NOISY)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    n = len(rows)
    assert n >= 1
    assert [row["params"] for row in rows] == whole["params"][:n]
    assert [row["n_splits_evaluated"] for row in rows] == list(whole["n_splits_evaluated"][:n])
    assert sum(row["n_splits_evaluated"] for row in rows) <= n_fits
    partial = stopped.partial_results_
    for key in ("mean_test_noisy", "split1_test_noisy", "violation", "is_feasible"):
        np.testing.assert_array_equal(partial[key], whole[key][:n])
    again = make_noisy(batch_size=batch_size, results_file=path).fit(*NOISY)
    assert len(again.cv_results_["params"]) == 14
    np.testing.assert_array_equal(
        again.cv_results_["mean_test_noisy"][:n], whole["mean_test_noisy"][:n]
    )
    assert again.cv_results_["n_splits_evaluated"][again.best_index_] == N_SPLITS
    assert len(path.read_text().splitlines()) == 14


def _slow(model, X, y):
    time.sleep(0.02)
    return quality(model, X, y)


def _run(path):
    make_search(objective=_slow, n_iter=200, n_initial=150, results_file=path).fit(*DATA)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_process_loses_the_candidate_that_ran(tmp_path):
    path = tmp_path / "results.jsonl"
    process = multiprocessing.get_context("fork").Process(target=_run, args=(path,))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (path.exists() and path.stat().st_size > 3000):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    n_lines = path.read_bytes().count(b"\n")
    assert n_lines > 3
    again = make_search(objective=_slow, n_iter=n_lines + 2, results_file=path).fit(*DATA)
    results = again.cv_results_
    assert len(results["params"]) == n_lines + 2
    assert again.n_fits_ == results["n_splits_evaluated"][n_lines:].sum()
    assert is_dropped(results).any()
