"""Variables that are held for an ask, and bounds that change during a run."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint
from scipy.stats import beta, loguniform, randint

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._space import make_space

FAST = {"n_fantasies": 4, "n_restarts": 2, "max_iter": 2, "acquisition": "eic", "random_state": 0}
BOX = [(0, 1)] * 2


def ridge(X):
    """For a given first variable the best second one is the same number."""
    X = np.asarray(X)
    return (X[:, 1] - X[:, 0]) ** 2 + 0.1 * X[:, 0]


def told(**parameters):
    X = np.random.default_rng(0).random((8, 2))
    return TwoStepConstrainedBO(BOX, **{**FAST, **parameters}).tell(X, ridge(X))


@pytest.mark.parametrize("context", [0.2, 0.8])
def test_the_others_are_optimised_for_the_fixed_values(context):
    optimizer = told()
    for _ in range(4):
        X = optimizer.ask(fixed={0: context})
        assert X[0, 0] == context
        optimizer.tell(X, ridge(X))
    here = optimizer.X_[8:]
    assert np.abs(here[:, 1] - context).min() < 0.01
    assert len(np.unique(here.round(9), axis=0)) == 4
    assert (optimizer.ask() != context).all()  # only that ask


def test_names_choices_and_integers_are_fixed_in_all_parts_of_a_run():
    space = {"n": randint(0, 9), "k": ["u", "v"], "x": (0, 1)}
    optimizer = TwoStepConstrainedBO(space, **{**FAST, "acquisition": "two_step"})
    for i in range(9):
        points = optimizer.ask(2, fixed={"k": "v", "n": 3})
        assert all(p["k"] == "v" and p["n"] == 3 for p in points)
        assert i == 0 or points[0]["x"] != points[1]["x"]
        optimizer.tell(points, [(p["x"] - 0.3) ** 2 for p in points])
    assert optimizer.best_x_["x"] == pytest.approx(0.3, abs=0.01)


def test_known_constraints_hold_for_the_fixed_values():
    simplex = LinearConstraint(np.ones((1, 3)), 1, 1)
    optimizer = TwoStepConstrainedBO([(0, 1)] * 3, known_constraints=simplex, **FAST)
    for _ in range(7):
        X = optimizer.ask(fixed={1: 0.35})
        assert X[0, 1] == pytest.approx(0.35, abs=1e-15)
        assert X.sum() == pytest.approx(1, abs=1e-8)
        optimizer.tell(X, X[:, 0])
    assert optimizer.best_y_ == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="with the fixed variables, meets all"):
        TwoStepConstrainedBO(
            [(0, 0.5)] * 3, known_constraints=LinearConstraint(np.ones((1, 3)), 1.4, 1.4), **FAST
        ).ask(fixed={0: 0.1})


BAD = [
    ({2: 0.5}, r"fixed must be a dict of indices of variables and values; got 2"),
    ({0: 2.0}, r"fixed\[0\] must be inside \[0, 1\]; got 2"),
    ({0: np.nan}, r"fixed\[0\] must be inside"),
    ({0: 0.1, 1: 0.2}, "fixed must be such that a variable is left to choose"),
    ([0.1, None], "fixed must be a mapping of variables to values"),
]


@pytest.mark.parametrize(("fixed", "message"), BAD)
def test_bad_fixed_values_are_named_and_change_nothing(fixed, message):
    optimizer = told()
    with pytest.raises((TypeError, ValueError), match=message):
        optimizer.ask(fixed=fixed)
    assert len(optimizer.pending_) == 0
    with pytest.raises(ValueError, match=r"names among .* and values; got 'c'"):
        TwoStepConstrainedBO({"a": (0, 1), "b": (0, 1)}).ask(fixed={"c": 1})


def test_a_finite_context_is_used_up_and_said_so():
    space = {"a": [1, 2, 3], "b": ["u", "v"]}
    optimizer = TwoStepConstrainedBO(space, **FAST)
    points = [optimizer.ask(fixed={"b": "u"})[0] for _ in range(3)]
    assert sorted(p["a"] for p in points) == [1, 2, 3]
    optimizer.tell(points, [1.0, 2.0, 3.0])
    with pytest.warns(UserWarning, match="Every point of the search space was evaluated"):
        optimizer.ask(fixed={"b": "u"})


def test_one_pending_point_is_forgotten():
    optimizer = told()
    X = optimizer.ask(3)
    optimizer.forget_pending(X[[1]])
    np.testing.assert_allclose(optimizer.pending_, X[[0, 2]])
    with pytest.raises(ValueError, match="X must be points that are pending"):
        optimizer.forget_pending([X[0], X[1]])
    assert len(optimizer.pending_) == 2
    optimizer.forget_pending(X[[0, 2]].round(6))  # as a log has them
    assert len(optimizer.pending_) == 0


def test_a_wider_box_keeps_the_data_and_finds_the_optimum_outside_of_the_old_one():
    def bowl(X):
        return ((np.asarray(X) - 1.5) ** 2).sum(axis=1)

    optimizer = TwoStepConstrainedBO(BOX, **FAST)
    while len(optimizer.y_) < 7:
        X = optimizer.ask()
        optimizer.tell(X, bowl(X))
    before = optimizer.X_
    optimizer.set_params(bounds=[(0, 2)] * 2)
    while len(optimizer.y_) < 12:
        X = optimizer.ask()
        optimizer.tell(X, bowl(X))
    np.testing.assert_array_equal(optimizer.X_[:7], before)
    assert optimizer.best_y_ < 1e-3


def test_a_narrower_box_keeps_data_outside_that_teach_but_are_not_feasible(tmp_path):
    optimizer = told()
    X, y = optimizer.X_, optimizer.y_
    new = [(0.5, 1), (0, 1)]
    optimizer.set_params(bounds=new)
    assert optimizer.ask()[0, 0] >= 0.5
    np.testing.assert_array_equal(optimizer.X_, X)
    np.testing.assert_array_equal(optimizer.is_feasible_, X[:, 0] >= 0.5)
    inside = np.where(X[:, 0] >= 0.5, y[:, 0], np.inf)
    np.testing.assert_array_equal(optimizer.best_x_, X[inside.argmin()])
    np.testing.assert_allclose(optimizer.predict(X), y[:, 0], atol=0.01)
    optimizer.save(tmp_path / "run.json")
    restored = TwoStepConstrainedBO.load(tmp_path / "run.json")
    np.testing.assert_array_equal(restored.X_, X)
    np.testing.assert_array_equal(restored.ask(), optimizer.ask())


def test_named_spaces_change_on_the_scale_of_each_variable():
    space = {"C": loguniform(0.1, 10), "n": randint(2, 6), "x": (0, 1), "k": ["a", "b"]}
    points = [{"C": 0.1, "n": 2, "x": 0.0, "k": "b"}, {"C": 10.0, "n": 5, "x": 1.0, "k": "a"}]
    optimizer = TwoStepConstrainedBO(space, **FAST).tell(points, [1.0, 2.0])
    optimizer.add_pending([{"C": 0.2, "n": 3, "x": 0.5, "k": "a"}])
    new = {"C": loguniform(1, 100), "n": randint(4, 8), "x": (0.5, 1), "k": ["b", "c", "a"]}
    (asked,) = optimizer.set_params(bounds=new).ask()
    assert asked["C"] >= 1
    assert points == optimizer.X_
    assert optimizer.is_feasible_.tolist() == [False, True]
    assert optimizer.pending_ == [asked]  # the other one is outside
    unit = make_space(new).encode_beyond(points)
    # loguniform: a decade is half of the scale; four integers; half of the interval; b, c, a.
    np.testing.assert_allclose(unit[0], [-0.5, -0.375, -1, 1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(unit[1], [0.5, 0.375, 1, 0, 0, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("entry", "other"),
    [(["a", "b"], ["b", "c"]), (beta(2, 2), beta(2, 2, loc=0.5)), ((0, 1), loguniform(0.5, 1))],
)
def test_bounds_that_have_no_place_for_the_data_are_refused(entry, other):
    value = entry[0] if isinstance(entry, list | tuple) else 0.1
    optimizer = TwoStepConstrainedBO({"v": entry}, **FAST).tell([{"v": value}], [1.0])
    with pytest.raises(ValueError, match="bounds must leave the data a place on their scale"):
        optimizer.set_params(bounds={"v": other}).ask()
    assert optimizer.set_params(bounds={"v": entry}).ask()


def test_a_fit_in_the_old_bounds_is_not_used_in_the_new_ones():
    def make():
        optimizer = TwoStepConstrainedBO([(0, 1), (0, 1)], random_state=0)
        X = optimizer.ask(6)
        return optimizer.tell(X, ((X - 1.2) ** 2).sum(axis=1))

    asked, other = make(), make()
    asked.ask()  # fits
    asked.forget_pending()
    for optimizer in (asked, other):
        optimizer.set_params(bounds=[(0.5, 2), (0, 2)])
        optimizer.ask()
    np.testing.assert_array_equal(asked._surrogate.posterior.x, other._surrogate.posterior.x)
