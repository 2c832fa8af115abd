"""Hard data: always a suggestion inside the bounds, and no warning (warnings are errors here)."""

import math

import numpy as np
import pytest
from sklearn.gaussian_process import kernels as sk

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization import _optimizer
from lookahead_sk.optimization._surrogate import one_thread
from lookahead_sk.optimization._transforms import fit_transform

BOX = np.array([(-2.0, 2.0), (0.0, 5.0)])
FAST = {"n_fantasies": 8, "n_restarts": 2, "max_iter": 2}


def points(n, seed=0):
    return np.random.default_rng(seed).uniform(*BOX.T, (n, 2))


def outputs(X):
    a, b = X.T
    return np.stack([a**2 + b, 1.0 - b + 0.2 * a], axis=1)


def duplicated(n):
    return np.repeat(points(n), 4, axis=0)


def line(n):
    return np.stack([np.linspace(0, 1e-9, n), np.full(n, 2.0)], axis=1)


HARD = {
    "n=1": (points(1), outputs),
    "n=2": (points(2), outputs),
    "n=2, the same": (np.repeat(points(1), 2, axis=0), outputs),
    "duplicated points": (duplicated(3), outputs),
    "duplicated points, other values": (
        duplicated(3),
        lambda X: outputs(X) + np.random.default_rng(1).normal(size=(len(X), 2)),
    ),
    "nearly the same points": (points(1) + 1e-10 * np.arange(10)[:, None], outputs),
    "a line of tiny steps": (line(12), outputs),
    "corners only": (np.array([(a, b) for a in BOX[0] for b in BOX[1]]), outputs),
    "all infeasible": (points(8), lambda X: np.abs(outputs(X)) + [0, 1.0]),
    "all feasible": (points(8), lambda X: -np.abs(outputs(X))),
    "all on the border": (points(8), lambda X: outputs(X) * [1, 0]),
    "constant outputs": (points(8), lambda X: np.tile([3.0, -1.0], (len(X), 1))),
    "constant, infeasible": (points(8), lambda X: np.tile([3.0, 1.0], (len(X), 1))),
    "constant, large": (points(8), lambda X: np.tile([1e12, -1e12], (len(X), 1))),
    "all zero": (points(8), lambda X: np.zeros((len(X), 2))),
    "all but one failed": (
        points(8),
        lambda X: np.where(np.arange(len(X))[:, None] == 3, outputs(X), math.nan),
    ),
    "zero but for the smallest number": (
        points(8),
        lambda X: np.where(np.arange(len(X))[:, None] == 3, 5e-324, 0.0 * outputs(X)),
    ),
    "zero but for the smallest number in one output": (
        points(8),
        lambda X: np.where(np.arange(len(X))[:, None] == 3, [0.0, 5e-324], 0.0 * outputs(X)),
    ),
    "one is far beyond": (
        points(8),
        lambda X: outputs(X) * np.where(np.arange(len(X)) == 2, 1e12, 1)[:, None],
    ),
    "steps": (points(12), lambda X: np.sign(outputs(X))),
    "1e-12": (points(8), lambda X: 1e-12 * outputs(X)),
    "1e-300": (points(8), lambda X: 1e-300 * outputs(X)),
    "1e12": (points(8), lambda X: 1e12 * outputs(X)),
    "1e149": (points(8), lambda X: 1e149 * outputs(X) / 10),
    "1e-12 and 1e12": (points(8), lambda X: outputs(X) * [1e-12, 1e12]),
    "1e12 beside a little": (points(8), lambda X: outputs(X) + 1e12),
}


@pytest.mark.parametrize("acquisition", ["eic", "two_step"])
@pytest.mark.parametrize("name", HARD)
def test_hard_data_give_a_suggestion_inside_the_bounds(name, acquisition):
    X, function = HARD[name]
    optimizer = TwoStepConstrainedBO(
        BOX, 1, acquisition=acquisition, random_state=0, n_initial=1, **FAST
    )
    optimizer.tell(X, function(X))
    for q in (1, 3):
        asked = optimizer.ask(q)
        assert asked.shape == (q, 2)
        assert ((asked >= BOX[:, 0]) & (asked <= BOX[:, 1])).all()
    for answer in (
        *optimizer.predict(points(4, seed=5), return_std=True),
        optimizer.acquisition_value(asked),
    ):
        assert np.isfinite(answer).all()
    optimizer.tell(asked, outputs(asked))
    assert np.isfinite(optimizer.ask()).all()


