"""The search for the next batch, in portions, as one step of a plan."""

from __future__ import annotations

import numpy as np
import torch

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._maximize import exploit_step, greedy_batch, maximize_two_step
from lookahead_sk.optimization._problem import Problem, SearchOptions, condition_on_pending
from lookahead_sk.optimization._trust_region import ExploitStep, TrustRegion

# Joint optimisation of more points than this costs more than it gains; the rest follows in turn.
_LARGEST_JOINT_BATCH = 8


def search_batch(
    problem: Problem,
    options: SearchOptions,
    q: int,
    entropy: tuple[int, int],
    *,
    trust_region: TrustRegion | None,
    is_myopic: bool,
) -> tuple[FloatArray, bool, ExploitStep | None]:
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
    trust_region : TrustRegion or None
        That of the exploit step, if the first point is that of one; then there is an incumbent.
        Where the models expect to gain nothing there is no step.
    is_myopic : bool
        Whether EIC is maximised instead of the two-step value.

    Returns
    -------
    points : ndarray of shape (q, n_unit)
        Points of the unit cube.
    is_plan : bool
        Whether EIC's batch was left for a plan.
    step : ExploitStep or None
        The exploit step, if the first point is that of one.
    """
    chosen: list[torch.Tensor] = []
    is_plan, step = False, None
    while q > 0:
        size = min(q, _LARGEST_JOINT_BATCH)
        sequence = np.random.SeedSequence([*entropy, len(chosen)])
        seed = int(sequence.generate_state(1)[0] >> 1)
        batch = None
        if trust_region is not None and not chosen:
            step = exploit_step(problem, options, seed, trust_region)
            if step is not None:
                batch = torch.as_tensor(step.point).to(problem.posterior.x).unsqueeze(0)
        if batch is None and is_myopic:
            batch, _, _ = greedy_batch(problem, options, size, seed)
        elif batch is None:
            batch, left_eic = maximize_two_step(problem, options, size, seed)
            is_plan |= left_eic
        chosen.append(batch)
        q -= len(batch)
        problem = condition_on_pending(problem, batch) if q else problem
    return torch.cat(chosen).cpu().numpy(), is_plan, step
