r"""Unbiased gradients of the two-step value, and the pathwise one that is not.

Source: Zhang, Zhang and Frazier, NeurIPS 2021, for the likelihood ratio. The incumbent after step
one jumps where a fantasy of a constraint crosses 0, so differentiating along fixed normals misses
the flux through that boundary. With Y held fixed everything is smooth in X1,

.. math:: \nabla\alpha = E[(\Gamma - b) \nabla \log p(Y; X_1) + \nabla V|_{Y, x_2^*}]         (1)

The stratified estimator moves only the *pattern* of feasibility by its probability and the values
inside a pattern along their truncated normals, where nothing jumps:

.. math:: \nabla\alpha = E[(\Gamma - b) \nabla \log P(\text{pattern}) + \nabla \Gamma|_{u}]    (2)

and for q = 1 sums over the m + 1 strata "feasible" and "constraint i is the first one violated"
instead of sampling them:

.. math:: \alpha = EIC_0 + \sum_s P_s(x_1) E_u[V | s]                                         (3)

=========  =============  ==========================================================
symbol     shape          meaning
=========  =============  ==========================================================
X1         (S, q, d)      batches of the first step
uniform    (N, J, q)      scrambled Sobol points, common to all batches
Gamma      (N, S)         two-step improvement of a fantasy
V          (N, S)         its part of the second step
b          (N, S)         leave-one-out mean of Gamma
=========  =============  ==========================================================
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lookahead_sk.optimization._acquisition import (
    best_candidate,
    fantasies,
    first_step_log_eic,
    first_step_result,
    second_step_eic,
    unit_of,
)
from lookahead_sk.optimization._normal import log_ndtr, truncated_above, truncated_below
from lookahead_sk.optimization._posterior import (
    LookaheadUpdate,
    Moments,
    Posterior,
    lookahead_update,
)

Estimate = tuple[Tensor, Tensor]  # value (S,), gradient (S, q, d)
Loss = Callable[[LookaheadUpdate, Tensor, float | None, float], tuple[Tensor, Tensor]]


def _estimate(
    loss: Loss,
    posterior: Posterior,
    batches: Tensor,
    candidates: Moments,
    uniform: Tensor,
    incumbent: float | None,
    shift: float,
) -> Estimate:
    """Value and gradient of a surrogate loss whose gradient is that of the value."""
    x = batches.detach().requires_grad_(True)
    update = lookahead_update(posterior, x, candidates)
    value, surrogate = loss(update, uniform, incumbent, shift)  # (S,), (S,)
    (gradient,) = torch.autograd.grad(surrogate.sum(), x)
    return value.detach(), gradient


def likelihood_ratio(
    posterior: Posterior,
    batches: Tensor,
    candidates: Moments,
    uniform: Tensor,
    incumbent: float | None,
    shift: float = 0.0,
) -> Estimate:
    """Likelihood-ratio estimate of the two-step value's gradient.

    Parameters
    ----------
    posterior : Posterior
        The conditioned processes.
    batches : Tensor of shape (S, q, d)
        Points of the first step.
    candidates : Moments
        Moments at the candidates of the second step.
    uniform : Tensor of shape (N, J, q)
        Uniform deviates, common to all batches.
    incumbent : float or None
        Best feasible objective so far.
    shift : float, default=0.0
        Log of the unit of value and gradient.

    Returns
    -------
    value : Tensor of shape (S,)
        Estimate of the two-step value.
    gradient : Tensor of shape (S, q, d)
        Unbiased estimate of its gradient.
    """
    return _estimate(
        _likelihood_ratio_loss, posterior, batches, candidates, uniform, incumbent, shift
    )


def _likelihood_ratio_loss(
    update: LookaheadUpdate, uniform: Tensor, incumbent: float | None, shift: float
) -> tuple[Tensor, Tensor]:
    n_batches = update.mean.shape[0]
    normals = torch.special.ndtri(uniform).unsqueeze(1).expand(-1, n_batches, -1, -1)
    values = fantasies(update, normals).detach()
    # With the values fixed, the normals that produce them carry the dependence on X1.
    z = _whiten(update.factor, values - update.mean)
    after = first_step_result(values, incumbent)
    chosen = best_candidate(update, normals, after.incumbent)
    second = second_step_eic(update, z, chosen, after.incumbent, shift) * after.is_open
    score = _log_density(update, z, incumbent)
    if update.mean.shape[-1] == 1:
        first = torch.exp(first_step_log_eic(update, incumbent) - shift)  # exact: only V is sampled
        return first + second.mean(0), first + _score_loss(second, second, score)
    total = second + after.improvement * unit_of(shift, second)
    return total.mean(0), _score_loss(total, second, score)


def _whiten(factor: Tensor, residual: Tensor) -> Tensor:
    """R^-1 (Y - mean), (N, S, J, q)."""
    if factor.shape[-1] == 1:
        return residual / factor[..., 0]
    inverse = torch.linalg.solve_triangular(
        factor, torch.eye(factor.shape[-1]).to(factor), upper=False
    )
    return torch.einsum("sjqp,nsjp->nsjq", inverse, residual)


def _score_loss(total: Tensor, smooth: Tensor, score: Tensor) -> Tensor:
    """Surrogate of eq. (1) and (2): mean of smooth + (total - b) score, (S,)."""
    fixed = total.detach()
    n = len(fixed)
    baseline = (fixed.sum(0) - fixed) / max(n - 1, 1)  # leave one out: stays unbiased
    return (smooth + (fixed - baseline) * score).mean(0)


def _log_density(update: LookaheadUpdate, z: Tensor, incumbent: float | None) -> Tensor:
    """Log density of the fantasies up to a constant, (N, S)."""
    log_det = torch.log(torch.diagonal(update.factor, dim1=-2, dim2=-1)).sum(-1)  # (S, J)
    per_output = -0.5 * z.square().sum(-1) - log_det  # (N, S, J)
    first = 0 if incumbent is not None else 1  # feasibility does not depend on the objective
    return per_output[..., first:].sum(-1)


def pathwise(
    posterior: Posterior,
    batches: Tensor,
    candidates: Moments,
    uniform: Tensor,
    incumbent: float | None,
    shift: float = 0.0,
) -> Estimate:
    """Reparameterised estimate, *biased* where feasibility is uncertain; see `likelihood_ratio`."""
    return _estimate(_pathwise_loss, posterior, batches, candidates, uniform, incumbent, shift)


def _pathwise_loss(
    update: LookaheadUpdate, uniform: Tensor, incumbent: float | None, shift: float
) -> tuple[Tensor, Tensor]:
    z = torch.special.ndtri(uniform).unsqueeze(1).expand(-1, update.mean.shape[0], -1, -1)
    after = first_step_result(fantasies(update, z), incumbent)
    chosen = best_candidate(update, z, after.incumbent)
    second = second_step_eic(update, z, chosen, after.incumbent, shift) * after.is_open
    if update.mean.shape[-1] == 1:
        total = second.mean(0) + torch.exp(first_step_log_eic(update, incumbent) - shift)
    else:
        total = (second + after.improvement * unit_of(shift, second)).mean(0)
    return total, total


def stratified(
    posterior: Posterior,
    batches: Tensor,
    candidates: Moments,
    uniform: Tensor,
    incumbent: float | None,
    shift: float = 0.0,
) -> Estimate:
    """Stratified estimate of the two-step value's gradient; see `likelihood_ratio`.

    For q = 1 the fantasies are dealt to the m + 1 strata in turn, eq. (3), and for fixed
    ``uniform`` the value is a continuous function of X1 with this gradient. For q > 1 the pattern
    of feasibility is drawn, eq. (2).
    """
    loss = _strata_loss if batches.shape[1] == 1 else _pattern_loss
    return _estimate(loss, posterior, batches, candidates, uniform, incumbent, shift)


def _strata_loss(
    update: LookaheadUpdate, uniform: Tensor, incumbent: float | None, shift: float
) -> tuple[Tensor, Tensor]:
    mean, std = update.mean[..., 0], update.factor[..., 0, 0]  # (S, J)
    bound = (-mean / std)[:, 1:]  # (S, m)
    stratum, weight = _deal_strata(bound, len(uniform))  # (N,), (N, S)
    u = uniform[..., 0].unsqueeze(1).expand(-1, len(mean), -1)  # (N, S, J)
    constraint = torch.arange(bound.shape[1], device=bound.device)
    below = (constraint < stratum.unsqueeze(-1)).unsqueeze(1)  # (N, 1, m)
    above = (constraint == stratum.unsqueeze(-1)).unsqueeze(1)
    free = torch.special.ndtri(u)
    limited = torch.where(below, truncated_below(u[..., 1:], bound), free[..., 1:])
    limited = torch.where(above, truncated_above(u[..., 1:], bound), limited)
    z = torch.cat([free[..., :1], limited], dim=-1)  # (N, S, J)
    is_feasible = (stratum == bound.shape[1]).unsqueeze(-1)  # (N, 1), exact in spite of rounding
    first = torch.exp(first_step_log_eic(update, incumbent) - shift)
    if incumbent is None:
        best, is_open = None, ~is_feasible
    else:
        objective = (mean[:, 0] + std[:, 0] * z[..., 0]).clamp_max(incumbent)
        best = torch.where(is_feasible, objective, torch.full_like(objective, incumbent))
        is_open = torch.ones_like(is_feasible)
    chosen = best_candidate(update, z.unsqueeze(-1), best)
    second = second_step_eic(update, z.unsqueeze(-1), chosen, best, shift) * is_open
    total = first + (weight * second).sum(0)
    return total, total


def _deal_strata(bound: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Stratum of each fantasy (N,), m for "feasible", and its weight (N, S).

    Every stratum gets one fantasy and the rest follow the mean probabilities; more strata than
    fantasies leave out the least likely ones, whose weight is then missing from the value.
    """
    m = bound.shape[1]
    holds, fails = log_ndtr(bound), log_ndtr(-bound)  # (S, m)
    before = torch.cumsum(holds, dim=-1) - holds
    log_p = torch.cat([before + fails, holds.sum(-1, keepdim=True)], dim=-1)  # (S, m + 1)
    probability = torch.exp(log_p)
    share = probability.detach().mean(0)
    count = _allocate(share, n)  # (m + 1,)
    stratum = torch.repeat_interleave(torch.arange(m + 1, device=bound.device), count)
    weight = probability[:, stratum].T / count[stratum].unsqueeze(-1)
    return stratum, weight


