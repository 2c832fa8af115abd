"""Known constraints: every point asked for meets them, told points need not."""

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize
from scipy.stats import loguniform, randint
from sklearn.base import clone

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._first_points import make_region
from lookahead_sk.optimization._known_constraints import read_known_constraints
from lookahead_sk.optimization._region_ascent import ascend_within
from lookahead_sk.optimization._space import make_space

FAST = {"n_fantasies": 4, "n_restarts": 2, "max_iter": 2, "acquisition": "eic"}
SIMPLEX = LinearConstraint(np.ones((1, 3)), 1.0, 1.0)
NOWHERE = np.empty((0, 2))


def disc(X):
    return (np.asarray(X) ** 2).sum(axis=1) - 1


def slope(X):
    return -X[:, 0] - 2 * X[:, 1]  # in the unit disc the least is -sqrt(5)


def region_of(bounds, constraints, seed=0):
    space = make_space(bounds)
    known = read_known_constraints(constraints, space)
    return make_region(space, known, None, np.empty((0, space.n_unit)), seed)


def run(optimizer, evaluate, n, n_points=1):
    asked = []
    while len(optimizer.y_) < n:
        X = optimizer.ask(n_points)
        asked.extend(X)
        optimizer.tell(X, evaluate(X))
    return asked


def test_the_optimum_on_a_curved_boundary_is_found_from_inside():
    optimizer = TwoStepConstrainedBO([(0, 2)] * 2, known_constraints=disc, random_state=0, **FAST)
    asked = run(optimizer, slope, 9)
    assert (disc(asked) <= 0).all()
    assert optimizer.best_y_ == pytest.approx(-np.sqrt(5), abs=1e-4)


@pytest.mark.parametrize(
    "constraint",
    [
        [disc],
        lambda X: disc(X)[:, None],
        NonlinearConstraint(lambda x: x @ x, -np.inf, 1.0),
        [NonlinearConstraint(lambda x: [-x @ x, x[0]], [-1.0, -5.0], np.inf)],
    ],
    ids=["list", "column", "NonlinearConstraint", "two rows"],
)
def test_all_ways_to_write_a_constraint_are_one(constraint):
    space, unit = make_space([(0, 2)] * 2), np.random.default_rng(0).random((50, 2))
    known = read_known_constraints(constraint, space)
    np.testing.assert_array_equal(known.is_met(unit), disc(2 * unit) <= 0)
    slopes = known.slopes(unit[0], np.array([True, True]))
    np.testing.assert_allclose(slopes[0], 8 * unit[0], rtol=1e-6)  # of (2 u)^2


def test_no_point_of_design_plans_and_batches_violates_a_constraint():
    corner = [LinearConstraint([[1.0, 1.0]], -np.inf, 0.4), lambda X: 0.02 - X[:, 0] * X[:, 1]]
    optimizer = TwoStepConstrainedBO(
        [(0, 2)] * 2,
        1,
        known_constraints=corner,
        random_state=1,
        **{**FAST, "acquisition": "two_step"},
    )
    asked = np.array(
        run(optimizer, lambda X: np.stack([slope(X), X[:, 1] - 0.3], axis=1), 15, n_points=3)
    )
    assert (asked.sum(axis=1) <= 0.4).all()
    assert (asked.prod(axis=1) >= 0.02).all()
    assert len(np.unique(asked.round(9), axis=0)) == len(asked)
    assert optimizer.best_y_ == pytest.approx(-0.1 - 0.6, abs=5e-3)


def test_a_mixture_keeps_its_sum_and_reaches_a_side_of_the_box():
    wanted = np.array([0.7, 0.3, -0.2])
    optimizer = TwoStepConstrainedBO(
        [(0, 1)] * 3, known_constraints=SIMPLEX, random_state=0, **FAST
    )
    asked = run(optimizer, lambda X: ((X - wanted) ** 2).sum(axis=1), 12)
    np.testing.assert_allclose(np.sum(asked, axis=1), 1.0, rtol=0, atol=1e-8)
    assert optimizer.best_y_ == pytest.approx(0.04, abs=1e-6)  # at (0.7, 0.3, 0)


def test_named_variables_of_all_kinds_keep_a_callable():
    space = {"depth": randint(1, 50), "rate": loguniform(0.01, 10), "kind": ["u", "v"]}

    def excess(points):
        return [p["depth"] * p["rate"] - (20 if p["kind"] == "u" else 5) for p in points]

    optimizer = TwoStepConstrainedBO(space, known_constraints=excess, random_state=0, **FAST)
    asked = run(optimizer, lambda P: np.array([-p["depth"] - 9 * p["rate"] for p in P]), 12, 2)
    assert max(excess(asked)) <= 0
    assert optimizer.best_x_["kind"] == "u"


