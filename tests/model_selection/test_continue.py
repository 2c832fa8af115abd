"""Results that are continued: from tables, from files, after an interruption."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform, randint, uniform
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import RandomizedSearchCV
from sklearn.utils.validation import check_is_fitted

from lookahead_sk import ConstrainedSearchCV

DATA = np.zeros((12, 1)), np.arange(12) % 2.0
SPACE = {
    "x": uniform(0, 1),
    "n": randint(1, 9),
    "rate": loguniform(1e-4, 1),
    "kind": ["a", None, True, (1, 2), 0.5],
}


class Toy(RegressorMixin, BaseEstimator):
    """Its score is known from its parameters."""

    n_fits = 0
    stops_at = None

    def __init__(self, x=0.0, n=1, rate=0.1, kind=None, other=0, fails_above=2.0):
        self.x, self.n, self.rate, self.kind, self.other = x, n, rate, kind, other
        self.fails_above = fails_above

    def fit(self, X, y):
        Toy.n_fits += 1
        if Toy.stops_at is not None and Toy.n_fits > Toy.stops_at:
            raise KeyboardInterrupt
        if self.x > self.fails_above:
            raise ValueError("too large")
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.zeros(len(X))


def quality(model, X, y):
    return model.x - abs(model.n - 4)


def size(model, X, y):
    return float(model.n)


@pytest.fixture(autouse=True)
def counted():
    Toy.n_fits, Toy.stops_at = 0, None
    yield
    Toy.n_fits, Toy.stops_at = 0, None


def search(space=SPACE, **parameters):
    defaults = {
        "objective": quality,
        "constraints": {size: (None, 6)},
        "n_iter": 7,
        "n_initial": 3,
        "acquisition": "eic",
        "cv": 2,
        "random_state": 0,
        "refit": False,
    }
    return ConstrainedSearchCV(Toy(), space, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def first():
    return search().fit(*DATA)


def through_csv(results, path):
    pd.DataFrame(results).to_csv(path)
    return pd.read_csv(path)


@pytest.mark.parametrize("as_dict", [False, True])
def test_results_from_a_csv_are_understood(first, tmp_path, as_dict):
    table = through_csv(first.cv_results_, tmp_path / "a.csv")
    table = table.to_dict("list") if as_dict else table
    second = search(n_iter=2, initial_results=table).fit(*DATA)
    results = second.cv_results_
    assert repr(results["params"][:7]) == repr(first.cv_results_["params"])
    assert len(second.optimizer_.y_) == 9
    assert results["rank_test_quality"].dtype == np.int32
    np.testing.assert_array_equal(
        results["mean_test_quality"][:7], first.cv_results_["mean_test_quality"]
    )
    assert list(results["param_n"]) == [p["n"] for p in results["params"]]


def test_numbers_of_numpy_in_a_csv_are_understood(tmp_path):
    random = RandomizedSearchCV(
        Toy(),
        {k: v for k, v in SPACE.items() if k != "kind"},
        n_iter=5,
        cv=2,
        random_state=0,
        refit=False,
        scoring={"quality": quality, "size": size},
    ).fit(*DATA)
    table = through_csv(random.cv_results_, tmp_path / "a.csv")
    assert "np.float64" in table["params"][0]
    space = {k: v for k, v in SPACE.items() if k != "kind"}
    second = search(space, n_iter=1, initial_results=table).fit(*DATA)
    assert second.cv_results_["params"][:5] == random.cv_results_["params"]
    assert len(second.optimizer_.y_) == 6


def changed(results, **changes):
    return {**results, **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: changed(r, params=["{'x': 1"] * 7), "results whose params are dicts"),
        (lambda r: changed(r, params=["os.getcwd()"] * 7), "results whose params are dicts"),
        (lambda r: changed(r, params=[1.0] * 7), "results whose params are dicts"),
        (
            lambda r: changed(r, params=[{**p, "other": 1} for p in r["params"]]),
            r"results of the parameters \['x', 'n', 'rate', 'kind'\]; got .*'other'",
        ),
        (lambda r: changed(r, params=[{"x": 0.5}] * 7), "results of the parameters"),
        (lambda r: {k: v for k, v in r.items() if k != "split1_test_size"}, "split1_test_size"),
        (lambda r: {k: v for k, v in r.items() if k != "std_fit_time"}, "std_fit_time"),
        (lambda r: changed(r, mean_test_quality=["good"] * 7), "must be an array of numbers"),
        (lambda r: changed(r, split0_test_size=["big"] * 7), "must be an array of numbers"),
    ],
)
def test_results_that_are_not_understood_are_refused_before_the_first_fit(first, change, message):
    before = Toy.n_fits
    with pytest.raises((ValueError, TypeError), match=message):
        search(initial_results=change(first.cv_results_)).fit(*DATA)
    assert Toy.n_fits == before


def test_candidates_outside_of_the_space_are_kept_and_announced(first):
    smaller = {**SPACE, "x": uniform(0, 0.4)}
    outside = sum(p["x"] > 0.4 for p in first.cv_results_["params"])
    assert 0 < outside < 7
    again = search(smaller, n_iter=1, n_initial=1, initial_results=first.cv_results_)
    with pytest.warns(UserWarning, match=f"{outside} of 7 candidates .* outside of the search"):
        again.fit(*DATA)
    assert len(again.cv_results_["params"]) == 8
    assert len(again.optimizer_.y_) == 8 - outside


def test_continuing_does_not_share_dicts(first):
    second = search(n_iter=1, initial_results=first.cv_results_).fit(*DATA)
    second.cv_results_["params"][0].clear()
    assert first.cv_results_["params"][0]


def test_an_interrupted_search_keeps_what_has_finished(first):
    Toy.stops_at = 2 * 4 + 1
    stopped = search()
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(*DATA)
    Toy.stops_at = None
    results = stopped.partial_results_
    assert repr(results["params"]) == repr(first.cv_results_["params"][:4])
    np.testing.assert_array_equal(results["is_feasible"], first.cv_results_["is_feasible"][:4])
    with pytest.raises(NotFittedError):
        check_is_fitted(stopped)
    rest = search(n_iter=3, initial_results=results).fit(*DATA)
    assert len(rest.cv_results_["params"]) == len({repr(p) for p in rest.cv_results_["params"]})
    assert not hasattr(stopped.fit(*DATA), "partial_results_")


def test_a_file_grows_and_a_killed_search_goes_on(tmp_path, first):
    path = tmp_path / "results.jsonl"
    Toy.stops_at = 2 * 4
    with pytest.raises(KeyboardInterrupt):
        search(results_file=path).fit(*DATA)
    Toy.stops_at = None
    lines = path.read_text().splitlines()
    assert [json.loads(line)["params"]["n"] for line in lines] == [
        p["n"] for p in first.cv_results_["params"][:4]
    ]
    with path.open("a") as file:
        file.write('{"params": {"x": 0.1')  # killed while it was written
    n_before = Toy.n_fits
    again = search(results_file=str(path)).fit(*DATA)
    assert Toy.n_fits - n_before == 2 * 3
    results = again.cv_results_
    assert repr(results["params"][:4]) == repr(first.cv_results_["params"][:4])
    assert len({repr(p) for p in results["params"]}) == 7
    assert len(path.read_text().splitlines()) == 7
    assert len(pd.read_json(path, lines=True)) == 7


def test_a_file_that_cannot_be_written_is_refused_before_the_first_fit(tmp_path):
    for path in (tmp_path / "missing" / "results.jsonl", tmp_path):
        with pytest.raises(OSError, match=str(path)):
            search(results_file=path).fit(*DATA)
    assert Toy.n_fits == 0


def test_a_file_of_another_search_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    search(results_file=path, n_iter=4).fit(*DATA)
    n_before = Toy.n_fits
    with pytest.raises(ValueError, match="results_file must be a mapping with a column 'split2_"):
        search(results_file=path, cv=3).fit(*DATA)
    with pytest.raises(ValueError, match=r"results_file must be results of the parameters \['x'\]"):
        search({"x": uniform(0, 1)}, results_file=path).fit(*DATA)
    assert Toy.n_fits == n_before


@pytest.mark.parametrize("change", ["\ufeff{}", "{}\n\n", "\n{}"])
def test_what_editors_add_to_a_file_is_no_damage(tmp_path, change):
    path = tmp_path / "results.jsonl"
    results = search(results_file=path, n_iter=4).fit(*DATA).cv_results_
    path.write_text(change.replace("{}", path.read_text()))
    again = search(results_file=path, n_iter=6).fit(*DATA).cv_results_
    assert repr(again["params"][:4]) == repr(results["params"])
    assert len(again["params"]) == 6


def test_a_batch_is_on_disk_candidate_by_candidate(tmp_path):
    path = tmp_path / "results.jsonl"
    whole = search(batch_size=4).fit(*DATA).cv_results_
    Toy.n_fits, Toy.stops_at = 0, 2 * 6 + 1
    stopped = search(batch_size=4, results_file=path)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(*DATA)
    Toy.stops_at = None
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["params"]["x"] for row in found] == [p["x"] for p in whole["params"][:6]]
    assert len(stopped.partial_results_["params"]) == 6
    parallel = search(batch_size=4, n_jobs=2).fit(*DATA).cv_results_
    assert repr(parallel["params"]) == repr(whole["params"])
    np.testing.assert_array_equal(parallel["violation"], whole["violation"])


def test_a_search_that_was_complete_evaluates_one_more(tmp_path):
    path = tmp_path / "results.jsonl"
    search(results_file=path).fit(*DATA)
    assert len(search(results_file=path).fit(*DATA).cv_results_["params"]) == 8


@pytest.mark.filterwarnings("ignore:\\nAll fits of")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_failed_candidates_are_kept_in_the_file(tmp_path):
    path = tmp_path / "results.jsonl"
    fails = search(results_file=path)
    fails.estimator = Toy(fails_above=0.4)
    one = fails.fit(*DATA).cv_results_
    assert np.isnan(one["violation"]).any()
    again = search(results_file=path, n_iter=8)
    again.estimator = Toy(fails_above=0.4)
    two = again.fit(*DATA).cv_results_
    assert two["params"][:7] == one["params"]
    np.testing.assert_array_equal(two["violation"][:7], one["violation"])
    np.testing.assert_array_equal(two["mean_test_quality"][:7], one["mean_test_quality"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json\n", "line 1 of .* is damaged"),
        ('{"a": 1}\n', "line 1 of .* is damaged"),
        ('{"params": {"x": 0.5}}\n', "results with the columns"),
    ],
)
def test_another_file_is_refused_and_kept(tmp_path, content, message):
    path = tmp_path / "results.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        search(results_file=path).fit(*DATA)
    assert path.read_text() == content
    assert Toy.n_fits == 0


def test_a_file_is_refused_where_json_does_not_keep_the_choices(tmp_path):
    with pytest.raises(ValueError, match="param_distributions must be made of values of JSON"):
        search({"kind": [object(), None]}, results_file=tmp_path / "a").fit(*DATA)
    with pytest.raises(TypeError, match="results_file must be a path"):
        search(results_file=3).fit(*DATA)
    assert Toy.n_fits == 0


def _slow(model, X, y):
    time.sleep(0.05)
    return quality(model, X, y)


def _run(path):
    search(objective=_slow, n_iter=200, n_initial=150, results_file=path).fit(*DATA)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_process_loses_at_most_the_batch_that_ran(tmp_path):
    path = tmp_path / "results.jsonl"
    process = multiprocessing.get_context("fork").Process(target=_run, args=(path,))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (path.exists() and path.stat().st_size > 1000):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    n_lines = path.read_bytes().count(b"\n")
    again = search(objective=_slow, n_iter=n_lines + 2, results_file=path).fit(*DATA)
    assert len(again.cv_results_["params"]) == n_lines + 2
