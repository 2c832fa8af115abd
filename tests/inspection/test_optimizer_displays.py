"""Displays of optimisers: what they take, and the values that they draw."""

import numpy as np
import pytest
from scipy.stats import loguniform, randint, rv_discrete
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from lookahead_sk import ConstrainedSearchCV, TwoStepConstrainedBO
from lookahead_sk.inspection import AcquisitionDisplay, ConvergenceDisplay

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def named(points, space=None):
    space = space or {"x": (0.0, 10.0), "y": (0.0, 10.0), "k": ["a", None]}
    optimizer = TwoStepConstrainedBO(space, random_state=0, acquisition="eic")
    return optimizer.tell(points, np.arange(float(len(points))))


POINTS = [{"x": 1, "y": 2, "k": "a"}, {"x": 5, "y": 7, "k": None}, {"x": 9, "y": 3, "k": "a"}]


def test_integers_told_for_a_real_variable_draw_the_whole_range():
    optimizer = named(POINTS)
    display = AcquisitionDisplay.from_estimator(optimizer, ["x"], grid_resolution=21)
    at = [{"x": float(x), "y": 2.0, "k": "a"} for x in display.grids[0]]
    np.testing.assert_allclose(display.values, optimizer.acquisition_value(at))
    assert len(np.unique(display.values)) > 15


@pytest.mark.parametrize(
    ("fixed", "point"),
    [
        ({"y": 4}, {"y": 4.0, "k": "a"}),
        ({"k": None}, {"y": 2.0, "k": None}),
        ({"x": 3, "y": 3, "k": None}, {"y": 3.0, "k": None}),
        (None, {"y": 2.0, "k": "a"}),
    ],
)
def test_what_is_not_fixed_is_that_of_the_best_point(fixed, point):
    optimizer = named(POINTS)
    display = AcquisitionDisplay.from_estimator(optimizer, ["x"], fixed=fixed, grid_resolution=9)
    at = [{"x": float(x), **point} for x in display.grids[0]]
    np.testing.assert_allclose(display.values, optimizer.acquisition_value(at))


@pytest.mark.parametrize("fixed", [[0.2, 0.4], {1: 0.4}, {1: np.float32(0.4)}])
def test_a_box_is_fixed_by_position(fixed):
    optimizer = TwoStepConstrainedBO([(0, 1), (0, 1)], random_state=0, acquisition="eic")
    optimizer.tell([[0.2, 0.1], [0.6, 0.7]], [0.0, 1.0])
    display = AcquisitionDisplay.from_estimator(optimizer, [0], fixed=fixed, grid_resolution=9)
    at = np.column_stack([display.grids[0], np.full(9, 0.4)])
    np.testing.assert_allclose(display.values, optimizer.acquisition_value(at), rtol=1e-4)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"z": 1}, "fixed must be a point of the variables"),
        ({"y": 11}, "fixed must be a point of the search space"),
        ({"k": "b"}, "fixed must be a point of the search space"),
        ([1.0, 2.0], "fixed must be a point of the search space"),
    ],
)
def test_what_is_fixed_is_a_point_of_the_space(fixed, message):
    with pytest.raises((ValueError, TypeError), match=message):
        AcquisitionDisplay.from_estimator(named(POINTS), ["x"], fixed=fixed)


def test_discrete_variables_are_drawn_at_their_values():
    space = {"n": randint(1, 9), "v": rv_discrete(values=([0.5, 2, 8], [0.2, 0.3, 0.5]))}
    optimizer = named([{"n": 1, "v": 2}, {"n": 8, "v": 0.5}], space)
    display = AcquisitionDisplay.from_estimator(optimizer, ["n", "v"], grid_resolution=40)
    assert [list(grid) for grid in display.grids] == [list(range(1, 9)), [0.5, 2.0, 8.0]]


@pytest.fixture(scope="module")
def search():
    X = np.random.default_rng(0).normal(size=(30, 3))
    space = {"alpha": loguniform(1e-3, 1e3), "fit_intercept": [True, False]}
    return ConstrainedSearchCV(
        Ridge(), space, objective="r2", n_iter=7, acquisition="eic", cv=2, random_state=0
    ).fit(X, X.sum(axis=1))


def test_a_search_is_drawn_by_its_optimizer(search):
    ours = AcquisitionDisplay.from_estimator(search, ["alpha"], grid_resolution=9)
    its = AcquisitionDisplay.from_estimator(search.optimizer_, ["alpha"], grid_resolution=9)
    np.testing.assert_array_equal(ours.values, its.values)
    runs = {"one": search, "two": [search, search.optimizer_]}
    best = ConvergenceDisplay.from_estimator(runs).best
    scores = np.maximum.accumulate(search.cv_results_["mean_test_r2"])
    np.testing.assert_allclose(best["one"][0], -scores)
    np.testing.assert_array_equal(best["two"][0], best["two"][1])


def test_what_cannot_be_drawn_is_named(search):
    unfitted = ConstrainedSearchCV(Ridge(), {"alpha": loguniform(1, 2)})
    for display in (
        lambda e: AcquisitionDisplay.from_estimator(e, ["alpha"]),
        ConvergenceDisplay.from_estimator,
    ):
        with pytest.raises(NotFittedError):
            display(unfitted)
        with pytest.raises(TypeError, match="estimator must be a TwoStepConstrainedBO"):
            display(Ridge())
    with pytest.raises(NotFittedError):
        AcquisitionDisplay.from_estimator(TwoStepConstrainedBO([(0, 1)]), [0])
