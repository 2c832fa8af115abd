"""What the search finds, and what it does when candidates fail or none is feasible."""

import pickle

import numpy as np
import pytest
from _step import DATA, Step, quality, size
from joblib import parallel_config
from scipy.stats import loguniform, randint, uniform
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from lookahead_sk import ConstrainedSearchCV
from lookahead_sk.model_selection import NoFeasibleCandidateWarning

ADDED = ("is_feasible", "violation", "n_splits_evaluated")
TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")


def search_step(space=None, **parameters):
    defaults = {
        "objective": quality,
        "constraints": {size: (None, 0.25)},
        "n_iter": 12,
        "cv": 2,
        "random_state": 0,
        "acquisition": "eic",  # quicker
    }
    space = {"x": uniform(0, 1)} if space is None else space
    estimator = parameters.pop("estimator", Step())
    return ConstrainedSearchCV(estimator, space, **{**defaults, **parameters})


def test_it_finds_the_border_of_the_feasible_region():
    search = search_step(acquisition="two_step").fit(*DATA)
    assert 0.49 < search.best_params_["x"] <= 0.5  # 12 uniform draws come this close once in 9
    assert search.best_score_ == search.best_params_["x"]
    results = search.cv_results_
    np.testing.assert_array_equal(results["is_feasible"], results["mean_test_size"] <= 0.25)
    assert search.n_feasible_ == results["is_feasible"].sum()
    excess = np.maximum(results["mean_test_size"] - 0.25, 0) / 0.25
    np.testing.assert_allclose(results["violation"], excess)


def test_the_best_is_the_best_feasible_candidate():
    search = search_step(acquisition="eic").fit(*DATA)
    x = np.array([p["x"] for p in search.cv_results_["params"]])
    assert search.best_index_ == np.where(x**2 <= 0.25, x, -1).argmax()
    assert search.best_estimator_.x == search.best_params_["x"]
    assert search.score(*DATA) == search.best_params_["x"]


def test_a_lower_limit_binds_too():
    search = search_step(
        constraints={"size": (0.04, 0.09)},
        scoring={"quality": quality, "size": size},
        objective="quality",
        acquisition="eic",
    ).fit(*DATA)
    size_ = search.cv_results_["mean_test_size"]
    np.testing.assert_array_equal(
        search.cv_results_["is_feasible"], (size_ >= 0.04) & (size_ <= 0.09)
    )
    assert 0.28 < search.best_params_["x"] <= 0.3


def test_without_constraints_it_maximises():
    search = search_step(constraints=None, acquisition="eic").fit(*DATA)
    assert search.best_params_["x"] > 0.99
    assert search.n_feasible_ == 12


def test_columns_are_those_of_randomized_search_and_three_more(make_search, cancer):
    scoring = {"accuracy": "accuracy", "roc_auc": "roc_auc"}
    common = {"scoring": scoring, "cv": 3, "n_iter": 6, "random_state": 0}
    search = make_search(**common, constraints={"roc_auc": (0.5, None)}, return_train_score=True)
    search.fit(*cancer)
    theirs = RandomizedSearchCV(
        search.estimator, search.param_distributions, refit=False, return_train_score=True, **common
    ).fit(*cancer)
    assert set(search.cv_results_) == {*theirs.cv_results_, *ADDED}
    for key, column in theirs.cv_results_.items():
        assert np.asarray(search.cv_results_[key]).dtype == np.asarray(column).dtype, key


def test_a_single_metric_has_the_columns_of_a_single_metric(make_search, cancer):
    limits = {"mean_fit_time": (None, 60.0), "mean_test_score": (0.1, None)}
    search = make_search(objective=None, constraints=limits, n_iter=3, n_initial=1).fit(*cancer)
    theirs = RandomizedSearchCV(search.estimator, search.param_distributions, n_iter=2, cv=3)
    assert set(search.cv_results_) == {
        *theirs.fit(*cancer).cv_results_,
        *ADDED,
    }
    assert not search.multimetric_
    named = make_search(objective=None, scoring="accuracy", constraints={"accuracy": (0.1, None)})
    assert "mean_test_score" in named.set_params(n_iter=2, n_initial=1).fit(*cancer).cv_results_


