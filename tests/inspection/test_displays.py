"""Displays: the numbers they hold against hand-written ones, and scikit-learn's conventions."""

import sys

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import loguniform, randint

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.inspection import (
    AcquisitionDisplay,
    ConvergenceDisplay,
    RoutingConfusionDisplay,
    RoutingCurveDisplay,
)
from lookahead_sk.inspection._convergence import best_so_far
from lookahead_sk.metrics import routing_regret

SCORES = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0], [0.2, 0.8, np.nan], [0.4, 0.4, 0.4]])
MODELS = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def router():
    rng = np.random.RandomState(0)
    X = rng.randn(60, 3)
    y = np.stack([X[:, 0] > 0, X[:, 0] < 0, np.full(60, 0.6)], axis=1).astype(float)
    return KNNRouter(encoder="passthrough").fit(X, y), X, y


@pytest.fixture(scope="module")
def optimizer():
    X = np.random.RandomState(0).rand(9, 2)
    y = np.stack([X.sum(axis=1), 0.5 - X[:, 0]], axis=1)
    return TwoStepConstrainedBO([(0, 1), (0, 1)], 1, random_state=0).tell(X, y)


def test_the_confusion_shares_ties_and_counts_a_hit_on_the_diagonal():
    display = RoutingConfusionDisplay.from_predictions(SCORES, [0, 0, 1, 1], models=MODELS)
    # Prompt 1: chosen a, best b and c; prompt 3: all alike, so the chosen b is a hit.
    expected = np.array([[1, 0, 0], [0.5, 2, 0], [0.5, 0, 0]]) / 4
    assert_allclose(display.confusion_matrix, expected)
    assert display.display_labels == MODELS
    assert display.text_[0, 0].get_text() == "25%"


def test_the_regret_cells_sum_to_the_regret():
    chosen = [2, 0, 0, 1]
    display = RoutingConfusionDisplay.from_predictions(SCORES, chosen, values="regret")
    assert display.confusion_matrix.sum() == pytest.approx(routing_regret(SCORES, chosen))
    assert np.trace(display.confusion_matrix) == 0


def test_prompts_whose_choice_was_not_observed_are_left_out_of_the_confusion():
    display = RoutingConfusionDisplay.from_predictions(SCORES, [0, 1, 2, 1])
    assert_allclose(display.confusion_matrix.sum(), 1)


def test_the_curve_of_known_scores_is_the_oracles(router):
    _, _, y = router
    display = RoutingCurveDisplay.from_predictions(y, y, costs=[1.0, 1.0, 3.0], models=MODELS)
    assert_allclose(display.curves["router"].qualities, display.oracle.qualities)
    assert display.oracle.qualities.max() == pytest.approx(1.0)
    assert_allclose(display.model_qualities, y.mean(axis=0))


def test_costs_by_name_are_costs_by_column(router):
    fitted, X, y = router
    named = dict(zip(fitted.classes_.tolist(), [1.0, 2.0, 3.0], strict=True))
    a = RoutingCurveDisplay.from_estimator(fitted, X, y, costs=named)
    b = RoutingCurveDisplay.from_estimator(fitted, X, y, costs=[1.0, 2.0, 3.0])
    assert_allclose(a.curves["KNNRouter"].costs, b.curves["KNNRouter"].costs)
    assert_allclose(a.model_costs, [1, 2, 3])


def test_costs_have_to_be_given_somewhere(router):
    fitted, X, y = router
    with pytest.raises(ValueError, match="costs must be given here or to the router"):
        RoutingCurveDisplay.from_estimator(fitted, X, y)


def test_several_routers_share_one_picture(router):
    fitted, X, y = router
    costs = [1.0, 2.0, 3.0]
    display = RoutingCurveDisplay.from_estimator({"one": fitted, "two": fitted}, X, y, costs=costs)
    assert [line.get_label().split()[0] for line in display.lines_] == ["one", "two"]