KERNELS = [
    sk.RBF(1e3, "fixed"),
    sk.RBF([1e-5, 1e5], "fixed"),
    sk.ConstantKernel(1e-12, "fixed") * sk.RBF(10.0, "fixed"),
    sk.ConstantKernel(1e12, "fixed") * sk.RBF(10.0, "fixed"),
    sk.Matern(50.0, "fixed", nu=2.5) + sk.WhiteKernel(1e-14, "fixed"),
    sk.RationalQuadratic(30.0, 1e-3, "fixed", "fixed"),
    sk.RBF(1.0) + sk.RBF(1.0),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_ill_conditioned_kernels_give_a_suggestion_inside_the_bounds(kernel):
    X = np.concatenate([points(6), points(6) + 1e-9, line(6)])
    optimizer = TwoStepConstrainedBO(BOX, 1, kernel=kernel, random_state=0, n_initial=1, **FAST)
    optimizer.tell(X, outputs(X))
    asked = optimizer.ask(2)
    assert ((asked >= BOX[:, 0]) & (asked <= BOX[:, 1])).all()
    assert np.isfinite(optimizer.predict(asked)).all()


@pytest.mark.parametrize("scale", [1e-200, 1e-15, 1e-12, 1e-6, 1e6, 1e12, 1e100])
@pytest.mark.parametrize("column", [0, 1])
def test_the_unit_of_an_output_does_not_change_what_is_asked(scale, column):
    X = points(9)
    unit = np.ones(2)
    unit[column] = scale
    asked = []
    for factor in (np.ones(2), unit):
        optimizer = TwoStepConstrainedBO(
            BOX, 1, acquisition="eic", random_state=0, n_initial=1, **FAST
        )
        optimizer.tell(X, outputs(X) * factor)
        asked.append(optimizer.ask())
    np.testing.assert_allclose(asked[1], asked[0], atol=0.02)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_a_variable_does_not_change_what_is_asked(scale):
    X = points(9)
    asked = []
    for factor in (1.0, scale):
        optimizer = TwoStepConstrainedBO(
            BOX * factor, 1, acquisition="eic", random_state=0, n_initial=1, **FAST
        )
        optimizer.tell(X * factor, outputs(X))
        asked.append(optimizer.ask() / factor)
    np.testing.assert_allclose(asked[1], asked[0], atol=0.02)


@pytest.mark.parametrize("kind", ["none", "bilog", "log_tail", "copula"])
@pytest.mark.parametrize("scale", [1e-250, 1e-13, 1.0, 1e140])
def test_transforms_of_any_scale_can_be_taken_back(kind, scale):
    values = scale * np.array([-3.0, -1.0, 0.5, 2.0, 40.0])
    transform = fit_transform(values, kind, is_constraint=False)
    forward = transform.forward(values)
    assert np.ptp(forward) > 1
    np.testing.assert_allclose(transform.inverse(forward), values, rtol=1e-9)


@pytest.mark.parametrize("kind", ["none", "bilog", "log_tail", "copula"])
@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 1e-292])
@pytest.mark.parametrize("is_constraint", [False, True])
def test_values_too_small_to_have_a_scale_are_equal(kind, tiny, is_constraint):
    values = np.array([0.0, tiny, -tiny, 0.0, 2 * tiny])
    transform = fit_transform(values, kind, is_constraint=is_constraint)
    for found in (transform.forward(values), transform.slope(values), transform.offset):
        assert np.isfinite(found).all()
    np.testing.assert_allclose(transform.inverse(transform.forward(values)), 0.0, atol=1e-290)


def test_outputs_whose_squares_overflow_are_refused():
    optimizer = TwoStepConstrainedBO(BOX, 1, random_state=0)
    with pytest.raises(ValueError, match=r"y must be no larger than 1e\+150.*row of NaN"):
        optimizer.tell(points(1), [[-1e151, 0.0]])
    assert not hasattr(optimizer, "space_")


def test_an_ask_that_fails_has_not_happened(monkeypatch, tmp_path):
    optimizer = TwoStepConstrainedBO(BOX, 1, random_state=0, n_initial=2, **FAST)
    X = points(5)
    optimizer.tell(X, outputs(X))
    optimizer.ask()
    optimizer.save(tmp_path / "before.json")
    twin = TwoStepConstrainedBO.load(tmp_path / "before.json")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_optimizer, "search_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer.ask()
    monkeypatch.undo()
    optimizer.save(tmp_path / "after.json")
    assert (tmp_path / "after.json").read_text() == (tmp_path / "before.json").read_text()
    np.testing.assert_array_equal(optimizer.ask(), twin.ask())


def test_numbers_of_numpy_can_be_parameters_of_a_saved_optimizer(tmp_path):
    optimizer = TwoStepConstrainedBO(
        BOX, np.int64(1), batch_size=np.int32(2), random_state=np.int64(3)
    )
    X = optimizer.ask()
    optimizer.save(tmp_path / "run.json")
    loaded = TwoStepConstrainedBO.load(tmp_path / "run.json")
    assert (loaded.n_constraints, loaded.batch_size, loaded.random_state) == (1, 2, 3)
    np.testing.assert_array_equal(loaded.pending_, X)


def test_one_thread_is_enough_until_the_last_caller_is_out():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread:
            with one_thread:
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n", [299, 300, 301])
def test_no_number_of_data_changes_the_number_of_threads(n, monkeypatch):
    import torch

    from lookahead_sk.optimization import _optimizer

    seen = []

    def search(problem, *args, **kwargs):
        seen.append(torch.get_num_threads())
        return np.full((1, 1), 0.5), False, None

    monkeypatch.setattr(_optimizer, "search_batch", search)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = np.linspace(0, 1, n)[:, None]
        optimizer = TwoStepConstrainedBO([(0, 1)], random_state=0).tell(x, x[:, 0] ** 2)
        optimizer.ask()
    finally:
        torch.set_num_threads(before)
    assert seen == [1]