def without_times(results):
    return {k: v for k, v in results.items() if k not in TIMES}


@pytest.mark.parametrize(("backend", "batch_size"), [("loky", 1), ("threading", 3)])
def test_results_do_not_depend_on_n_jobs(make_search, cancer, backend, batch_size):
    runs = []
    for n_jobs in (None, 2):
        with parallel_config(backend):
            # liblinear draws from a generator that all threads share: another solver.
            model = make_pipeline(StandardScaler(), LogisticRegression())
            limits = {"roc_auc": (0.9, None)}
            search = make_search(model, n_jobs=n_jobs, batch_size=batch_size, constraints=limits)
            search.fit(*cancer)
        runs.append(without_times(search.cv_results_))
    assert runs[0]["params"] == runs[1]["params"]
    for key in runs[0]:
        np.testing.assert_array_equal(runs[0][key], runs[1][key])


def test_every_candidate_sees_the_same_splits():
    class Spy(Step):
        def fit(self, X, y):
            seen.append(tuple(X[:, 0]))
            return super().fit(X, y)

    seen = []
    X = np.arange(12.0).reshape(-1, 1)
    cv = KFold(2, shuffle=True)  # another shuffle at every split
    search_step(estimator=Spy(), cv=cv, n_iter=4, n_initial=1, refit=False).fit(X, DATA[1])
    assert len(seen) == 8
    assert len(set(seen)) == 2


@pytest.mark.parametrize("batch_size", [1, 2])
def test_failed_candidates_are_recorded_and_avoided(batch_size):
    search = search_step(
        estimator=Step(fails_above=0.4), constraints=None, n_iter=12, batch_size=batch_size
    )
    with pytest.warns() as caught:
        search.fit(*DATA)
    kinds = [w.category for w in caught]
    assert FitFailedWarning in kinds
    assert sum("non-finite" in str(w.message) for w in caught) == 1
    results = search.cv_results_
    x = np.array([p["x"] for p in results["params"]])
    assert len(x) == 12
    np.testing.assert_array_equal(np.isnan(results["mean_test_quality"]), x > 0.4)
    np.testing.assert_array_equal(results["mean_test_quality"][x <= 0.4], x[x <= 0.4])
    np.testing.assert_array_equal(results["is_feasible"], x <= 0.4)
    np.testing.assert_array_equal(np.isnan(search.optimizer_.y_).any(axis=1), x > 0.4)
    assert search.best_params_["x"] == x[x <= 0.4].max() > 0.3


def test_a_failed_candidate_is_not_feasible_whatever_error_score_says():
    search = search_step(estimator=Step(fails_above=0.4), constraints=None, error_score=9.0)
    with pytest.warns(FitFailedWarning):
        search.fit(*DATA)
    x = np.array([p["x"] for p in search.cv_results_["params"]])
    np.testing.assert_array_equal(search.cv_results_["mean_test_quality"] == 9.0, x > 0.4)
    np.testing.assert_array_equal(search.cv_results_["is_feasible"], x <= 0.4)
    assert search.best_params_["x"] <= 0.4


def test_error_score_raise_raises_and_changes_nothing():
    search = search_step(n_iter=6).fit(*DATA)
    before = dict(vars(search))
    search.set_params(estimator=Step(fails_above=0.4), error_score="raise")
    with pytest.raises(ValueError, match="too large"):
        search.fit(*DATA)
    assert "partial_results_" not in before
    assert len(vars(search).pop("partial_results_")["params"]) < 6
    assert {k: v for k, v in vars(search).items() if k.endswith("_")} == {
        k: v for k, v in before.items() if k.endswith("_")
    }
    assert search.refit is True


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_if_all_candidates_fail_the_error_is_scikit_learns():
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        search_step(estimator=Step(fails_above=-1), n_iter=3, n_initial=1).fit(*DATA)