def _allocate(share: Tensor, n: int) -> Tensor:
    """Largest-remainder allocation of n fantasies, at least one to each stratum if n allows."""
    size = len(share)
    if n < size:
        count = torch.zeros(size, dtype=torch.long, device=share.device)
        count[share.topk(n).indices] = 1
        return count
    quota = share / share.sum() * (n - size)
    count = quota.floor().long()
    left = n - size - int(count.sum())
    count[(quota - count).topk(left).indices] += 1
    return count + 1


def _pattern_loss(
    update: LookaheadUpdate, uniform: Tensor, incumbent: float | None, shift: float
) -> tuple[Tensor, Tensor]:
    n_batches = update.mean.shape[0]
    normals = torch.special.ndtri(uniform).unsqueeze(1).expand(-1, n_batches, -1, -1)
    z, log_pattern, is_feasible = _along_pattern(update, normals)
    objective = fantasies(update, z)[:, :, 0]  # (N, S, q)
    if incumbent is None:
        found = is_feasible.any(-1)
        gained, best, is_open = found.to(z.dtype), None, ~found
    else:
        masked = torch.where(is_feasible, objective, torch.full_like(objective, incumbent))
        best = masked.amin(-1).clamp_max(incumbent)
        gained, is_open = incumbent - best, torch.ones_like(best, dtype=torch.bool)
    chosen = best_candidate(update, z, best)
    second = second_step_eic(update, z, chosen, best, shift) * is_open
    total = second + gained * unit_of(shift, second)
    return total.mean(0), _score_loss(total, total, log_pattern)


