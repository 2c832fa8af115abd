"""The benchmark's problems: formulas against BoTorch's, and every known optimum."""

import importlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def problems():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("_problems").PROBLEMS
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


FORMULAS = [
    *("gardner1", "gardner1_active", "gardner2", "gramacy", "townsend", "spring"),
    *("welded_beam", "hartmann6", "speed_reducer", "keane10"),
]


@pytest.mark.parametrize("name", FORMULAS)
def test_the_known_optimum_is_feasible_and_no_local_search_beats_it(problems, name):
    problem = problems[name]
    low, high = problem.bounds.T
    sample = np.random.default_rng(0).uniform(low, high, (400, problem.n_features))
    scale = np.abs(problem.evaluate(sample)).mean(axis=0)
    stored = problem.evaluate(problem.x_best[None])[0] / scale
    assert (stored[1:] <= 1e-4).all()
    assert abs(stored[0] - problem.f_best / scale[0]) < 1e-4

    def outputs(unit):
        return problem.evaluate((low + np.clip(unit, 0, 1) * (high - low))[None])[0] / scale

    for start in [problem.x_best, *sample[:6]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SLSQP steps outside the bounds by rounding
            found = minimize(
                lambda u: outputs(u)[0],
                (start - low) / (high - low),
                method="SLSQP",
                bounds=[(0, 1)] * problem.n_features,
                constraints=[{"type": "ineq", "fun": lambda u: -outputs(u)[1:]}],
            )
        y = outputs(found.x)
        if (y[1:] <= 1e-9).all():
            assert y[0] * scale[0] >= problem.f_best - 1e-5 * max(1, abs(problem.f_best))


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("gramacy", "ConstrainedGramacy"),
        ("spring", "TensionCompressionString"),
        ("speed_reducer", "SpeedReducer"),
        ("hartmann6", "ConstrainedHartmann"),
        ("keane10", "KeaneBumpFunction"),
    ],
)
def test_the_formulas_agree_with_botorch(problems, name, peer):
    functions = pytest.importorskip("botorch.test_functions.synthetic")
    problem = problems[name]
    dims = {"hartmann6": {"dim": 6}, "keane10": {"dim": 10}}.get(name, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(functions, peer)(**dims)
    low, high = problem.bounds.T
    x = np.random.default_rng(1).uniform(low, high, (50, problem.n_features))
    points = torch.tensor(x)
    expected = np.column_stack(
        [theirs._evaluate_true(points), -theirs.evaluate_slack(points).numpy()]
    )
    np.testing.assert_allclose(problem.evaluate(x), expected, rtol=1e-6, atol=1e-8)


def test_the_pipe_network_is_feasible_at_its_best_known_design(problems):
    pytest.importorskip("wntr")
    problem = problems["pipes"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = problem.evaluate(np.stack([problem.x_best, np.full(6, 24.0), np.full(6, 4.0)]))
    assert (y[0, 1:] <= 1e-2).all()
    assert y[0, 0] == pytest.approx(problem.f_best, abs=1e-3)
    assert (y[1, 1:] <= 0).all()
    assert (y[2, 1:] > 0).any()
    assert y[2, 0] < y[0, 0] < y[1, 0]


def test_a_gap_waits_for_the_first_feasible_point(problems):
    problem = problems["gramacy"]
    y = np.array([[0.1, 1.0, 0.0], [1.0, 0.0, 0.0], [1.2, -1.0, -1.0]])
    worst = problem.f_worst - problem.f_best
    np.testing.assert_allclose(problem.gaps(y), [worst, 1 - problem.f_best, 1 - problem.f_best])
