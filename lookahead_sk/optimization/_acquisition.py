r"""Constrained expected improvement and its two-step value 2-OPT-C.

Source: Zhang, Zhang and Frazier, "Constrained two-step look-ahead Bayesian optimization",
NeurIPS 2021. With :math:`f^*_1` the incumbent after the first step,

.. math:: \alpha(X_1) = E_Y[(f^* - f^*_1(Y)) + \max_{x_2} EIC_1(x_2; X_1, Y, f^*_1)]

Improvement is that of the *latent* functions: a fantasy Y is a draw of the latent values at X1, and
the second step conditions on it without noise. Value, closed form and gradients all mean this.
While nothing is feasible (``incumbent=None``) improvement is replaced by feasibility, the limit for
a large penalty: the value is the chance of a feasible point within two steps.

=========  =============  ==========================================================
symbol     shape          meaning
=========  =============  ==========================================================
mean, std  (..., J, P)    posterior moments, objective first
f*         ()             incumbent: best feasible objective, transformed units
z          (N, S, J, q)   standard normals of the fantasies
Y          (N, S, J, q)   fantasies, mean + R z
Gamma      (N, S)         two-step improvement of a fantasy, divided by exp(shift)
=========  =============  ==========================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lookahead_sk.optimization._normal import log_h, log_ndtr
from lookahead_sk.optimization._posterior import (
    LookaheadUpdate,
    Moments,
    Posterior,
    lookahead_update,
)


def log_expected_improvement(mean: Tensor, std: Tensor, incumbent: float | Tensor) -> Tensor:
    """Log expected improvement below the incumbent, for minimisation.

    Parameters
    ----------
    mean, std : Tensor of shape (..., n)
        Posterior mean and standard deviation of the objective; ``std > 0``.
    incumbent : float or Tensor broadcastable to (..., n)
        Best feasible objective so far, same units.

    Returns
    -------
    Tensor of shape (..., n)
        ``log E[max(incumbent - f, 0)]``; finite where the expectation itself underflows.

    References
    ----------
    .. [1] Ament et al., "Unexpected improvements to expected improvement", NeurIPS 2023, eq. (9).

    Examples
    --------
    >>> mean, std = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    >>> log_expected_improvement(mean, std, incumbent=0.0).exp()
    tensor([0.3989, 0.3989], dtype=torch.float64)
    """
    return log_h((incumbent - mean) / std) + torch.log(std)


def log_feasibility(mean: Tensor, std: Tensor) -> Tensor:
    """Log probability that all constraints are ``<= 0``.

    Parameters
    ----------
    mean, std : Tensor of shape (..., m, n)
        Posterior moments of the independent constraints; ``m = 0`` gives probability 1.

    Returns
    -------
    Tensor of shape (..., n)
        ``sum_i log Phi(-mean_i / std_i)``.
    """
    return log_ndtr(-mean / std).sum(-2)


def log_eic(mean: Tensor, std: Tensor, incumbent: float | Tensor | None) -> Tensor:
    """Log constrained expected improvement, EI times probability of feasibility.

    Parameters
    ----------
    mean, std : Tensor of shape (..., J, n)
        Posterior moments, objective first.
    incumbent : float or Tensor broadcastable to (..., n), or None
        Best feasible objective so far; None while there is none, then only feasibility counts.

    Returns
    -------
    Tensor of shape (..., n)
        ``log EIC``.

    References
    ----------
    .. [1] Gardner et al., "Bayesian optimization with inequality constraints", ICML 2014, eq. (9).
    """
    feasibility = log_feasibility(mean[..., 1:, :], std[..., 1:, :])
    if incumbent is None:
        return feasibility
    improvement = log_expected_improvement(mean[..., 0, :], std[..., 0, :], incumbent)
    return improvement + feasibility


def log_eic_at(at: Moments, incumbent: float | None) -> Tensor:
    """Log constrained expected improvement at points whose moments are known, (P,)."""
    return log_eic(at.mean, at.variance.sqrt(), incumbent)


@dataclass(frozen=True)
class FirstStepResult:
    """What the first step gains in every fantasy, in the units of the objective."""

    improvement: Tensor  # (N, S), f* - f*_1; with no incumbent 1 if some point is feasible
    incumbent: Tensor | None  # (N, S), f*_1
    is_open: Tensor  # (N, S), False where the second step has nothing left to gain


def first_step_result(values: Tensor, incumbent: float | None) -> FirstStepResult:
    """Incumbent and improvement after the first step.

    Parameters
    ----------
    values : Tensor of shape (N, S, J, q)
        Fantasies of the latent outputs at X1.
    incumbent : float or None
        Best feasible objective before the step.

    Returns
    -------
    FirstStepResult
        Improvement in the units of the objective, and the new incumbent.
    """
    feasible = (values[:, :, 1:] <= 0).all(-2)  # (N, S, q)
    if incumbent is None:
        found = feasible.any(-1)
        return FirstStepResult(found.to(values.dtype), None, ~found)
    objective = torch.where(feasible, values[:, :, 0], torch.full_like(values[:, :, 0], incumbent))
    best = objective.amin(-1).clamp_max(incumbent)
    return FirstStepResult(incumbent - best, best, torch.ones_like(best, dtype=torch.bool))


def best_candidate(update: LookaheadUpdate, z: Tensor, incumbent: Tensor | None) -> Tensor:
    """Index of the best second point for every fantasy.

    Parameters
    ----------
    update : LookaheadUpdate
        The first step and what it tells about the g candidates.
    z : Tensor of shape (N, S, J, q)
        Standard normals of the fantasies.
    incumbent : Tensor of shape (N, S) or None
        Incumbent after the first step.

    Returns
    -------
    Tensor of shape (N, S)
        Argmax over the candidates of the constrained expected improvement of the second step.
    """
    with torch.no_grad():
        mean = update.mean_z + torch.einsum("nsjq,sjqg->nsjg", z, update.gain)
        limit = None if incumbent is None else incumbent.unsqueeze(-1)
        return log_eic(mean, update.variance.sqrt().expand_as(mean), limit).argmax(-1)


def second_step_eic(
    update: LookaheadUpdate, z: Tensor, chosen: Tensor, incumbent: Tensor | None, shift: float
) -> Tensor:
    """Constrained expected improvement of the chosen second points.

    Parameters
    ----------
    update : LookaheadUpdate
        The first step and what it tells about the g candidates.
    z : Tensor of shape (N, S, J, q)
        Standard normals of the fantasies.
    chosen : Tensor of shape (N, S)
        Candidate of every fantasy, held fixed (envelope theorem).
    incumbent : Tensor of shape (N, S) or None
        Incumbent after the first step.
    shift : float
        Log of the unit of the result.

    Returns
    -------
    Tensor of shape (N, S)
        ``EIC_1 / exp(shift)``, differentiable in X1 through ``update`` and ``z``.
    """
    batch = torch.arange(chosen.shape[1], device=chosen.device)
    gain = update.gain.permute(0, 3, 1, 2)[batch, chosen]  # (N, S, J, q)
    mean = update.mean_z.T[chosen] + (gain * z).sum(-1)  # (N, S, J)
    std = update.variance.transpose(-1, -2)[batch, chosen].sqrt()
    limit = None if incumbent is None else incumbent.unsqueeze(-1)
    return torch.exp(log_eic(mean.unsqueeze(-1), std.unsqueeze(-1), limit).squeeze(-1) - shift)


def two_step_samples(
    posterior: Posterior,
    batches: Tensor,
    candidates: Moments,
    normals: Tensor,
    incumbent: float | None,
    shift: float = 0.0,
) -> Tensor:
    """Two-step improvement of every fantasy and batch, on common random numbers.

    Parameters
    ----------
    posterior : Posterior
        The conditioned processes.
    batches : Tensor of shape (S, q, d)
        Points of the first step.
    candidates : Moments
        Moments at the candidates of the second step.
    normals : Tensor of shape (N, J, q)
        Standard normals, common to all batches.
    incumbent : float or None
        Best feasible objective so far.
    shift : float, default=0.0
        Log of the unit of the result.

    Returns
    -------
    Tensor of shape (N, S)
        Gamma; its mean over fantasies is the two-step value. For q = 1 the first step is in closed
        form, so that only the second step varies between fantasies.
    """
    with torch.no_grad():
        update = lookahead_update(posterior, batches, candidates)
        z = normals.unsqueeze(1).expand(-1, len(batches), -1, -1)
        values = fantasies(update, z)
        after = first_step_result(values, incumbent)
        chosen = best_candidate(update, z, after.incumbent)
        second = second_step_eic(update, z, chosen, after.incumbent, shift) * after.is_open
        if batches.shape[1] == 1:
            return second + torch.exp(first_step_log_eic(update, incumbent) - shift)
        return second + after.improvement * unit_of(shift, second)


def unit_of(shift: float, like: Tensor) -> Tensor:
    """exp(-shift), infinite where it overflows."""
    return torch.exp(torch.as_tensor(-shift, dtype=like.dtype, device=like.device))


def fantasies(update: LookaheadUpdate, z: Tensor) -> Tensor:
    """Latent outputs at X1 for standard normals, both (N, S, J, q)."""
    return update.mean + torch.einsum("sjqp,nsjp->nsjq", update.factor, z)


def first_step_log_eic(update: LookaheadUpdate, incumbent: float | None) -> Tensor:
    """Log constrained expected improvement of single points, q = 1, (S,)."""
    return log_eic(update.mean, update.factor.squeeze(-1), incumbent).squeeze(-1)
