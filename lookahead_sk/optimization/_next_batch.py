"""The search for the next batch, in portions, as one step of a plan."""

from __future__ import annotations

import numpy as np
import torch

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._maximize import greedy_batch, maximize_two_step
from lookahead_sk.optimization._problem import Problem, SearchOptions, condition_on_pending

# Joint optimisation of more points than this costs more than it gains; the rest follows in turn.
_LARGEST_JOINT_BATCH = 8


def search_batch(
    problem: Problem,
    options: SearchOptions,
    q: int,
    entropy: tuple[int, int],
    *,
    plan_pending: bool,
    is_myopic: bool,
) -> tuple[FloatArray, bool]:
    """Search for the next q points.

    A pending plan is carried out: its second step exploits, or exploiting would be put off forever.

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
    plan_pending : bool
        Whether this is the second step of a plan.
    is_myopic : bool
        Whether EIC is maximised, whatever was planned.

    Returns
    -------
    points : ndarray of shape (q, n_unit)
        Points of the unit cube.
    plan_pending : bool
        Whether the next ask is the second step of a plan.
    """
    chosen: list[torch.Tensor] = []
    exploits = plan_pending and not is_myopic
    plans_ahead = not (is_myopic or exploits)
    begins_plan = False
    while q > 0:
        size = min(q, _LARGEST_JOINT_BATCH)
        sequence = np.random.SeedSequence([*entropy, len(chosen)])
        seed = int(sequence.generate_state(1)[0] >> 1)
        if plans_ahead:
            batch, is_plan = maximize_two_step(problem, options, size, seed)
            may_exploit = options.exploit_std_factor < 1 and problem.incumbent is not None
            begins_plan |= is_plan or may_exploit
        else:
            batch, _, _ = greedy_batch(problem, options, size, seed, exploits and not chosen)
        chosen.append(batch)
        q -= size
        problem = condition_on_pending(problem, batch) if q else problem
    return torch.cat(chosen).cpu().numpy(), begins_plan