def test_if_nothing_is_feasible_it_says_so_and_does_not_refit():
    search = search_step(constraints={size: (None, -1.0)}, n_iter=6)
    with pytest.warns(NoFeasibleCandidateWarning, match=r"mean_test_size = .*at most -1.*always"):
        search.fit(*DATA)
    assert search.n_feasible_ == 0
    assert search.best_index_ == search.cv_results_["mean_test_size"].argmin()
    assert search.best_score_ == search.best_params_["x"]
    assert not hasattr(search, "best_estimator_")
    assert search.refit is True
    with pytest.raises(AttributeError, match="no candidate meets the constraints"):
        search.predict(DATA[0])
    with pytest.raises(AttributeError, match="no candidate meets the constraints"):
        search.score(*DATA)


def test_an_infeasible_candidate_is_refitted_when_asked_for():
    search = search_step(constraints={size: (None, -1.0)}, n_iter=6, refit="always")
    with pytest.warns(NoFeasibleCandidateWarning, match="refitted all the same"):
        search.fit(*DATA)
    assert search.best_estimator_.x == search.best_params_["x"]


def test_a_callable_refit_chooses_for_itself():
    search = search_step(refit=lambda results: int(results["mean_test_size"].argmax()), n_iter=6)
    search.fit(*DATA)
    assert search.best_estimator_.x == max(p["x"] for p in search.cv_results_["params"])


def test_without_refit_the_best_is_reported():
    search = search_step(refit=False, n_iter=6).fit(*DATA)
    assert search.best_params_["x"] <= 0.5
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        search.predict(DATA[0])
    with pytest.raises(AttributeError, match="no best_estimator_: refit=False"):
        search.score(*DATA)


def test_no_candidate_of_a_discrete_space_is_evaluated_twice():
    space = {"x": [0.0, 0.1, 0.2, 0.3, 0.6, 0.9], "fails_above": [5, 6]}
    search = search_step(space, n_iter=12, acquisition="eic").fit(*DATA)
    seen = {tuple(p.items()) for p in search.cv_results_["params"]}
    assert len(seen) == 12
    assert search.best_params_["x"] == 0.3


def test_an_exhausted_space_ends_the_search():
    with pytest.warns(UserWarning, match="only 3 candidates, n_iter=12"):
        search = search_step({"x": [0.1, 0.2, 0.3]}, batch_size=2).fit(*DATA)
    assert len(search.cv_results_["params"]) == 3


def test_spaces_of_every_kind(cancer):
    space = {
        "max_depth": randint(1, 9),
        "criterion": ["gini", "entropy"],
        "ccp_alpha": loguniform(1e-4, 1e-1),
        "min_samples_leaf": np.array([1, 2, 4]),
        "splitter": ["best"],
    }
    tree = DecisionTreeClassifier(random_state=0)
    search = ConstrainedSearchCV(
        tree,
        space,
        constraints={lambda_free_leaves: (None, 5)},
        n_iter=7,
        cv=2,
        random_state=0,
    ).fit(*cancer)
    assert search.best_estimator_.get_n_leaves() <= 8
    assert isinstance(search.best_params_["max_depth"], int)
    assert search.best_params_["criterion"] in ("gini", "entropy")


def lambda_free_leaves(model, X, y):
    return float(model.get_n_leaves())


def test_it_continues_an_earlier_search():
    first = search_step(n_iter=8, acquisition="eic").fit(*DATA)
    second = search_step(
        n_iter=4, n_initial=1, acquisition="eic", initial_results=first.cv_results_
    )
    second.fit(*DATA)
    results = second.cv_results_
    assert results["params"][:8] == first.cv_results_["params"]
    assert len(results["params"]) == len(results["param_x"]) == 12
    assert len({p["x"] for p in results["params"]}) == 12
    assert second.best_score_ >= first.best_score_
    assert results["rank_test_quality"].max() == 12
    assert len(second.optimizer_.y_) == 12
    np.testing.assert_array_equal(results["mean_test_quality"], [p["x"] for p in results["params"]])


def test_earlier_results_are_judged_by_the_new_limits():
    first = RandomizedSearchCV(
        Step(),
        {"x": uniform(0, 1)},
        n_iter=10,
        cv=2,
        random_state=0,
        refit=False,
        scoring={"quality": quality, "size": size},
    ).fit(*DATA)
    search = search_step(n_iter=1, initial_results=first.cv_results_).fit(*DATA)
    x = np.array([p["x"] for p in search.cv_results_["params"]])
    assert len(x) == 11
    np.testing.assert_array_equal(search.cv_results_["is_feasible"], x**2 <= 0.25)


