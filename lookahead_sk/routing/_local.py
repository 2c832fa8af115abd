"""The ways to average scores over like prompts, of which held-out error chooses."""

from __future__ import annotations

from lookahead_sk.routing._inputs import Floats
from lookahead_sk.routing._kinds import GRAINS, Floats32, Kinds, fit_kinds
from lookahead_sk.routing._neighbours import Neighbours, fit_neighbours

Local = Kinds | Neighbours


def local_candidates(
    projected: Floats32, scores: Floats, seed: int, axes: Floats32 | None
) -> list[tuple[Local, Floats]]:
    """Two grains of kinds, and near neighbours where there are prompts enough.

    Parameters
    ----------
    projected : ndarray of shape (n, a)
        Foreseen responses of the training prompts, on the axes.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    seed : int
        Seeds of the clusterings.
    axes : ndarray of shape (f, a) or None
        The axes, for new prompts.

    Returns
    -------
    list of (Kinds or Neighbours, ndarray of shape (n, K))
        For new prompts, and the quality of the training prompts, each without its own score.
    """
    found: list[tuple[Local, Floats]] = []
    found += [fit_kinds(projected, scores, grain, seed, axes) for grain in GRAINS]
    neighbours = fit_neighbours(projected, scores, axes)
    return found if neighbours is None else [*found, neighbours]
