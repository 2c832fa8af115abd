"""Ordered and stepped variables: one coordinate, on the scale of the values."""

import numpy as np
import pytest
from scipy.stats import zipfian

from lookahead_sk import ConstrainedSearchCV, TwoStepConstrainedBO
from lookahead_sk.optimization._space import make_space

FAST = {"n_fantasies": 4, "n_restarts": 2, "max_iter": 2, "acquisition": "eic", "random_state": 0}


def coordinates(spec, values):
    return make_space({"v": spec}).encode([{"v": v} for v in values])


@pytest.mark.parametrize(
    ("spec", "values", "kind"),
    [
        (range(0, 101, 5), list(range(0, 101, 5)), int),
        (range(10, 0, -2), [2, 4, 6, 8, 10], int),
        (np.arange(0, 1.05, 0.25), [0.0, 0.25, 0.5, 0.75, 1.0], float),
        ([1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0], float),
        (np.array([16, 32]), [16, 32], int),
        (range(2), [0, 1], int),
    ],
)
def test_a_sequence_has_one_coordinate_of_equal_cells_and_keeps_its_values(spec, values, kind):
    unit = coordinates(spec, values)
    np.testing.assert_allclose(unit[:, 0], (np.arange(len(values)) + 0.5) / len(values), atol=1e-12)
    decoded = [point["v"] for point in make_space({"v": spec}).decode(unit)]
    assert decoded == values
    assert {type(v) for v in decoded} == {kind}


def test_mixed_integers_and_floats_stay_what_they_are():
    points = make_space({"v": [1, 2.5, 4]}).decode(np.array([[0.1], [0.5], [0.9]]))
    assert repr(points) == "[{'v': 1}, {'v': 2.5}, {'v': 4}]"


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1, 3, 10, 30, 100], np.log),
        ([1, 2, 5, 10, 20, 50], np.log),
        ([5, 10, 15, 20], np.asarray),
        ([-10, 0, 1, 10], np.asarray),
        ([0, 1, 10, 100], np.asarray),  # nothing is a logarithm of 0
    ],
)
def test_cells_end_half_way_between_neighbours_on_the_more_even_scale(values, scale):
    t = scale(np.array(values, dtype=float))
    inner = (t[:-1] + t[1:]) / 2
    edges = np.concatenate([[2 * t[0] - inner[0]], inner, [2 * t[-1] - inner[-1]]])
    middles = (edges[:-1] + edges[1:]) / 2
    expected = (middles - edges[0]) / (edges[-1] - edges[0])
    np.testing.assert_allclose(coordinates(values, values)[:, 0], expected, atol=1e-9)


@pytest.mark.parametrize(
    "choices",
    [["a", "b", "c"], [3, 1, 2], [1, 2], [True, False, 2], [1, None, 3], [1, 2, np.inf], [1, 1, 2]],
)
def test_what_is_no_growing_sequence_of_numbers_stays_choices(choices):
    assert make_space({"v": choices}).n_unit == len({repr(c) for c in choices})


def test_integers_on_a_log_scale_from_one_are_zipfian():
    unit = coordinates(zipfian(1, 1000), [1, 10, 100, 1000])[:, 0]
    # P(k) is 1 / k over the harmonic number H: coordinates are about (log k + 0.577) / H.
    harmonic = (1 / np.arange(1, 1001)).sum()
    np.testing.assert_allclose(unit[1:], (np.log([10, 100, 1000]) + 0.577) / harmonic, atol=0.01)


def test_a_neighbour_teaches_more_than_a_far_value():
    space = {"v": range(0, 100, 5)}
    optimizer = TwoStepConstrainedBO(space, **FAST)
    while len(optimizer.y_) < 9:
        points = optimizer.ask()
        optimizer.tell(points, [(p["v"] - 65) ** 2 for p in points])
    assert optimizer.best_x_ == {"v": 65}


def test_sequences_are_saved(tmp_path):
    space = {"a": range(0, 30, 3), "b": np.array([16, 64]), "c": [1, 2.5, 4], "d": ["x", "y"]}
    optimizer = TwoStepConstrainedBO(space, **FAST)
    points = optimizer.ask(6)
    optimizer.tell(points, [p["a"] + p["b"] for p in points])
    optimizer.save(tmp_path / "run.json")
    restored = TwoStepConstrainedBO.load(tmp_path / "run.json")
    assert restored.space_.key == optimizer.space_.key
    assert repr(restored.ask(2)) == repr(optimizer.ask(2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (range(2**21), "of at most 1048576 numbers; got 2097152"),
        ([1, 2, 2**60], "of numbers of at most 9007199254740992"),
        (range(0), r"got range\(0, 0\)"),
    ],
)
def test_sequences_that_cannot_be_modelled_are_refused(spec, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_space({"v": spec})


def test_a_value_between_the_steps_is_refused():
    optimizer = TwoStepConstrainedBO({"v": range(0, 30, 3)}, **FAST)
    with pytest.raises(ValueError, match=r"X\['v'\] must be one of 0, 3, 6"):
        optimizer.tell([{"v": 4}], [1.0])
    assert optimizer.tell([{"v": 6.0}], [1.0]).X_ == [{"v": 6}]


def test_a_search_takes_ranges_and_arrays():
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier

    space = {"max_depth": range(1, 9), "min_samples_leaf": np.array([1, 2, 4, 8, 16])}
    search = ConstrainedSearchCV(
        DecisionTreeClassifier(random_state=0),
        space,
        objective="accuracy",
        n_iter=6,
        cv=2,
        random_state=0,
        acquisition="eic",
    ).fit(*load_iris(return_X_y=True))
    assert all(type(v) is int for params in search.cv_results_["params"] for v in params.values())
    assert search.optimizer_.space_.n_unit == 2