def test_the_best_so_far_skips_what_is_infeasible_or_failed():
    y = [[1.0, 1.0], [5.0, -1.0], [np.nan, -1.0], [2.0, 0.0], [3.0, -1.0]]
    assert_allclose(best_so_far(y), [np.nan, 5, 5, 2, 2])
    assert_allclose(best_so_far([3.0, 2.0, 4.0]), [3, 2, 2])


def test_runs_that_found_nothing_count_as_worst():
    runs = [[[1.0, 1.0], [1.0, -1.0]], [[2.0, -1.0], [2.0, -1.0]], [[3.0, 1.0], [3.0, 1.0]]]
    display = ConvergenceDisplay.from_predictions({"m": runs}, optimum=0.5)
    x, gap = display.lines_[0].get_data()
    assert_allclose(x, [2])  # before that the median run has nothing
    assert_allclose(gap, [1.5])
    assert display.ax_.get_yscale() == "log"


def test_runs_of_different_length_are_refused():
    with pytest.raises(ValueError, match="runs of one length"):
        ConvergenceDisplay.from_predictions({"m": [[1.0, 2.0], [1.0]]})


def test_convergence_from_an_optimizer(optimizer):
    display = ConvergenceDisplay.from_estimator(optimizer)
    assert display.best["TwoStepConstrainedBO"][0, -1] == pytest.approx(optimizer.best_y_)


def test_a_slice_passes_through_the_best_point(optimizer):
    display = AcquisitionDisplay.from_estimator(optimizer, [1], grid_resolution=15)
    points = np.tile(optimizer.best_x_, (15, 1))
    points[:, 1] = display.grids[0]
    assert_allclose(display.values, optimizer.acquisition_value(points))


def test_a_plane_shows_the_predicted_border(optimizer):
    display = AcquisitionDisplay.from_estimator(optimizer, [0, 1], grid_resolution=12)
    assert display.values.shape == display.is_feasible.shape == (12, 12)
    assert not display.is_feasible[0].any()  # x0 = 0 breaks the constraint
    assert display.is_feasible[-1].all()
    assert display.ax_.get_ylabel() == "x[1]"


def test_named_spaces_are_drawn_in_the_users_units():
    space = {"C": loguniform(1e-3, 1e3), "depth": randint(1, 9), "kind": ["x", "y"]}
    opt = TwoStepConstrainedBO(space, 0, n_initial=4, random_state=0)
    points = opt.ask(6)
    opt.tell(points, [[np.log10(p["C"]) ** 2 + p["depth"]] for p in points])
    display = AcquisitionDisplay.from_estimator(opt, ["C", "depth"], grid_resolution=20)
    assert display.ax_.get_xscale() == "log"
    assert_allclose(display.grids[1], np.arange(1, 9))
    with pytest.raises(ValueError, match="not categorical"):
        AcquisitionDisplay.from_estimator(opt, ["kind"])


@pytest.mark.parametrize("features", [[], [0, 0], [0, 1, 2], [5], ["C"]])
def test_bad_features_are_named(optimizer, features):
    with pytest.raises(ValueError, match="features must be"):
        AcquisitionDisplay.from_estimator(optimizer, features)


def test_a_display_draws_where_it_is_told(optimizer, router):
    fitted, X, y = router
    _, axes = plt.subplots(2, 2)
    displays = [
        RoutingCurveDisplay.from_estimator(fitted, X, y, costs=[1, 2, 3], ax=axes[0, 0]),
        RoutingConfusionDisplay.from_estimator(fitted, X, y, ax=axes[0, 1]),
        ConvergenceDisplay.from_estimator(optimizer, ax=axes[1, 0]),
        AcquisitionDisplay.from_estimator(optimizer, [0, 1], grid_resolution=8, ax=axes[1, 1]),
    ]
    for display, ax in zip(displays, axes.flat, strict=True):
        assert display.ax_ is ax
        assert display.figure_ is ax.figure


def test_without_matplotlib_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="requires matplotlib"):
        ConvergenceDisplay.from_predictions([1.0, 2.0])