def test_a_linear_constraint_takes_named_numbers_in_their_order():
    space = {"a": (0, 1), "b": randint(0, 10)}
    known = LinearConstraint([[10.0, 1.0]], 4.0, 8.0)
    optimizer = TwoStepConstrainedBO(space, known_constraints=known, random_state=0, **FAST)
    asked = run(optimizer, lambda P: np.array([p["a"] for p in P]), 10)
    sums = [10 * p["a"] + p["b"] for p in asked]
    assert min(sums) >= 4
    assert max(sums) <= 8


def test_a_finite_space_is_used_up_without_forbidden_points():
    space = {"a": [1, 2, 3, 4], "b": randint(0, 4)}
    optimizer = TwoStepConstrainedBO(
        space, known_constraints=lambda P: [p["a"] * p["b"] - 2 for p in P], random_state=0, **FAST
    )
    allowed = {(a, b) for a in (1, 2, 3, 4) for b in range(4) if a * b <= 2}
    asked = run(optimizer, lambda P: np.array([p["a"] - p["b"] for p in P], dtype=float), 7)
    assert {(p["a"], p["b"]) for p in asked} == allowed
    with pytest.warns(UserWarning, match="Every point of the search space was evaluated"):
        optimizer.ask()


TOO_SMALL = [
    (lambda X: X.sum(axis=1) + 1, [(0, 1)] * 2),
    (LinearConstraint([[1.0, 1.0]], 3.0, 4.0), [(0, 1)] * 2),
    (LinearConstraint([[1.0, 1.0]], 3.0, 3.0), [(0, 1)] * 2),
    (LinearConstraint([[1.0, 1.0], [2.0, 2.0]], [1.0, 1.0], [1.0, 1.0]), [(0, 1)] * 2),
    (lambda P: [p["a"] + 1 for p in P], {"a": [0, 1]}),
]


@pytest.mark.parametrize(("constraint", "bounds"), TOO_SMALL)
def test_an_empty_region_is_an_error_at_the_first_ask_and_at_fit(constraint, bounds):
    optimizer = TwoStepConstrainedBO(bounds, known_constraints=constraint, random_state=0)
    with pytest.raises(ValueError, match="known_constraints must be such that a point"):
        optimizer.ask()
    assert not hasattr(optimizer, "space_")
    X = [{"a": 0}] if isinstance(bounds, dict) else np.full((1, 2), 0.5)
    with pytest.raises(ValueError, match="known_constraints must be such that a point"):
        optimizer.fit(X, [1.0])


BAD = [
    (lambda X: X.sum(), r"known_constraints must be a callable that returns shape \(\d+,\) or"),
    (lambda X: X[0], r"known_constraints must be a callable that returns shape"),
    (LinearConstraint(np.ones((1, 3))), r"known_constraints.A must be .* with 2 columns"),
    ([disc, "x < 1"], r"known_constraints\[1\] must be a LinearConstraint.*got 'x < 1'"),
    (NonlinearConstraint(lambda x: x @ x, 1.0, 1.0), "an inequality, lb < ub, where it is not"),
    (NonlinearConstraint(lambda x: x, [0] * 3, [1] * 3), "must be of 3 values a point"),
    (lambda X: ["a"] * len(X), "known_constraints must be an array of numbers"),
]


@pytest.mark.parametrize(("constraint", "message"), BAD)
def test_a_bad_constraint_is_named_and_changes_nothing(constraint, message):
    optimizer = TwoStepConstrainedBO([(0, 1)] * 2, known_constraints=constraint, random_state=0)
    with pytest.raises((TypeError, ValueError), match=message):
        optimizer.ask()
    assert not hasattr(optimizer, "space_")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"a": (0, 1), "b": randint(0, 9)}, r"an equality only of variables.*variable 'b'"),
        ({"a": (0, 1), "b": loguniform(1, 9)}, r"an equality only of variables.*variable 'b'"),
        ({"a": (0, 1), "b": ["u", "v"]}, r"a callable where variables are choices.*'b'"),
    ],
)
def test_an_equality_is_refused_where_a_variable_cannot_keep_it(space, message):
    optimizer = TwoStepConstrainedBO(space, known_constraints=LinearConstraint([[1.0, 1.0]], 1, 1))
    with pytest.raises(ValueError, match=message):
        optimizer.ask()


def test_told_points_may_violate_and_are_not_feasible_then():
    optimizer = TwoStepConstrainedBO(
        [(0, 2)] * 2, known_constraints=disc, random_state=0, **FAST
    ).tell([[2, 2], [0.5, 0.5], [0.6, 0.8 + 1e-7]], [-6.0, -1.5, -2.2])
    assert optimizer.is_feasible_.tolist() == [False, True, True]  # the last one was rounded
    assert optimizer.best_y_ == -2.2
    asked = run(optimizer, slope, 6)
    assert (disc(asked) <= 0).all()
    optimizer.set_params(known_constraints=None)
    assert optimizer.best_y_ == -6.0


