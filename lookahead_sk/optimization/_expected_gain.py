r"""What one further evaluation is expected to gain, in the user's units.

The objective is Gaussian after its output transform T, so that with the posterior moments of a
point and the incumbent :math:`f^*`, all in model units,

.. math:: P(feasible) \int_{-\infty}^{b} (T^{-1}(f^*) - T^{-1}(\mu + \sigma z)) \phi(z) dz,
          \quad b = (f^* - \mu) / \sigma

======  =======  ================================================================
symbol  shape    meaning
======  =======  ================================================================
b       (P,)     the incumbent, in standard deviations from the mean of a point
z       (P, 64)  nodes of Gauss-Legendre quadrature below b
======  =======  ================================================================
"""

from __future__ import annotations

import numpy as np
import torch

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._acquisition import log_feasibility
from lookahead_sk.optimization._maximize import maximize_eic
from lookahead_sk.optimization._posterior import moments
from lookahead_sk.optimization._problem import Problem, SearchOptions
from lookahead_sk.optimization._surrogate import Surrogate
from lookahead_sk.optimization._transforms import OutputTransform

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
# What is farther from the mean than so many standard deviations has no mass left.
_FARTHEST = 10.0


def expected_improvement_in_user_units(
    mean: FloatArray, std: FloatArray, incumbent: float, transform: OutputTransform
) -> FloatArray:
    """Expected improvement of an objective that is Gaussian after a transform.

    Parameters
    ----------
    mean, std : ndarray of shape (P,)
        Posterior moments in model units; ``std > 0``.
    incumbent : float
        Best feasible objective, model units.
    transform : OutputTransform
        Map of the objective to model units.

    Returns
    -------
    ndarray of shape (P,)
        Expected improvement below the incumbent, in the user's units.
    """
    b = (incumbent - mean) / std
    top = np.minimum(b, _FARTHEST)
    # Far below the mean the density falls like exp(-|b| z): 40 of these lengths hold all of it.
    width = np.where(top > 0, top + _FARTHEST, np.minimum(_FARTHEST, 40 / np.maximum(-top, 4.0)))
    z = top[:, None] - width[:, None] * 0.5 * (1 - _NODES)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    best = transform.inverse(np.array([incumbent]))
    gain = best - transform.inverse(mean[:, None] + std[:, None] * z)
    total: FloatArray = 0.5 * width * ((np.maximum(gain, 0.0) * density) @ _WEIGHTS)
    return total


def expected_gains(surrogate: Surrogate, points: torch.Tensor, incumbent: float) -> FloatArray:
    """Constrained expected improvement at points, in the user's units.

    Parameters
    ----------
    surrogate : Surrogate
        The fitted processes.
    points : Tensor of shape (P, d)
        Points of the unit cube.
    incumbent : float
        Best feasible objective, model units.

    Returns
    -------
    ndarray of shape (P,)
        Expected improvement times the probability of being feasible and of not failing.
    """
    with torch.no_grad():
        at = moments(surrogate.posterior, points)
        std = at.variance.sqrt()
        chance = log_feasibility(at.mean[1:], std[1:]).exp().cpu().numpy()
    gain = expected_improvement_in_user_units(
        at.mean[0].cpu().numpy(), std[0].cpu().numpy(), incumbent, surrogate.transforms[0]
    )
    return np.asarray(gain * chance)


def largest_expected_gain(
    problem: Problem, surrogate: Surrogate, options: SearchOptions, seed: int
) -> float:
    """The largest expected gain among the maximisers of EIC; NaN while nothing is feasible."""
    if problem.incumbent is None:
        return float("nan")
    points, _ = maximize_eic(problem, options, seed)
    return float(expected_gains(surrogate, points, problem.incumbent).max())