def _along_pattern(update: LookaheadUpdate, normals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rewrite normals as pattern and truncated normals that move with X1.

    Returns the normals (N, S, J, q) with their derivative in X1, the log probability of the pattern
    (N, S), and which points are feasible (N, S, q). Point by point, as the GHK sampler does: the
    bound of a point depends on the normals of the points before it.
    """
    columns: list[Tensor] = []
    log_pattern = normals.new_zeros(normals.shape[:2])
    is_feasible: list[Tensor] = []
    for i in range(normals.shape[-1]):
        mean = update.mean[..., i].expand(normals.shape[:3])
        for k, column in enumerate(columns):
            mean = mean + update.factor[..., i, k] * column
        bound = (-mean / update.factor[..., i, i])[..., 1:]  # (N, S, m)
        raw = normals[..., 1:, i]
        holds = raw <= bound.detach()
        side = torch.where(holds, 1.0, -1.0).to(raw.dtype)
        # u = Phi(side raw) / Phi(side bound) is held fixed while the bound moves.
        log_mass = log_ndtr(side * bound)
        u = torch.exp((log_ndtr(side * raw) - log_mass).detach()).clamp(1e-12, 1 - 1e-12)
        moved = side * truncated_below(u, side * bound)
        columns.append(torch.cat([normals[..., :1, i], moved], dim=-1))
        log_pattern = log_pattern + log_mass.sum(-1)
        is_feasible.append(holds.all(-1))
    return torch.stack(columns, dim=-1), log_pattern, torch.stack(is_feasible, dim=-1)


ESTIMATORS: dict[str, Callable[..., Estimate]] = {
    "likelihood_ratio": likelihood_ratio,
    "stratified": stratified,
}
