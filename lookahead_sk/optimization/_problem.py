"""What a search maximises, what it may spend, and what pending points change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._acquisition import log_eic
from lookahead_sk.optimization._local_model import Evaluated
from lookahead_sk.optimization._posterior import Posterior, condition_safely, moments
from lookahead_sk.optimization._region import N_ROUNDS, Region
from lookahead_sk.optimization._run_state import RunState
from lookahead_sk.optimization._surrogate import Surrogate

_N_ANCHORS = 4
# Distances in the unit cube.
_EQUAL = 1e-9  # below it two points are one, evaluated twice
_SAME = 1e-6  # below it an evaluation of the second point is a repetition
NEIGHBOURHOOD = 0.01  # what is farther from a pending point is left to others
# Below this share of the prior standard deviation an expected improvement is rounding.
_NEGLIGIBLE = 3e-7
# Data that tell too little of noise: so many, or so many times one more than there are variables.
_FEW_AT_LEAST, _FEW = 12, 2


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
    exploit : bool, default=True
        Whether exploit steps take turns with the acquisition.
    is_coarse : bool, default=False
        Whether exploit steps that promise next to nothing beside EIC's maximiser are left out.
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
    exploit: bool = True
    is_coarse: bool = False


@dataclass(frozen=True)
class Problem:
    """What is maximised: a posterior, its incumbent, and which points are legal."""

    posterior: Posterior
    incumbent: float | None
    anchor: Tensor  # (a, d), best data points: where local candidates are drawn
    snap: Callable[[Tensor], Tensor]
    is_free: Callable[[Tensor], Tensor]  # of points (.., d), which coordinates may move freely
    known: Tensor | None = None  # (k, d), points whose outputs are known exactly
    excluded: Tensor | None = None  # (e, d), other points not to be asked for again
    pending: Tensor | None = None  # (p, d), points whose neighbourhood is left to others
    all_points: Callable[[], Tensor | None] = field(default=lambda: None)  # (c, d), if they are few
    std_factor: float = 1.0  # factor of the standard deviations in EIC
    region: Region | None = None  # that of known constraints, which all points must be in
    evaluated: Evaluated | None = None  # where they are exact and one is feasible
    # In a space of branches: which points (P, d) have the variables of another one (d,), (P,).
    shares_branch: Callable[[Tensor, Tensor], Tensor] | None = None

    def log_eic(self, points: Tensor) -> Tensor:
        """Log constrained expected improvement of points (P, d), (P,)."""
        at = moments(self.posterior, points)
        # Without a feasible point only feasibility counts: there is nothing to exploit.
        factor = 1.0 if self.incumbent is None else self.std_factor
        return log_eic(at.mean, factor * at.variance.sqrt(), self.incumbent)

    def is_permitted(self, points: Tensor) -> Tensor:
        """Which points (.., d) meet the known constraints, (..)."""
        if self.region is None:
            return torch.ones(points.shape[:-1], dtype=torch.bool, device=points.device)
        unit = points.detach().reshape(-1, points.shape[-1]).cpu().numpy()
        allowed = torch.as_tensor(self.region.is_allowed(unit), device=points.device)
        return allowed.reshape(points.shape[:-1])

    def permitted(self, points: Tensor, n_least: int = 1, seed: int = 0) -> Tensor:
        """Those of the points (P, d) that meet the known constraints, or others, n_least."""
        if self.region is None:
            return points
        unit = self.region.filled(points.detach().cpu().numpy(), n_least, seed)
        return torch.as_tensor(unit).to(points)

    def pulled_back(self, points: Tensor, starts: Tensor, n_rounds: int = N_ROUNDS) -> Tensor:
        """Points (.., d) moved towards permitted starts until they are permitted too."""
        if self.region is None:
            return points
        ends, begins = (x.reshape(-1, x.shape[-1]).cpu().numpy() for x in (points, starts))
        unit = self.region.pulled_back(ends, begins, n_rounds)
        return torch.as_tensor(unit).to(points).reshape(points.shape)

    def is_excluded(self, points: Tensor) -> Tensor:
        """Which points (.., d) must not be asked for, (..)."""
        return self._is_taken(points) | ~self.is_permitted(points)

    def _is_taken(self, points: Tensor) -> Tensor:
        return (
            _is_near(points, self.known, _EQUAL)
            | _is_near(points, self.excluded, _SAME)
            | _is_near(points, self.pending, NEIGHBOURHOOD)
        )

    def allowed(self, points: Tensor) -> Tensor:
        """The points (P, d) that are not excluded.

        Where there are none: those of a finite space that nobody evaluates, those that were not
        evaluated, or all. Known constraints hold in any case.
        """
        points = self.permitted(points)
        free = points[~self._is_taken(points)]
        if len(free):
            return free
        everywhere = self.all_points()
        points = points if everywhere is None else everywhere
        taken = (self.known, self.excluded, self.pending)
        is_taken = torch.stack([_is_near(points, others, _SAME) for others in taken]).any(0)
        for is_out in (self._is_taken(points), is_taken):
            if not is_out.all():
                return points[~is_out]
        return points

    def excluding(self, points: Tensor) -> Problem:
        """The same problem without some points (e, d)."""
        return replace(self, excluded=_joined(self.excluded, points))

    def is_negligible(self, max_log_eic: float) -> bool:
        """Whether the largest log EIC is that of a point which promises nothing."""
        if self.incumbent is None:
            return max_log_eic < math.log(_NEGLIGIBLE)
        variance = float(self.posterior.kernel.diag(self.posterior.x)[0].mean())
        return max_log_eic < math.log(_NEGLIGIBLE) + 0.5 * math.log(variance)

    def away_from_known(self) -> Problem:
        """The same problem without the neighbourhoods of all points that are known exactly."""
        return replace(self, pending=_joined(self.pending, self.known))


def _joined(points: Tensor | None, more: Tensor | None) -> Tensor | None:
    both = [some for some in (points, more) if some is not None]
    return torch.cat(both) if both else None


def _is_near(points: Tensor, others: Tensor | None, distance: float) -> Tensor:
    """Which points (.., d) have another one (o, d) within a distance in every coordinate, (..)."""
    if others is None:
        return torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
    return (torch.cdist(points, others, p=math.inf) < distance).any(-1)


def make_problem(state: RunState, surrogate: Surrogate, region: Region | None = None) -> Problem:
    """The problem of a run whose surrogate is fitted, pending points left aside."""
    region = region or Region(state.space)
    incumbent, anchor = _best_known(state, surrogate, region)

    def snap(points: Tensor) -> Tensor:
        legal = region.snap(points.detach().cpu().numpy())
        return torch.as_tensor(legal).to(points)

    def is_free(points: Tensor) -> Tensor:
        return torch.as_tensor(region.is_free(points.detach().cpu().numpy())).to(x.device)

    def shares_branch(points: Tensor, one: Tensor) -> Tensor:
        unit, other = (p.detach().cpu().numpy() for p in (points, one))
        return torch.as_tensor(region.space.shares_branch(unit, other)).to(x.device)

    def all_points() -> Tensor | None:
        points = region.all_points()
        return None if points is None else torch.as_tensor(points).to(x)

    x = surrogate.posterior.x
    exact = is_exact(state, surrogate)
    return Problem(
        surrogate.posterior,
        incumbent,
        anchor=torch.as_tensor(anchor).to(x),
        snap=snap,
        is_free=is_free,
        shares_branch=shares_branch if len(state.space.name_sets) > 1 else None,
        # What is known exactly gains nothing from a second evaluation.
        known=x if exact else None,
        all_points=all_points,
        region=None if region.known is None else region,
        evaluated=_evaluated(state) if exact and region.fixed is None else None,
    )


def _evaluated(state: RunState) -> Evaluated | None:
    best = state.best_index
    if best is None:
        return None
    same = state.space.shares_branch(state.unit, state.unit[best])
    return Evaluated(state.unit[same], state.outputs[same], int(same[:best].sum()))


def _best_known(
    state: RunState, surrogate: Surrogate, region: Region
) -> tuple[float | None, FloatArray]:
    """Incumbent and best data points of a region.

    Where nothing feasible was evaluated with the fixed values, the incumbent is what the model
    expects of the data points moved there.
    """
    feasible, value = state.is_feasible, state.outputs[:, 0]
    if region.fixed is not None:
        here = feasible & region.has_fixed(state.unit)
        if not here.any():
            return _best_expected(surrogate, region.snap(state.unit))
        feasible = here
    order = np.where(feasible, value, np.inf).argsort(kind="stable")
    best = order[: min(_N_ANCHORS, max(1, int(feasible.sum())))]
    return surrogate.incumbent_among(feasible), state.unit[best]


def _best_expected(surrogate: Surrogate, unit: FloatArray) -> tuple[float | None, FloatArray]:
    """Smallest posterior mean among points that are expected to be feasible, and the best few."""
    with torch.no_grad():
        mean = moments(surrogate.posterior, torch.as_tensor(unit).to(surrogate.posterior.x)).mean
    holds = (mean[1:] <= 0).all(0)
    value = torch.where(holds, mean[0], torch.inf)
    best = value.argsort(stable=True)[:_N_ANCHORS].cpu().numpy()
    return float(value.min()) if holds.any() else None, unit[best]


def is_exact(state: RunState, surrogate: Surrogate) -> bool:
    """Whether a point evaluated again would give the same outputs.

    Points that were evaluated again decide, otherwise the noise that the surrogate has found. What
    a few data leave unexplained is no noise yet.
    """
    agrees = state.repeats_agree
    if agrees is not None:
        return agrees
    few = _FEW * (1 + state.space.n_features)
    return surrogate.is_exact or len(state.unit) < max(_FEW_AT_LEAST, few)


def condition_on_pending(problem: Problem, points: Tensor) -> Problem:
    """Condition on pending points as if their outcomes were their posterior means.

    A pending point whose mean is feasible also lowers the incumbent. Where nothing promises to be
    better than that, the best remains close to the pending point: its neighbourhood is left out.
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
    conditioned = condition_safely(
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
    pending = _joined(problem.pending, points)
    return replace(problem, pending=pending, posterior=conditioned, incumbent=incumbent)
