"""What a search maximises, what it may spend, and what pending points change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lookahead_sk.optimization._acquisition import log_eic
from lookahead_sk.optimization._posterior import Posterior, condition, moments
from lookahead_sk.optimization._run_state import RunState
from lookahead_sk.optimization._surrogate import Surrogate

_N_ANCHORS = 4
_SAME = 1e-6  # distance in the unit cube below which two points are the same


@dataclass(frozen=True)
class SearchOptions:
    """What a search for the next batch may spend, and what its result must keep.

    Parameters
    ----------
    estimator : {"stratified", "likelihood_ratio"}, default="stratified"
        Estimator of the two-step value's gradient.
    n_fantasies : int, default=32
        Fantasies a step of the two-step ascent.
    n_restarts : int, default=6
        Starts of the ascents.
    max_iter : int, default=15
        Steps of the two-step ascent.
    n_screen : int, default=1024
        Points at which EIC is screened.
    n_candidates : int, default=192
        Candidates of the second step, besides EIC's maximisers.
    max_fantasies : int, default=2048
        Largest number of fantasies of the final comparison.
    significance : float, default=2.0
        Standard errors by which a plan must be better than EIC's batch.
    min_gain : float, default=1e-3
        Gain of a plan, relative to EIC, that is worth more fantasies.
    plan_min_eic_share : float, default=0.5
        Share of EIC's maximum that one point of a plan's first step must keep.
    exploit_std_factor : float, default=0.1
        Factor of the standard deviations in EIC in the exploit step, the second step of a plan; 1
        is EIC itself.
    exploit_min_eic_share : float, default=0.5
        Share of EIC's maximum that the point of the exploit step must keep.
    """

    estimator: str = "stratified"
    n_fantasies: int = 32
    n_restarts: int = 6
    max_iter: int = 15
    n_screen: int = 1024
    n_candidates: int = 192
    max_fantasies: int = 2048
    significance: float = 2.0
    min_gain: float = 1e-3
    plan_min_eic_share: float = 0.5
    exploit_std_factor: float = 0.1
    exploit_min_eic_share: float = 0.5


@dataclass(frozen=True)
class Problem:
    """What is maximised: a posterior, its incumbent, and which points are legal."""

    posterior: Posterior
    incumbent: float | None
    anchor: Tensor  # (a, d), best data points: where local candidates are drawn
    snap: Callable[[Tensor], Tensor]
    is_free: Tensor  # (d,), coordinates that may move continuously
    excluded: Tensor | None = None  # (p, d), pending points, and others not to be asked for again
    std_factor: float = 1.0  # factor of the standard deviations in EIC

    def log_eic(self, points: Tensor) -> Tensor:
        """Log constrained expected improvement of points (P, d), (P,)."""
        at = moments(self.posterior, points)
        # Without a feasible point only feasibility counts: there is nothing to exploit.
        factor = 1.0 if self.incumbent is None else self.std_factor
        return log_eic(at.mean, factor * at.variance.sqrt(), self.incumbent)

    def is_excluded(self, points: Tensor) -> Tensor:
        """Which points (.., d) are excluded, (..)."""
        if self.excluded is None:
            return torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
        return (torch.cdist(points, self.excluded, p=math.inf) < _SAME).any(-1)

    def allowed(self, points: Tensor) -> Tensor:
        """The points that are not excluded; all, where a finite space has no others."""
        is_allowed = ~self.is_excluded(points)
        return points[is_allowed] if is_allowed.any() else points

    def excluding(self, points: Tensor) -> Problem:
        """The same problem without some points (p, d)."""
        excluded = points if self.excluded is None else torch.cat([self.excluded, points])
        return replace(self, excluded=excluded)


def make_problem(state: RunState, surrogate: Surrogate) -> Problem:
    """The problem of a run whose surrogate is fitted, pending points left aside."""
    order = np.where(state.is_feasible, state.outputs[:, 0], np.inf).argsort(kind="stable")
    best = order[: min(_N_ANCHORS, max(1, int(state.is_feasible.sum())))]

    def snap(points: Tensor) -> Tensor:
        legal = state.space.snap(points.detach().cpu().numpy())
        return torch.as_tensor(legal).to(points)

    x = surrogate.posterior.x
    is_free = torch.as_tensor(state.space.is_continuous).to(x.device)
    anchor = torch.as_tensor(state.unit[best]).to(x)
    return Problem(surrogate.posterior, surrogate.incumbent, anchor, snap, is_free)


def condition_on_pending(problem: Problem, points: Tensor) -> Problem:
    """Condition on pending points as if their outcomes were their posterior means.

    A pending point whose mean is feasible also lowers the incumbent. Where nothing promises to be
    better than that, the pending point itself remains the best: it is excluded.
    """
    posterior = problem.posterior
    with torch.no_grad():
        values = moments(posterior, points).mean
    x = torch.cat([posterior.x, points])
    seen = posterior.chol @ posterior.chol.transpose(-1, -2)
    noise = torch.diagonal(seen, dim1=-2, dim2=-1) - posterior.kernel.diag(posterior.x)
    jitter = torch.where(posterior.mask > 0, noise, torch.ones_like(noise)).amin(-1)
    data = (seen @ posterior.weights.unsqueeze(-1)).squeeze(-1) + posterior.offset.unsqueeze(-1)
    mask = torch.cat([posterior.mask, torch.ones_like(values)], dim=1)
    conditioned = condition(
        posterior.kernel,
        x,
        torch.cat([data, values], dim=1),
        jitter.clamp_min(1e-9),
        posterior.offset,
        mask,
    )
    incumbent = problem.incumbent
    holds = (values[1:] <= 0).all(0)
    if holds.any():
        best = float(values[0, holds].min())
        incumbent = best if incumbent is None else min(incumbent, best)
    return replace(problem.excluding(points), posterior=conditioned, incumbent=incumbent)
