"""A search that stops when one more candidate is expected to gain little."""

import pytest
from _step import DATA, Step, quality, size
from scipy.stats import uniform

from lookahead_sk import ConstrainedSearchCV
from lookahead_sk.model_selection import NoFeasibleCandidateWarning


def make_search(limit=0.25, **parameters):
    defaults = {"n_iter": 12, "cv": 2, "random_state": 0, "acquisition": "eic"}
    return ConstrainedSearchCV(
        Step(),
        {"x": uniform(0, 1)},
        objective=quality,
        constraints={size: (None, limit)},
        **{**defaults, **parameters},
    )


def n_candidates(search):
    return len(search.cv_results_["params"])


def test_it_stops_when_little_is_expected_and_asks_for_the_same_until_then():
    stopped = make_search(tol=1e-2, n_iter=30).fit(*DATA)
    n = n_candidates(stopped)
    assert 7 <= n < 30
    assert stopped.optimizer_.expected_gain_ < 1e-2
    assert 0.49 < stopped.best_params_["x"] <= 0.5
    plain = make_search(n_iter=n + 1).fit(*DATA)
    assert stopped.cv_results_["params"] == plain.cv_results_["params"][:n]


@pytest.mark.parametrize(("batch_size", "n_iter_no_change", "n"), [(1, 3, 7), (1, 1, 5), (2, 2, 8)])
def test_as_many_batches_in_a_row_must_promise_little(batch_size, n_iter_no_change, n):
    # More than any quality: the design of five counts for nothing, then every batch is counted.
    search = make_search(tol=9.0, n_iter_no_change=n_iter_no_change, batch_size=batch_size)
    assert n_candidates(search.fit(*DATA)) == n


def test_while_nothing_is_feasible_it_goes_on():
    search = make_search(limit=-1.0, tol=9.0, n_iter_no_change=1, n_iter=7)
    with pytest.warns(NoFeasibleCandidateWarning):
        search.fit(*DATA)
    assert n_candidates(search) == 7


def test_a_search_that_is_continued_evaluates_one_candidate_at_least():
    first = make_search(n_iter=6).fit(*DATA)
    search = make_search(tol=9.0, n_iter_no_change=1, initial_results=first.cv_results_)
    assert n_candidates(search.fit(*DATA)) == 7


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"tol": -1.0}, "tol must be a float"),
        ({"tol": "auto"}, "tol must be a float"),
        ({"tol": 1e-3, "n_iter_no_change": 0}, "n_iter_no_change must be an int"),
    ],
)
def test_bad_values_are_named(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_search(**bad).fit(*DATA)
