"""The initial design: a scrambled Sobol sequence."""

from __future__ import annotations

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._normal import sobol_uniform
from lookahead_sk.optimization._run_state import RunState

_MAX_REDRAWS = 256  # of designed points that were asked for before
# A designed point this close to a known one, in parts of the box, has been read from a log.
_SAME_POINT, _SAME_SHARE = 2e-3, 0.1  # and less, in parts of the distance of that many points


def next_design(state: RunState, n: int) -> tuple[FloatArray, int]:
    """The next n points of the run's Sobol sequence, new ones as far as possible.

    In a finite space many points fall on the same choice: the sequence goes on until n are new, or
    hardly any can be.

    Parameters
    ----------
    state : RunState
        The run.
    n : int
        How many points.

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
        points = sobol_uniform(end, space.n_unit, state.seed)[used:]
        used = end
        for row in space.snap(points.numpy()):
            is_known = row.tobytes() in seen or (space.distance(known, row) < tolerance).any()
            (spare if is_known else found).append(row[None])
            seen.add(row.tobytes())
    return np.concatenate([*found, *spare[::-1]])[:n], used
