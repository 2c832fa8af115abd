"""A point that is known exactly is paid once, and two workers never get the same one."""

import copy

import numpy as np
import pytest
from scipy.stats import binom, randint

from lookahead_sk import TwoStepConstrainedBO

SQUARE = [(0.0, 1.0), (0.0, 1.0)]


def run(space, m, function, n, **parameters):
    optimizer = TwoStepConstrainedBO(space, m, random_state=0, **parameters)
    while len(optimizer.y_) < n:
        X = optimizer.ask()
        optimizer.tell(X, function(X))
    return optimizer


def is_repeated(optimizer, distance=1e-6):
    unit = optimizer.space_.encode(optimizer.X_)
    away = np.abs(unit[:, None] - unit[None]).max(-1) + np.eye(len(unit))
    return bool((away < distance).any())


@pytest.mark.parametrize(
    ("space", "m", "function"),
    [
        ({"n": randint(0, 50)}, 1, lambda X: [[(p["n"] - 17) ** 2, 10 - p["n"]] for p in X]),
        ({"n": randint(0, 40)}, 0, lambda X: [abs(p["n"] - 39.0) for p in X]),
        (
            {"k": list("abcde"), "n": randint(0, 9)},
            0,
            lambda X: [p["n"] + 3.0 * (p["k"] != "c") for p in X],
        ),
        ({"n": randint(0, 9), "x": (0, 1)}, 0, lambda X: [p["n"] + p["x"] for p in X]),
        (SQUARE, 0, lambda X: X.sum(axis=1)),
        (SQUARE, 0, lambda X: -(X[:, 0] ** 2) - X[:, 1]),
        (SQUARE, 1, lambda X: np.stack([X[:, 0] - X[:, 1], X[:, 1] - 2], axis=1)),
    ],
)
@pytest.mark.parametrize("acquisition", ["two_step", "eic"])
def test_a_noise_free_point_is_paid_once(space, m, function, acquisition):
    assert not is_repeated(run(space, m, function, 18, acquisition=acquisition))


@pytest.mark.parametrize("seed", range(3))
def test_what_few_data_leave_unexplained_is_no_noise(seed):
    optimizer = TwoStepConstrainedBO({"n": binom(8, 0.5)}, acquisition="eic", random_state=seed)
    for _ in range(9):
        (point,) = optimizer.ask()
        optimizer.tell([point], [(point["n"] - 8.0) ** 2])
    assert sorted(p["n"] for p in optimizer.X_) == list(range(9))


def test_what_fails_is_not_tried_again():
    optimizer = run(
        {"n": randint(0, 30)}, 0, lambda X: [1e-3 * p["n"] if p["n"] > 4 else np.nan for p in X], 16
    )
    assert not is_repeated(optimizer)


def test_close_to_the_best_corner_nothing_is_left_to_pay_for():
    optimizer = run(SQUARE, 0, lambda X: X.sum(axis=1), 20)
    assert optimizer.best_y_ == 0.0
    assert (np.abs(optimizer.X_).max(axis=1) < 1e-4).sum() <= 2


def test_noisy_outputs_may_be_observed_again():
    rng = np.random.default_rng(0)
    optimizer = run({"n": randint(0, 12)}, 0, lambda X: [p["n"] + rng.normal() for p in X], 11)
    optimizer.tell([{"n": 0}, {"n": 0}], [0.5, -0.5])
    best = {"n": 0}
    again = []
    for _ in range(4):
        X = optimizer.ask()
        again += X
        optimizer.tell(X, [X[0]["n"] + rng.normal()])
    assert best in again


def test_who_repeats_and_gets_the_same_is_not_asked_to_repeat():
    optimizer = TwoStepConstrainedBO({"n": randint(0, 12)}, random_state=0)
    rng = np.random.default_rng(1)
    values = rng.normal(size=12)  # looks like noise
    known = [0, 3, 5, 8, 8]
    optimizer.tell([{"n": n} for n in known], values[known])
    for _ in range(8):
        (point,) = optimizer.ask()
        assert point["n"] not in known
        known.append(point["n"])
        optimizer.tell([point], values[[point["n"]]])


def test_a_used_up_space_says_so():
    optimizer = TwoStepConstrainedBO({"n": randint(0, 3), "k": ["a", "b"]}, random_state=0)
    for _ in range(6):
        X = optimizer.ask()
        optimizer.tell(X, [float(X[0]["n"])])
    assert not is_repeated(optimizer)
    with pytest.warns(UserWarning, match="Every point of the search space was evaluated"):
        optimizer.ask()


def test_the_last_unseen_points_of_a_finite_space_are_found():
    optimizer = TwoStepConstrainedBO({"n": randint(0, 600)}, random_state=0, acquisition="eic")
    seen = [n for n in range(600) if n % 300 != 7]
    optimizer.tell([{"n": n} for n in seen[::20]], [float(n) for n in seen[::20]])
    optimizer.add_pending([{"n": n} for n in seen if n not in seen[::20]][:60])
    assert sorted(p["n"] for p in optimizer.ask(3))[0] not in seen[::20]


def readme(X):
    a, b = np.asarray(X).T
    return np.stack([a + b, 1.5 - a - 2 * b], axis=1)


def corner(X):
    return np.stack([np.sum(X, axis=1), np.sum(X, axis=1) - 9], axis=1)


@pytest.mark.parametrize("function", [readme, corner])
@pytest.mark.parametrize("acquisition", ["two_step", "eic"])
@pytest.mark.parametrize("seed", range(2))
def test_workers_get_different_points(function, acquisition, seed):
    X = np.random.default_rng(seed).random((20, 2))
    optimizer = TwoStepConstrainedBO(SQUARE, 1, random_state=seed, acquisition=acquisition)
    optimizer.tell(X, function(X))
    together = copy.deepcopy(optimizer).ask(8)
    in_turn = np.concatenate([optimizer.ask() for _ in range(8)])
    for points in (together, in_turn):
        away = np.abs(points[:, None] - points[None]).max(-1)[np.triu_indices(8, 1)]
        assert away.min() >= 0.002


def test_workers_on_a_fine_scale_get_different_integers():
    optimizer = TwoStepConstrainedBO({"n": randint(0, 1000)}, random_state=0)
    known = np.linspace(0, 999, 12).astype(int)
    optimizer.tell([{"n": int(n)} for n in known], (known - 431.0) ** 2)
    asked = [optimizer.ask()[0]["n"] for _ in range(6)]
    assert min(abs(a - b) for i, a in enumerate(asked) for b in asked[:i]) >= 5
