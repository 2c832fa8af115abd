"""The first points of a region: by looking, by enumeration, by lessening the violation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._known_constraints import NAME, KnownConstraints
from lookahead_sk.optimization._normal import sobol_uniform
from lookahead_sk.optimization._region import Region
from lookahead_sk.optimization._space import Space

_N_LOOKED_AT = 1024  # Sobol points among which those of the region are looked for
_MOST_INNER = 256
_N_REPAIRED, _N_ROUNDS, _N_TRIALS = 16, 60, 16  # of the random search for a first point


def make_region(
    space: Space,
    known: KnownConstraints | None,
    fixed: FloatArray | None,
    points: FloatArray,
    seed: int,
) -> Region:
    """The region, with some of its points.

    Parameters
    ----------
    space : Space
        The search space.
    known : KnownConstraints or None
        The known constraints.
    fixed : ndarray of shape (n_unit,) or None
        Coordinates that are held, NaN where they are free.
    points : ndarray of shape (k, n_unit)
        Points some of which may be in the region: what was evaluated or is pending.
    seed : int
        Seed of the points that are looked at.

    Returns
    -------
    Region
        The region.

    Raises
    ------
    ValueError
        If no point of the space meets the known constraints.
    """
    region = Region(space, known, fixed)
    if known is None:
        return region
    drawn = sobol_uniform(_N_LOOKED_AT, space.n_unit, seed).numpy()
    candidates = region.project(np.concatenate([points, drawn]))
    inner = candidates[region.is_allowed(candidates)][:_MOST_INNER]
    if not len(inner):
        everywhere = region.all_points()
        inner = _first_points(region, known, candidates, seed) if everywhere is None else everywhere
    if not len(inner):
        held = "" if fixed is None else ", with the fixed variables,"
        raise ValueError(
            f"{NAME} must be such that a point inside the bounds{held} meets all of them; got "
            "none in a search of the whole space."
        )
    return replace(region, inner=inner[:_MOST_INNER])


def _first_points(
    region: Region, known: KnownConstraints, candidates: FloatArray, seed: int
) -> FloatArray:
    """Points of a region that no candidate is in, by lessening the violation; maybe none."""
    values = known.values(candidates)
    finite = np.where(np.isfinite(values), values, np.nan)
    with np.errstate(invalid="ignore"):
        scale = np.nanmax(np.abs(np.concatenate([finite, np.zeros_like(finite[:1])])), axis=0)
    scale = np.maximum(scale, 1e-300)
    rows, target, _ = region.equalities

    def violation(unit: FloatArray) -> FloatArray:
        over = np.clip(known.values(unit) / scale, 0.0, 1e6)
        return np.asarray(over.sum(axis=1) + np.abs(unit @ rows.T - target).sum(axis=1))

    x = candidates[violation(candidates).argsort(kind="stable")[:_N_REPAIRED]]
    found = _solved(region, x)
    if len(found):
        return found
    # Numbers of a finite set do not move in a solver: random changes that violate less are kept.
    rng = np.random.default_rng(seed)
    best = violation(x)
    for i in range(_N_ROUNDS):
        changed = rng.random((_N_TRIALS, *x.shape)) < max(1.5 / x.shape[1], 0.3 * (i % 2))
        jump = np.where(rng.random(changed.shape) < 0.5, rng.random(changed.shape), x)
        size = 10.0 ** -rng.uniform(0, 3, (*changed.shape[:2], 1))
        moved = np.where(changed, jump + size * rng.standard_normal(changed.shape), x)
        trial = region.project(moved.reshape(-1, x.shape[1]))
        value = violation(trial).reshape(changed.shape[:2])
        which = value.argmin(axis=0)
        trial = trial.reshape(changed.shape)[which, np.arange(len(x))]
        better = value.min(axis=0) < best
        x, best = np.where(better[:, None], trial, x), np.minimum(best, value.min(axis=0))
        allowed = region.is_allowed(x)
        if allowed.any():
            return x[allowed]
    return _solved(region, x)


def _solved(region: Region, starts: FloatArray) -> FloatArray:
    """Allowed points that a local solver reaches by lessening the largest violation."""
    found = []
    for start in starts:
        free = region.is_free(start)
        if not free.any():
            continue
        rules = region.solver_constraints(start)
        lifted = [_lifted(rule) for rule in rules]
        begin = max([0.0, *(-np.min(r["fun"](start[free])) for r in rules if r["type"] == "ineq")])
        result = minimize(
            lambda v: v[-1],
            np.append(start[free], begin),
            jac=lambda v: np.append(np.zeros(len(v) - 1), 1.0),
            bounds=[(0.0, 1.0)] * int(free.sum()) + [(-1.0, None)],
            constraints=lifted,
            method="SLSQP",
            options={"maxiter": 100},
        )
        point = start.copy()
        point[free] = np.clip(np.nan_to_num(result.x[:-1], nan=0.5), 0.0, 1.0)
        point = region.project(point[None])
        if region.is_allowed(point)[0]:
            found.append(point)
    return np.concatenate([starts[:0], *found])


def _lifted(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of coordinates z as one of (z, t), where inequalities may be violated by t."""
    slack = float(rule["type"] == "ineq")

    def slopes(v: FloatArray) -> FloatArray:
        rows = np.asarray(rule["jac"](v[:-1]))
        return np.concatenate([rows, np.full((len(rows), 1), slack)], axis=1)

    return {
        "type": rule["type"],
        "fun": lambda v: rule["fun"](v[:-1]) + slack * v[-1],
        "jac": slopes,
    }
