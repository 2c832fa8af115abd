"""Batched projected quasi-Newton ascent in the unit cube.

Source: Nocedal and Wright, "Numerical optimization", 2006, eq. (6.17). All starts share the
evaluations of the objective, which costs little more for many points than for one; a line search is
one batch of trial steps.

========  ==========  =========================================================
symbol    shape       meaning
========  ==========  =========================================================
x         (S, d)      one iterate per start
H         (S, d, d)   inverse Hessian of the negated objective
========  ==========  =========================================================
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_STEPS = (2.0, 1.0, 0.5, 0.2, 0.05, 0.01, 1e-3)


def ascend(
    objective: Callable[[Tensor], Tensor], start: Tensor, is_free: Tensor, max_iter: int = 40
) -> tuple[Tensor, Tensor]:
    """Projected BFGS ascent in the unit cube, all starts in one batch.

    Parameters
    ----------
    objective : callable
        (P, d) points to (P,) values, differentiable.
    start : Tensor of shape (S, d)
        Starting points.
    is_free : Tensor of shape (S, d)
        Coordinates that may move.
    max_iter : int, default=40
        Steps; a step costs one gradient and seven values a start.

    Returns
    -------
    points : Tensor of shape (S, d)
        No worse than the starts.
    values : Tensor of shape (S,)
        Their values.
    """
    x, (value, gradient) = start, _value_and_gradient(objective, start)
    n_starts, d = x.shape
    identity = torch.eye(d, dtype=x.dtype, device=x.device).expand(n_starts, d, d)
    scale = 0.1 / gradient.norm(dim=1).clamp_min(1e-12)
    inverse = scale.reshape(-1, 1, 1) * identity
    step_sizes = x.new_tensor(_STEPS)
    starts = torch.arange(n_starts, device=x.device)
    for _ in range(max_iter):
        free = is_free & ~(((x <= 0) & (gradient < 0)) | ((x >= 1) & (gradient > 0)))
        slope = gradient * free
        direction = (inverse @ slope.unsqueeze(-1)).squeeze(-1) * free
        uphill = ((direction * slope).sum(-1, keepdim=True)) > 0
        fallback = slope * (0.1 / slope.norm(dim=1, keepdim=True).clamp_min(1e-12))
        direction = torch.where(uphill, direction, fallback)
        direction = direction * (0.5 / direction.norm(dim=1, keepdim=True).clamp_min(0.5))
        trial = (x.unsqueeze(0) + step_sizes.reshape(-1, 1, 1) * direction).clamp(0, 1)
        with torch.no_grad():
            trial_value = objective(trial.reshape(-1, d)).reshape(len(_STEPS), n_starts)
        best, which = torch.nan_to_num(trial_value, nan=-torch.inf).max(0)
        moved = best > value
        if not bool(((best - value) > 1e-9 * (1 + value.abs())).any()):
            break
        new_x = torch.where(moved.unsqueeze(1), trial[which, starts], x)
        new_value, new_gradient = _value_and_gradient(objective, new_x)
        inverse = _bfgs(inverse, new_x - x, gradient - new_gradient)
        restart = (scale.reshape(-1, 1, 1) * 0.1) * identity
        inverse = torch.where(moved.reshape(-1, 1, 1), inverse, restart)
        x, value, gradient = new_x, new_value, new_gradient
    return x, value


def _value_and_gradient(objective: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    value = objective(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), torch.nan_to_num(gradient)


def _bfgs(inverse: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """BFGS update of inverse Hessians of the negated objective, skipped without curvature."""
    curvature = (step * change).sum(-1)
    usable = curvature > 1e-12 * step.norm(dim=1) * change.norm(dim=1) + 1e-300
    rho = torch.where(usable, 1 / curvature.where(usable, torch.ones_like(curvature)), 0.0)
    rho = rho.reshape(-1, 1, 1)
    outer = rho * step.unsqueeze(-1) * change.unsqueeze(-2)
    left = torch.eye(step.shape[1], dtype=step.dtype, device=step.device) - outer
    return left @ inverse @ left.transpose(-1, -2) + rho * (step.unsqueeze(-1) * step.unsqueeze(-2))
