r"""Exact Gaussian-process moments, and what a batch of evaluations will do to them.

Source: Rasmussen and Williams 2006, algorithm 2.1; the update by a batch is the block inverse. All
fantasies share it: the variance after a batch does not depend on the values observed there.

==========  =============  =========================================================
symbol      shape          meaning
==========  =============  =========================================================
J = 1 + m                  outputs, objective first; constraints feasible at <= 0
x           (n, d)         data points; ``mask`` (J, n) is 0 where an output is missing
L           (J, n, n)      Cholesky factor of K + noise
P           --             any number of points; moments are (J, P)
X1          (S, q, d)      S batches of the first step, q points each
Z           (g, d)         candidates of the second step
R           (S, J, q, q)   Cholesky factor of the posterior covariance at X1
A           (S, J, q, g)   R^-1 cov(X1, Z): one standard normal moves the mean at Z by A
==========  =============  =========================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lookahead_sk.optimization._kernels import Kernel

# Smallest posterior variance, relative to the prior's: what is left of it is rounding.
_VARIANCE_FLOOR = 1e-14
# On the diagonal of a covariance, relative to the variance; more where rounding asks for it.
JITTER = 1e-13
MORE_JITTER = (1e-11, 1e-9, 1e-7, 1e-5, 1e-3)


@dataclass(frozen=True)
class Posterior:
    """Independent Gaussian processes conditioned on data."""

    kernel: Kernel
    x: Tensor  # (n, d)
    mask: Tensor  # (J, n)
    chol: Tensor  # (J, n, n)
    weights: Tensor  # (J, n)
    offset: Tensor  # (J,)


@dataclass(frozen=True)
class Moments:
    """Posterior mean and variance at points, with the half-solved cross-covariance."""

    x: Tensor  # (P, d)
    mean: Tensor  # (J, P)
    variance: Tensor  # (J, P)
    half: Tensor  # (J, n, P), L^-1 K(x, P)


@dataclass(frozen=True)
class LookaheadUpdate:
    """What an evaluation of X1 tells about X1 and about Z, before its outcome is known."""

    mean: Tensor  # (S, J, q)
    factor: Tensor  # (S, J, q, q)
    gain: Tensor  # (S, J, q, g)
    variance: Tensor  # (S, J, g), at Z after the step
    mean_z: Tensor  # (J, g), at Z before the step


def condition(
    kernel: Kernel, x: Tensor, y: Tensor, noise: Tensor, offset: Tensor, mask: Tensor | None = None
) -> Posterior:
    """Condition the prior on data.

    Parameters
    ----------
    kernel : Kernel
        Covariance of the latent functions.
    x : Tensor of shape (n, d)
        Data points.
    y : Tensor of shape (J, n)
        Observed outputs; ignored where the mask is 0.
    noise : Tensor of shape (J,)
        Variance of the observation noise, jitter included.
    offset : Tensor of shape (J,)
        Constant prior mean.
    mask : Tensor of shape (J, n), optional
        1 where an output was observed, 0 where it is missing.

    Returns
    -------
    Posterior
        The conditioned processes; cost O(J n^3).
    """
    mask = torch.ones_like(y) if mask is None else mask
    # A missing row becomes an independent unit variable: exactly the posterior without it.
    seen = mask.unsqueeze(-1) * mask.unsqueeze(-2)
    covariance = kernel(x, x) * seen
    diagonal = noise.unsqueeze(-1) * mask + (1 - mask)
    chol = torch.linalg.cholesky(covariance + torch.diag_embed(diagonal))
    residual = torch.where(mask > 0, y - offset.unsqueeze(-1), torch.zeros_like(y))
    weights = torch.cholesky_solve(residual.unsqueeze(-1), chol).squeeze(-1)
    return Posterior(kernel, x, mask, chol, weights, offset)


def condition_safely(
    kernel: Kernel, x: Tensor, y: Tensor, noise: Tensor, offset: Tensor, mask: Tensor
) -> Posterior:
    """Condition with the smallest jitter that keeps the Cholesky factor; see `condition`."""
    prior = kernel.diag(x).mean(-1)
    for jitter in (JITTER, *MORE_JITTER[:-1]):
        try:
            return condition(kernel, x, y, noise + jitter * prior, offset, mask)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            continue
    return condition(kernel, x, y, noise + MORE_JITTER[-1] * prior, offset, mask)


def moments(posterior: Posterior, points: Tensor) -> Moments:
    """Posterior mean and variance of the latent functions.

    Parameters
    ----------
    posterior : Posterior
        The conditioned processes.
    points : Tensor of shape (P, d)
        Where.

    Returns
    -------
    Moments
        Differentiable in ``points``; cost O(J n^2 P).
    """
    cross = posterior.kernel(posterior.x, points) * posterior.mask.unsqueeze(-1)  # (J, n, P)
    half = torch.linalg.solve_triangular(posterior.chol, cross, upper=False)
    mean = (posterior.weights.unsqueeze(-1) * cross).sum(-2) + posterior.offset.unsqueeze(-1)
    prior = posterior.kernel.diag(points)
    variance = prior - half.square().sum(-2)
    return Moments(points, mean, torch.maximum(variance, _VARIANCE_FLOOR * prior), half)


def lookahead_update(posterior: Posterior, batches: Tensor, candidates: Moments) -> LookaheadUpdate:
    """Rank-q conditioning on batches whose outcome is not known yet.

    Parameters
    ----------
    posterior : Posterior
        The conditioned processes.
    batches : Tensor of shape (S, q, d)
        Points of the first step, X1.
    candidates : Moments
        Moments at the candidates Z of the second step, computed once for all batches.

    Returns
    -------
    LookaheadUpdate
        Differentiable in ``batches``; cost O(J S q n (n + g)), whatever the number of fantasies.
    """
    n_batches, q, _ = batches.shape
    here = moments(posterior, batches.reshape(n_batches * q, -1))
    half = _by_batch(here.half, n_batches, q)  # (S, J, n, q)
    covariance = posterior.kernel(batches, batches) - half.transpose(-1, -2) @ half
    factor = _factor(covariance, posterior.kernel.diag(batches))
    prior = posterior.kernel(here.x, candidates.x) - here.half.transpose(-1, -2) @ candidates.half
    cross = _by_batch(prior.transpose(-1, -2), n_batches, q).transpose(-1, -2)  # (S, J, q, g)
    gain = torch.linalg.solve_triangular(factor, cross, upper=False)
    floor = _VARIANCE_FLOOR * posterior.kernel.diag(candidates.x)
    variance = torch.maximum(candidates.variance - gain.square().sum(-2), floor)
    mean = _by_batch(here.mean.unsqueeze(-2), n_batches, q).squeeze(-2)
    return LookaheadUpdate(mean, factor, gain, variance, candidates.mean)


def _by_batch(values: Tensor, n_batches: int, q: int) -> Tensor:
    """(J, a, S q) to (S, J, a, q)."""
    outputs, rows, _ = values.shape
    return values.reshape(outputs, rows, n_batches, q).permute(2, 0, 1, 3)


def _factor(covariance: Tensor, prior: Tensor) -> Tensor:
    """Cholesky factor of the covariance at X1, floored so that data points stay usable."""
    if covariance.shape[-1] == 1:
        floor = _VARIANCE_FLOOR * prior.unsqueeze(-1)
        return torch.sqrt(torch.maximum(covariance, floor))
    # Duplicated points in a batch make the matrix singular: 1e-8 of the prior is below any use.
    factor, failed = torch.linalg.cholesky_ex(covariance + torch.diag_embed(1e-8 * prior))
    if not failed.any():
        return factor
    # Rounding has made it indefinite: a kernel with tiny length-scales. The nearest that is not.
    with torch.no_grad():
        values, axes = torch.linalg.eigh(covariance)
        nearest = (axes * values.clamp_min(0.0).unsqueeze(-2)) @ axes.transpose(-1, -2)
    shift = (nearest - covariance).detach()
    return torch.linalg.cholesky(covariance + shift + torch.diag_embed(1e-6 * prior))