def test_earlier_results_of_other_metrics_are_refused():
    first = RandomizedSearchCV(Step(), {"x": uniform(0, 1)}, n_iter=2, cv=2).fit(*DATA)
    with pytest.raises(ValueError, match=r"columns .*mean_test_quality.*mean_test_size"):
        search_step(initial_results=first.cv_results_).fit(*DATA)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_iter": 0}, ValueError, "n_iter must be an int in"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an int"),
        ({"acquisition": "ucb"}, ValueError, "acquisition must be one of 'two_step', 'eic'"),
        ({"refit": "quality"}, ValueError, "refit must be one of True, False, 'always'"),
        ({"objective": "speed"}, ValueError, "objective must be .* name of a scorer; got 'speed'"),
        ({"objective": 3}, TypeError, "objective must be a metric's name"),
        ({"constraints": {"sice": (None, 1)}}, ValueError, "constraints must be .* got 'sice'"),
        ({"constraints": {size: 1}}, TypeError, r"constraints\[.*\] must be \(low, high\)"),
        (
            {"constraints": {size: (None, None)}},
            ValueError,
            "None for an open end but not for both",
        ),
        ({"constraints": {size: (2, 1)}}, ValueError, "low <= high"),
        ({"constraints": {size: (np.nan, 1)}}, ValueError, "low <= high"),
        ({"constraints": [size]}, TypeError, "constraints must be a mapping"),
        ({"constraints": {lambda m, X, y: 1: (0, 1)}}, ValueError, "a scorer with a name"),
        ({"constraints": {"mean_train_quality": (0, 1)}}, ValueError, "return_train_score=True"),
        ({"objective": None, "scoring": ["accuracy", "f1"]}, ValueError, "one of the metrics"),
        ({"initial_results": [1]}, TypeError, "initial_results must be the cv_results_"),
        ({"initial_results": {"a": [1]}}, ValueError, "initial_results must be .* 'params'"),
        ({"space": {"x": (0, 1)}}, TypeError, r"param_distributions\['x'\] must be a frozen"),
        ({"space": {"x": loguniform}}, TypeError, r"param_distributions\['x'\]"),
        ({"space": {}}, ValueError, "param_distributions must be a mapping with at least one"),
    ],
)
def test_bad_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        search_step(**parameters).fit(*DATA)


def test_it_is_cloned_pickled_and_not_fitted_before_fit(make_search, cancer):
    search = make_search(n_iter=3, n_initial=1)
    assert clone(search).get_params().keys() == search.get_params().keys()
    with pytest.raises(NotFittedError):
        search.predict(cancer[0])
    with pytest.raises(NotFittedError):
        search.score(*cancer)
    search.fit(*cancer)
    copy = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copy.predict(cancer[0]), search.predict(cancer[0]))
    assert not hasattr(clone(search), "cv_results_")


def test_no_candidate_violates_a_known_constraint():
    space = {"x": uniform(0, 1), "fails_above": [2.0, 3.0]}

    def excess(candidates):
        return [c["x"] * c["fails_above"] - 0.6 for c in candidates]

    search = search_step(space, constraints=None, known_constraints=excess, n_iter=14).fit(*DATA)
    assert max(excess(search.cv_results_["params"])) <= 0
    assert search.best_score_ == pytest.approx(0.3, abs=1e-3)
    assert search.best_params_["fails_above"] == 2.0
    assert clone(search).known_constraints is excess


def test_a_finite_space_is_searched_where_known_constraints_allow():
    space = {"x": [0.1, 0.2, 0.3, 0.4]}
    search = search_step(space, known_constraints=lambda cs: [c["x"] - 0.25 for c in cs], n_iter=6)
    with pytest.warns(UserWarning, match="The search space has only 2 candidates"):
        search.fit(*DATA)
    assert sorted(c["x"] for c in search.cv_results_["params"]) == [0.1, 0.2]
    search.set_params(known_constraints=lambda cs: [c["x"] for c in cs])
    with pytest.raises(ValueError, match="known_constraints must be such that a point"):
        search.fit(*DATA)