def test_save_says_that_there_were_constraints_and_load_needs_them(tmp_path):
    path = tmp_path / "run.json"
    optimizer = TwoStepConstrainedBO([(0, 2)] * 2, known_constraints=disc, random_state=0, **FAST)
    run(optimizer, slope, 6)
    optimizer.save(path)
    with pytest.raises(ValueError, match="known_constraints must be given to load"):
        TwoStepConstrainedBO.load(path)
    restored = TwoStepConstrainedBO.load(path, known_constraints=disc)
    assert restored.known_constraints is disc
    for _ in range(2):
        X = optimizer.ask()
        np.testing.assert_array_equal(restored.ask(), X)
        optimizer.tell(X, slope(X))
        restored.tell(X, slope(X))
    TwoStepConstrainedBO([(0, 1)]).save(path)
    assert TwoStepConstrainedBO.load(path).known_constraints is None


def test_clone_and_pickle_keep_them():
    optimizer = TwoStepConstrainedBO([(0, 1)] * 3, known_constraints=[SIMPLEX, disc])
    copy = clone(optimizer)
    assert copy.known_constraints[1] is disc
    np.testing.assert_array_equal(copy.known_constraints[0].A, SIMPLEX.A)


@pytest.mark.parametrize(
    ("bounds", "constraints"),
    [
        ([(0, 1)] * 10, SIMPLEX_10 := LinearConstraint(np.ones((1, 10)), 1, 1)),
        ([(0, 1)] * 10, [SIMPLEX_10, lambda X: 0.3 - X[:, 0]]),
        ([(0, 1)] * 3, lambda X: ((X - 0.3) ** 2).sum(axis=1) - 1e-10),
        ([(0, 1)] * 2, NonlinearConstraint(lambda x: x[0] * x[1], 0.2, 0.2001)),
        (
            {f"n{i}": randint(0, 1000) for i in range(8)},
            lambda P: [abs(sum(p.values()) - 500) - 1 for p in P],
        ),
    ],
    ids=["simplex", "cut simplex", "tiny ball", "thin", "integers"],
)
def test_regions_that_chance_does_not_hit_are_found_and_walked_through(bounds, constraints):
    region = region_of(bounds, constraints)
    points = region.filled(np.random.default_rng(0).random((64, region.space.n_unit)), 200, 1)
    assert len(points) >= 200
    assert region.is_allowed(points).all()
    assert len(np.unique(points.round(12), axis=0)) > 100


def test_the_walk_is_uniform_in_a_triangle():
    region = region_of([(0, 1)] * 2, LinearConstraint([[1.0, 1.0]], -np.inf, 0.1))
    points = region.filled(NOWHERE, 4000, 2)
    # Uniform in the triangle of legs 0.1: means 1/30, variances 0.01 / 18; the walk is correlated.
    np.testing.assert_allclose(points.mean(axis=0), 0.1 / 3, rtol=0.05)
    np.testing.assert_allclose(points.var(axis=0), 0.01 / 18, rtol=0.1)


def test_points_are_pulled_back_to_the_boundary_and_no_farther():
    region = region_of([(0, 2)] * 2, disc)
    start = np.array([[0.1, 0.1], [0.3, 0.2]])
    end = np.array([[0.9, 0.9], [0.31, 0.21]])
    back = region.pulled_back(end, start, 10)
    assert disc(2 * back[:1])[0] == pytest.approx(0, abs=1e-6)
    assert disc(2 * back[:1])[0] <= 0
    np.testing.assert_array_equal(back[1], end[1])


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")  # of the other solver
@pytest.mark.parametrize("seed", range(3))
def test_ascent_inside_a_region_agrees_with_another_solver(seed):
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(0.6, 1.2, 3)

    def rule(X):
        return X[:, 0] ** 2 + X[:, 1] * X[:, 2] - 0.6

    region = region_of([(0, 1)] * 3, [rule, LinearConstraint([[1.0, 1.0, 1.0]], 1.7, 1.7)])
    starts = torch.as_tensor(region.inner[:4].copy())
    points, values = ascend_within(
        lambda x: -(x - torch.as_tensor(wanted)).square().sum(-1), starts, region
    )
    assert region.is_allowed(points.numpy()).all()
    theirs = minimize(
        lambda x: ((x - wanted) ** 2).sum(),
        np.array([0.5, 0.6, 0.6]),
        bounds=[(0, 1)] * 3,
        constraints=[
            NonlinearConstraint(lambda x: x[0] ** 2 + x[1] * x[2], -np.inf, 0.6),
            LinearConstraint(np.ones((1, 3)), 1.7, 1.7),
        ],
        method="trust-constr",
        options={"gtol": 1e-10, "maxiter": 500},
    )
    assert float(-values.max()) == pytest.approx(theirs.fun, abs=1e-5)


def test_without_constraints_the_points_are_those_of_before():
    asked = [
        run(
            TwoStepConstrainedBO([(0, 2)] * 2, known_constraints=k, random_state=0, **FAST),
            slope,
            7,
        )
        for k in (None, [])
    ]
    np.testing.assert_array_equal(*asked)
