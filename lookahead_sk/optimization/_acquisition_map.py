"""Values and gradients of the acquisition at given points, for looking at it."""

from __future__ import annotations

import torch

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._gradient import ESTIMATORS
from lookahead_sk.optimization._maximize import maximize_eic, mean_value, second_step_candidates
from lookahead_sk.optimization._normal import sobol_uniform
from lookahead_sk.optimization._posterior import Moments
from lookahead_sk.optimization._problem import Problem, SearchOptions

_N_FANTASIES = 512


def eic_value(problem: Problem, unit: FloatArray) -> FloatArray:
    """EIC of unit points (n, d), (n,)."""
    points = torch.as_tensor(unit).to(problem.posterior.x)
    return torch.exp(problem.log_eic(points)).cpu().numpy()


def eic_gradient(problem: Problem, unit: FloatArray) -> FloatArray:
    """Gradient of EIC in the unit cube, (n, d)."""
    points = torch.as_tensor(unit).to(problem.posterior.x).requires_grad_(True)
    (gradient,) = torch.autograd.grad(torch.exp(problem.log_eic(points)).sum(), points)
    return gradient.cpu().numpy()


def two_step_value(
    problem: Problem, unit: FloatArray, options: SearchOptions, seed: int
) -> FloatArray:
    """Two-step value of unit points (n, d), (n,)."""
    batches = torch.as_tensor(unit).to(problem.posterior.x).unsqueeze(1)
    candidates = _candidates(problem, options, seed)
    return mean_value(problem, candidates, batches, _N_FANTASIES, seed, 0.0).cpu().numpy()


def two_step_gradient(
    problem: Problem, unit: FloatArray, options: SearchOptions, seed: int
) -> FloatArray:
    """Estimate of the two-step value's gradient in the unit cube, (n, d)."""
    batches = torch.as_tensor(unit).to(problem.posterior.x).unsqueeze(1)
    candidates = _candidates(problem, options, seed)
    uniform = sobol_uniform(_N_FANTASIES, len(candidates.mean), seed)
    _, gradient = ESTIMATORS[options.estimator](
        problem.posterior, batches, candidates, uniform.unsqueeze(-1).to(batches), problem.incumbent
    )
    return gradient[:, 0].cpu().numpy()


def _candidates(problem: Problem, options: SearchOptions, seed: int) -> Moments:
    optima, _ = maximize_eic(problem, options, seed)
    return second_step_candidates(problem, optima, options, seed)
