"""Lists of dicts as search spaces, as RandomizedSearchCV takes them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform, randint
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from lookahead_sk import ConstrainedSearchCV

DATA = load_iris(return_X_y=True)
PIPELINE = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression(max_iter=5000))])
LINEAR, FOREST = LogisticRegression(max_iter=5000), RandomForestClassifier(random_state=0)
SPACES = [
    {"model": [LINEAR], "model__C": loguniform(1e-3, 10)},
    {"model": [FOREST], "model__max_depth": randint(1, 5), "model__n_estimators": randint(1, 8)},
    {"scale": ["passthrough"]},
]


def n_numbers(model, X, y):
    """What a model stores: coefficients, or nodes."""
    last = model[-1]
    if hasattr(last, "coef_"):
        return float(last.coef_.size)
    return float(sum(tree.tree_.node_count for tree in last.estimators_))


def search(spaces=SPACES, **options):
    options = {
        "objective": "neg_log_loss",
        "constraints": {n_numbers: (None, 30)},
        "acquisition": "eic",
        "n_iter": 10,
        "cv": 3,
        "random_state": 0,
        **options,
    }
    return ConstrainedSearchCV(PIPELINE, spaces, **options)


def keys(results):
    return [tuple(sorted((k, str(v)) for k, v in p.items())) for p in results["params"]]


def test_the_best_of_all_branches_is_refitted_and_columns_are_masked_as_elsewhere():
    found = search().fit(*DATA)
    results = found.cv_results_
    assert len(set(keys(results))) == 10
    kinds = [frozenset(p) for p in results["params"]]
    assert {kinds.count(frozenset(space)) > 0 for space in SPACES} == {True}
    assert kinds.count(frozenset({"scale"})) == 1  # it has only one candidate
    feasible = results["mean_test_n_numbers"] <= 30
    np.testing.assert_array_equal(results["is_feasible"], feasible)
    best = np.where(feasible, results["mean_test_neg_log_loss"], -np.inf).argmax()
    assert found.best_index_ == best
    assert found.best_params_ == results["params"][best]
    assert found.best_estimator_.get_params()["model"].__class__ is type(
        found.best_params_.get("model", LINEAR)
    )
    random = RandomizedSearchCV(PIPELINE, SPACES, n_iter=10, cv=3, random_state=0).fit(*DATA)
    columns = [key for key in random.cv_results_ if key.startswith("param_")]
    for key in columns:
        has_it = [key.removeprefix("param_") in p for p in results["params"]]
        np.testing.assert_array_equal(~np.ma.getmaskarray(results[key]), has_it)


def test_earlier_results_of_branches_go_on_also_those_of_a_randomized_search():
    first = search(n_iter=6).fit(*DATA)
    again = search(n_iter=3, initial_results=first.cv_results_, random_state=1).fit(*DATA)
    assert again.cv_results_["params"][:6] == first.cv_results_["params"]
    assert len(set(keys(again.cv_results_))) == 9
    assert len(again.optimizer_.X_) == 9
    frame = pd.DataFrame(first.cv_results_)
    same = search(n_iter=3, initial_results=frame, random_state=1).fit(*DATA)
    assert keys(same.cv_results_) == keys(again.cv_results_)
    for key, column in again.cv_results_.items():
        if key.startswith("param_"):
            has_it = [key.removeprefix("param_") in p for p in again.cv_results_["params"]]
            np.testing.assert_array_equal(~np.ma.getmaskarray(column), has_it)
    # Branches that only the earlier search has had are columns too.
    message = r"results of the parameters \['model', 'model__C'\] or \['scale'\]; got \['model'"
    with pytest.raises(ValueError, match=message):
        search(SPACES[::2], initial_results=first.cv_results_).fit(*DATA)


def test_a_file_keeps_estimators_by_what_describes_them(tmp_path):
    path = tmp_path / "results.jsonl"
    search(n_iter=6, results_file=path).fit(*DATA)
    again = search(n_iter=8, results_file=path).fit(*DATA)
    assert len(again.cv_results_["params"]) == len(path.read_text().splitlines()) == 8
    models = [p.get("model", LINEAR) for p in again.cv_results_["params"]]
    assert all(model is LINEAR or model is FOREST for model in models)
    alike = [{"model": [LogisticRegression(), LogisticRegression()]}, {"model__C": [1.0]}]
    with pytest.raises(ValueError, match="param_distributions must be made of values of JSON"):
        search(alike, results_file=tmp_path / "other").fit(*DATA)


def test_a_formula_gets_candidates_with_their_own_parameters():
    def few_trees(candidates):
        return [p.get("model__n_estimators", 0) - 3 for p in candidates]

    found = search(known_constraints=few_trees).fit(*DATA)
    trees = [p["model__n_estimators"] for p in found.cv_results_["params"] if len(p) == 3]
    assert trees
    assert max(trees) <= 3


def test_a_list_of_one_is_its_dict_and_finite_branches_are_used_up():
    listed, plain = (search(space, n_iter=6).fit(*DATA) for space in (SPACES[:1], SPACES[0]))
    assert keys(listed.cv_results_) == keys(plain.cv_results_)
    few = [{"model__C": [0.1, 1.0]}, {"scale": ["passthrough"]}, {}]
    with pytest.warns(UserWarning, match="only 4 candidates"):
        found = search(few, n_iter=9).fit(*DATA)
    assert sorted(len(p) for p in found.cv_results_["params"]) == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("spaces", "error", "message"),
    [
        ([], ValueError, "param_distributions must be a mapping of parameter to"),
        ("model__C", TypeError, "param_distributions must be a mapping of parameter to"),
        ([SPACES[0], 3], TypeError, r"param_distributions\[1\] must be a mapping; got 3"),
        ([{"model__C": (0, 1)}, {}], TypeError, r"param_distributions\[0\]\['model__C'\] must be"),
        ([{"model__C": 3}, {}], TypeError, r"param_distributions\['model__C'\] must be"),
        ([SPACES[0], SPACES[0]], ValueError, "param_distributions must be a list of mappings no"),
    ],
)
def test_a_bad_list_is_refused_before_the_first_fit(spaces, error, message):
    with pytest.raises(error, match=message):
        search(spaces).fit(*DATA)
