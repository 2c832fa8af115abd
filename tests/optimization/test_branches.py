"""Search spaces of branches: a list of mappings, and points with the variables of their own."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import LinearConstraint
from scipy.stats import loguniform, randint

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._design import design_points
from lookahead_sk.optimization._space import make_space

FAST = {"n_fantasies": 4, "n_restarts": 2, "max_iter": 2, "acquisition": "eic", "random_state": 0}
MODELS = [
    {"model": ["linear"], "C": loguniform(1e-3, 1e3), "seed": randint(0, 3)},
    {"model": ["forest", "trees"], "depth": randint(1, 9), "seed": randint(0, 3), "s": (0.0, 1.0)},
    {"model": ["none"]},
]
POINTS = [
    {"model": "linear", "C": 1.0, "seed": 2},
    {"model": "trees", "depth": 8, "seed": 0, "s": 0.25},
    {"model": "none"},
]


def evaluate(points):
    """The best is depth 6 of the trees, at the border of the constraint."""
    rows = []
    for p in points:
        if p["model"] == "linear":
            rows.append([0.5 + (np.log10(p["C"]) - 1) ** 2, -1.0])
        elif p["model"] == "none":
            rows.append([2.0, -1.0])
        else:
            rows.append([0.1 * abs(p["depth"] - 8) + (p["s"] - 0.4) ** 2, p["depth"] - 6])
    return np.array(rows)


def told(n=10, **parameters):
    optimizer = TwoStepConstrainedBO(MODELS, 1, **{**FAST, **parameters})
    for _ in range(n):
        points = optimizer.ask()
        optimizer.tell(points, evaluate(points))
    return optimizer


def test_points_have_the_variables_of_their_branch_and_come_back():
    space = make_space(MODELS)
    unit = space.encode(POINTS)
    # Branches; C; seed, of two branches; model of the second; depth; s. Middles where there is
    # nothing, and a log scale: 1 is in the middle of 0.001 and 1000.
    expected = [
        [1, 0, 0, 0.5, 2.5 / 3, 0.5, 0.5, 0.5, 0.5],
        [0, 1, 0, 0.5, 0.5 / 3, 0, 1, 7.5 / 8, 0.25],
        [0, 0, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    ]
    np.testing.assert_allclose(unit, expected)
    assert space.decode(unit) == space.canonical(POINTS) == POINTS
    assert [list(p) for p in space.decode(unit)] == [list(p) for p in POINTS]
    rng = np.random.default_rng(0)
    legal = space.snap(rng.random((200, space.n_unit)))
    np.testing.assert_array_equal(space.snap(legal), legal)
    np.testing.assert_allclose(space.encode(space.decode(legal)), legal, atol=1e-12)
    table = pd.DataFrame(POINTS)
    np.testing.assert_array_equal(space.encode(table), unit)
    is_free = space.is_free(unit)
    assert is_free.sum() == 2
    assert is_free[0, 3]
    assert is_free[1, 8]


def test_variables_of_another_range_are_others():
    same = make_space([{"a": ["u"], "x": (0, 1)}, {"a": ["v"], "x": (0, 1)}])
    other = make_space([{"a": ["u"], "x": (0, 1)}, {"a": ["v"], "x": (0, 2)}])
    assert (same.n_unit, other.n_unit) == (3, 4)
    assert same.key != other.key
    assert same.key == make_space([{"a": ["u"], "x": (0, 1)}, {"a": ["v"], "x": (0, 1)}]).key
    one = make_space([{"a": ["u", "v"], "x": (0, 1)}])
    assert one.key == make_space({"a": ["u", "v"], "x": (0, 1)}).key


def test_all_points_of_finite_branches_are_the_union_of_products():
    space = make_space([{"a": ["u"], "n": range(4)}, {"b": [True, False], "n": range(2)}, {}])
    points = space.decode(space.all_points())
    expected = [{"a": "u", "n": n} for n in range(4)]
    expected += [{"b": b, "n": n} for b, n in itertools.product([True, False], range(2))]
    assert points == [*expected, {}]
    assert space.n_values == len(points) == 9


@pytest.mark.parametrize("n_branches", [2, 3, 5])
def test_a_design_has_as_many_points_in_each_branch(n_branches):
    space = make_space([{"b": [str(i)], "x": (0, 1)} for i in range(n_branches)])
    unit = design_points(space, 0, 4 * n_branches + 1, seed=3)
    counts = np.bincount(space.branch_of(unit), minlength=n_branches)
    assert counts.max() - counts.min() <= 1
    later = design_points(space, n_branches + 1, 2 * n_branches, seed=3)
    np.testing.assert_array_equal(later, unit[n_branches + 1 : 2 * n_branches])
    # Each branch sees all of its range, not the half that the parity of a number goes with.
    many = design_points(space, 0, 64 * n_branches, seed=3)
    for b in range(n_branches):
        x = many[space.branch_of(many) == b, n_branches]
        assert x.min() < 0.1
        assert x.max() > 0.9


def test_a_run_finds_the_best_branch_and_only_asks_for_legal_points():
    optimizer = told(22, acquisition="two_step")
    names = [set(branch) for branch in MODELS]
    assert all(set(p) in names for p in optimizer.X_)
    assert {p["model"] for p in optimizer.X_[:9]} >= {"linear", "none"}
    assert optimizer.best_x_["depth"] == 6
    assert optimizer.best_y_ < 0.21
    assert optimizer.recommend().x == optimizer.best_x_
    assert optimizer.n_features_in_ == 6
    assert sum(p == {"model": "none"} for p in optimizer.X_) == 1  # known exactly
    assert optimizer.expected_gain_ >= 0
    mean, std = optimizer.predict(POINTS, return_std=True)
    assert mean.shape == std.shape == (3, 2)


def test_a_batch_pending_points_and_forgetting():
    optimizer = told(9)
    points = optimizer.ask(4)
    assert len({tuple(sorted(p.items())) for p in points}) == 4
    assert optimizer.pending_ == points
    optimizer.forget_pending(points[:1])
    assert optimizer.pending_ == points[1:]
    optimizer.tell(points[1:2], evaluate(points[1:2])).add_pending([POINTS[0]])
    assert optimizer.pending_ == [*points[2:], POINTS[0]]


def test_held_variables_leave_the_branches_that_have_them():
    optimizer = told()
    for held, models in [
        ({"model": "linear"}, {"linear"}),
        ({"seed": 1}, {"linear", "forest", "trees"}),
        ({"depth": 3, "s": 0.5}, {"forest", "trees"}),
    ]:
        points = optimizer.ask(3, fixed=held)
        optimizer.forget_pending()
        assert all(held.items() <= p.items() for p in points)
        assert {p["model"] for p in points} <= models
    fresh = TwoStepConstrainedBO(MODELS, 1, **FAST)
    assert {p["model"] for p in fresh.ask(6, fixed={"seed": 1})} > {"linear"}
    for held, message in [
        ({"depth": 3, "C": 1.0}, "fixed must be values that one dict of bounds takes together"),
        ({"model": "none"}, "such that a variable is left to choose"),
        ({"size": 1}, "fixed must be a dict of names among"),
        ({"depth": 30}, "fixed must be values that one dict of bounds takes together"),
    ]:
        with pytest.raises(ValueError, match=message):
            optimizer.ask(fixed=held)


def test_formulas_get_points_with_their_own_variables():
    def shallow(points):
        assert all(set(p) in [set(branch) for branch in MODELS] for p in points)
        return [p.get("depth", 0) - 4.5 for p in points]

    optimizer = told(14, known_constraints=shallow)
    assert all(p.get("depth", 0) <= 4 for p in optimizer.X_)
    with pytest.raises(TypeError, match="a callable on a list of dicts where bounds is a list"):
        told(1, known_constraints=LinearConstraint(np.ones((1, 6)), 0, 1))


def test_a_run_is_saved_copied_and_goes_on_in_other_bounds(tmp_path):
    optimizer = told()
    optimizer.save(tmp_path / "run.json")
    loaded = TwoStepConstrainedBO.load(tmp_path / "run.json")
    copied = pickle.loads(pickle.dumps(optimizer))
    assert loaded.X_ == optimizer.X_
    assert optimizer.ask() == loaded.ask() == copied.ask()
    deep = [p["depth"] for p in optimizer.X_ if "depth" in p]
    narrow = [MODELS[0], {**MODELS[1], "depth": randint(1, min(deep) + 1)}, MODELS[2]]
    optimizer.set_params(bounds=narrow).forget_pending()
    points = optimizer.ask(6)
    assert all(p.get("depth", 0) <= min(deep) for p in points)
    optimizer.set_params(bounds=MODELS[:2])
    with pytest.raises(ValueError, match="bounds must be of the same variables"):
        optimizer.ask()


def test_fit_takes_points_of_branches():
    points = told().X_
    fitted = TwoStepConstrainedBO(MODELS, 1, **FAST).fit(points, evaluate(points))
    np.testing.assert_allclose(fitted.predict(points), evaluate(points), atol=1e-2)


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ([{"a": (0, 1)}, (0, 1)], TypeError, "bounds must be a list of mappings; got"),
        ([{"a": (0, 1)}, {3: (0, 1)}], TypeError, "names that are strings"),
        ([{"a": (0, 1)}, {"a": (0.5, 2)}], ValueError, "no two of which have a point in common"),
        ([{"a": (0, 1), "k": ["u", "v"]}, {"k": ["v"], "a": (0, 1)}], ValueError, "in common"),
        ([{"n": range(5)}, {"n": range(4, 9)}], ValueError, "in common"),
        ([{}, {}], ValueError, "in common"),
        ([{}], ValueError, "at least one variable"),
        ([{"a": ["u"]}, {"b": 3}], TypeError, r"bounds\['b'\] must be"),
        ([{"a": [str(i)]} for i in range(300)], ValueError, "at most 250 choices together"),
    ],
)
def test_a_bad_list_is_refused(bounds, error, message):
    with pytest.raises(error, match=message):
        TwoStepConstrainedBO(bounds).ask()


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"model": "linear", "C": 1.0}, r"keys \['model', 'C', 'seed'\] or"),
        ({"model": "none", "C": 1.0, "seed": 1}, "No branch of the space has these values"),
        ({"model": "linear", "C": 1e9, "seed": 1}, "inside"),
        ({"model": "neither"}, "No branch"),
    ],
)
def test_a_point_of_no_branch_is_refused(point, message):
    optimizer = told(2)
    with pytest.raises(ValueError, match=message):
        optimizer.tell([point], [[0.0, 0.0]])
    assert len(optimizer.X_) == 2


def test_ranges_that_only_touch_are_two_branches():
    optimizer = TwoStepConstrainedBO([{"x": (0, 1)}, {"x": (1, 2)}], **FAST)
    for _ in range(12):
        (point,) = optimizer.ask()
        optimizer.tell([point], [(point["x"] - 1.3) ** 2])
    assert optimizer.best_y_ < 1e-3
