"""The search for the next batch, in portions, as one step of a plan."""

from __future__ import annotations

import numpy as np
import torch

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._maximize import exploit_step, greedy_batch, maximize_two_step
from lookahead_sk.optimization._problem import Problem, SearchOptions, condition_on_pending

# Joint optimisation of more points than this costs more than it gains; the rest follows in turn.
_LARGEST_JOINT_BATCH = 8


def search_batch(
    problem: Problem,
    options: SearchOptions,
    q: int,
    entropy: tuple[int, int],
    *,
    exploit_radius: float | None,
    is_myopic: bool,
) -> tuple[FloatArray, bool, bool]:
    """Search for the next q points.

    Parameters
    ----------
    problem : Problem
        What is maximised, conditioned on pending points.
    options : SearchOptions
        What the search may spend.
    q : int
        How many points.
    entropy : tuple of int
        Seed of the run and number of asks before this one.
    exploit_radius : float or None
        Radius of the trust region, in parts of the box, if the first point is that of an exploit
        step; then there is an incumbent. Where the model expects to gain nothing there is no step.
    is_myopic : bool
        Whether EIC is maximised instead of the two-step value.

    Returns
    -------
    points : ndarray of shape (q, n_unit)
        Points of the unit cube.
    is_plan : bool
        Whether EIC's batch was left for a plan.
    has_exploited : bool
        Whether the first point is that of an exploit step.
    """
    chosen: list[torch.Tensor] = []
    is_plan = has_exploited = False
    while q > 0:
        size = min(q, _LARGEST_JOINT_BATCH)
        sequence = np.random.SeedSequence([*entropy, len(chosen)])
        seed = int(sequence.generate_state(1)[0] >> 1)
        batch = None
        if exploit_radius is not None and not chosen:
            batch = exploit_step(problem, options, seed, exploit_radius)
            has_exploited = batch is not None
        if batch is None and is_myopic:
            batch, _, _ = greedy_batch(problem, options, size, seed)
        elif batch is None:
            batch, left_eic = maximize_two_step(problem, options, size, seed)
            is_plan |= left_eic
        chosen.append(batch)
        q -= len(batch)
        problem = condition_on_pending(problem, batch) if q else problem
    return torch.cat(chosen).cpu().numpy(), is_plan, has_exploited
