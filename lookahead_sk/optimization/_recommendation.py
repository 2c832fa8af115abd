r"""Which evaluated point to use in the end.

========  =========  =====================================================================
symbol    shape      meaning
========  =========  =====================================================================
p         (n,)       chance that a point is feasible, :math:`\prod_i \Phi(-\mu_i / \sigma_i)`
mu, s     (J, n)     posterior moments of the latent outputs, objective first
========  =========  =====================================================================
"""

from __future__ import annotations

import numpy as np
import torch

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._acquisition import log_feasibility
from lookahead_sk.optimization._posterior import moments
from lookahead_sk.optimization._problem import is_exact
from lookahead_sk.optimization._run_state import RunState
from lookahead_sk.optimization._surrogate import Surrogate


def recommended_row(
    state: RunState, surrogate: Surrogate, min_probability: float, *, is_noisy: bool
) -> tuple[int, float, bool]:
    """The evaluated point to use.

    Parameters
    ----------
    state : RunState
        The run, with data.
    surrogate : Surrogate
        The fit to them.
    min_probability : float
        Least chance of being feasible.
    is_noisy : bool
        Whether outputs are noisy whatever the data say.

    Returns
    -------
    row : int
        The best feasible one of exact outputs. Under noise that with the smallest posterior mean
        among those with the least chance. Where there is none, that with the largest chance.
    probability : float
        Its chance of being feasible; where outputs are exact, whether it was.
    is_known : bool
        Whether its outputs are known exactly.
    """
    may_be = state.is_permitted & ~np.isnan(state.outputs[:, 0])
    if not may_be.any():
        may_be = ~np.isnan(state.outputs[:, 0])
    exact = not is_noisy and is_exact(state, surrogate)
    if exact and state.best_index is not None:
        return state.best_index, 1.0, True
    mean, log_chance = _objective_and_chance(state, surrogate)
    chance = np.exp(log_chance)
    enough = may_be & (chance >= min_probability)
    if enough.any() and not exact:
        row = int(np.where(enough, mean, np.inf).argmin())
    else:
        row = int(np.where(may_be, log_chance, -np.inf).argmax())
    return row, 0.0 if exact else float(chance[row]), exact


def _objective_and_chance(state: RunState, surrogate: Surrogate) -> tuple[FloatArray, FloatArray]:
    """Posterior mean of the objective, and the log of p, at the data."""
    with torch.no_grad():
        at = moments(surrogate.posterior, torch.as_tensor(state.unit).to(surrogate.posterior.x))
        log_chance = log_feasibility(at.mean[1:], at.variance[1:].sqrt())
    return at.mean[0].cpu().numpy(), log_chance.cpu().numpy()
