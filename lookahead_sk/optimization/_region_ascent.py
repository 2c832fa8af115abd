"""Ascent inside a region: sequential quadratic programming from each start.

It keeps known constraints as scipy's SLSQP does, follows their boundary, and is pulled back onto
the region where it ends outside of it by rounding or by curvature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._region import Region

_MAX_ITER, _FTOL = 40, 1e-9


def ascend_within(
    objective: Callable[[Tensor], Tensor], starts: Tensor, region: Region
) -> tuple[Tensor, Tensor]:
    """Local maximisers inside a region.

    Parameters
    ----------
    objective : callable
        (P, d) points to (P,) values, differentiable.
    starts : Tensor of shape (S, d)
        Starting points, in the region.
    region : Region
        Where points may be.

    Returns
    -------
    points : Tensor of shape (S, d)
        In the region, no worse than the starts.
    values : Tensor of shape (S,)
        Their values.
    """
    with torch.no_grad():
        before = objective(starts)
    begin = starts.cpu().numpy()
    ends = np.stack([_ascended(objective, start, region, starts) for start in begin])
    points = torch.as_tensor(region.pulled_back(ends, begin)).to(starts)
    with torch.no_grad():
        values = objective(points)
    is_better = values > before
    return torch.where(is_better.unsqueeze(1), points, starts), torch.maximum(values, before)


def _ascended(
    objective: Callable[[Tensor], Tensor], start: FloatArray, region: Region, like: Tensor
) -> FloatArray:
    """Where the ascent from one start ends, perhaps a little outside of the region, (d,)."""
    free = region.is_free(start)
    if not free.any():
        return start

    def value_and_slope(z: FloatArray) -> tuple[float, FloatArray]:
        point = start.copy()
        point[free] = z
        x = torch.as_tensor(point).to(like).requires_grad_(True)
        value = objective(x.unsqueeze(0))[0]
        (slope,) = torch.autograd.grad(value, x)
        return float(value.detach()), np.nan_to_num(slope.cpu().numpy()[free])

    scale = max(float(np.linalg.norm(value_and_slope(start[free])[1])), 1e-12)

    def negated(z: FloatArray) -> tuple[float, FloatArray]:
        value, slope = value_and_slope(z)
        return -value / scale, -slope / scale

    result = minimize(
        negated,
        start[free],
        jac=True,
        bounds=[(0.0, 1.0)] * int(free.sum()),
        constraints=region.solver_constraints(start),
        method="SLSQP",
        options={"maxiter": _MAX_ITER, "ftol": _FTOL},
    )
    end = start.copy()
    end[free] = np.clip(np.nan_to_num(result.x, nan=0.5), 0.0, 1.0)
    return end
