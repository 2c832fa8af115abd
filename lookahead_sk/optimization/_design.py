"""The initial design: a scrambled Sobol sequence, or points spread over a region."""

from __future__ import annotations

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._normal import sobol_uniform
from lookahead_sk.optimization._region import Region
from lookahead_sk.optimization._run_state import RunState
from lookahead_sk.optimization._space import Space

_MAX_REDRAWS = 256  # of designed points that were asked for before
# A designed point this close to a known one, in parts of the box, has been read from a log.
_SAME_POINT, _SAME_SHARE = 2e-3, 0.1  # and less, in parts of the distance of that many points
_N_SPREAD = 512  # points of a small region that the design is chosen from


def next_design(state: RunState, n: int, region: Region) -> tuple[FloatArray, int]:
    """The next n points of the run's Sobol sequence, new ones as far as possible.

    In a finite space many points fall on the same choice: the sequence goes on until n are new, or
    hardly any can be. Points that known constraints forbid are passed over; where few are left, the
    rest is chosen from a random walk in their region, each point as far as possible from others.

    Parameters
    ----------
    state : RunState
        The run.
    n : int
        How many points.
    region : Region
        Where they may be.

    Returns
    -------
    points : ndarray of shape (n, n_unit)
        Points of the unit cube.
    n_designed : int
        Points of the sequence that are used up.
    """
    space = state.space
    known = np.concatenate([state.unit, state.pending])
    tolerance = min(_SAME_POINT, _SAME_SHARE / (len(known) + n))
    seen: set[bytes] = set()
    found: list[FloatArray] = []
    spare = [np.empty((0, space.n_unit))]
    used = end = state.n_designed
    while len(found) < n and end < state.n_designed + n + _MAX_REDRAWS:
        end += n - len(found)
        points = design_points(region.space, used, end, state.seed)
        used = end
        for row in _allowed(region, points):
            is_known = row.tobytes() in seen or (space.distance(known, row) < tolerance).any()
            (spare if is_known else found).append(row[None])
            seen.add(row.tobytes())
    if region.known is not None and len(found) < n:
        missing = n - len(found)
        found.append(_spread(region, np.concatenate([known, *found]), missing, state.seed + end))
    return np.concatenate([*found, *spare[::-1]])[:n], used


def design_points(space: Space, start: int, end: int, seed: int) -> FloatArray:
    """Points of the Sobol sequence of a design, by number, spread over the branches of a space."""
    n = -(-end // space.n_branches) * space.n_branches  # whole rounds
    return space.dealt(sobol_uniform(n, space.n_unit, seed).numpy())[start:end]


def _allowed(region: Region, unit: FloatArray) -> FloatArray:
    unit = region.project(unit)
    return unit if region.known is None else unit[region.is_allowed(unit)]


def _spread(region: Region, known: FloatArray, n: int, seed: int) -> FloatArray:
    """Points of a region, each as far as possible from the known ones and those before it."""
    pool = region.filled(known[:0], _N_SPREAD, seed)
    away = np.full(len(pool), np.inf)
    if len(known):
        away = np.abs(pool[:, None] - known).max(axis=2).min(axis=1)
    chosen: list[FloatArray] = []
    for _ in range(n):
        chosen.append(pool[away.argmax()])
        away = np.minimum(away, np.abs(pool - chosen[-1]).max(axis=1))
    return np.stack(chosen)
