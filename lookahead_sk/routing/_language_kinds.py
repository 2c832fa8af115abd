"""Kinds of prompt beside a fine-tuned network, chosen on prompts that it did not train on.

n prompts of which v are held out, K models, f dimensions of what is foreseen. Latents of prompts
that the network trained on are more certain than latents of new ones; so kinds are judged by their
error on the held-out prompts, whichever prompts they were formed of.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lookahead_sk.routing._approach import Floats32, choose_blend
from lookahead_sk.routing._axes import fit_axes, project
from lookahead_sk.routing._criteria import difference_error
from lookahead_sk.routing._inputs import Floats
from lookahead_sk.routing._local import Local, local_candidates

MIN_HELD_OUT = 20  # below, no choice between kinds and the network means anything


def choose_local(
    space: Floats32, network: Floats, scores: Floats, held_out: npt.NDArray[np.bool_], seed: int
) -> tuple[Local | None, float, Floats]:
    """Kinds of prompt, the network's share in the quality, and the held-out quality.

    Parameters
    ----------
    space : ndarray of shape (n, f)
        What the network foresees.
    network : ndarray of shape (n, K)
        Its own quality.
    scores : ndarray of shape (n, K)
        True scores, NaN where not observed.
    held_out : ndarray of bool, shape (n,)
        Prompts that the network did not train on.
    seed : int
        Of the clusterings.

    Returns
    -------
    kinds : Kinds or None
        None where too few prompts are held out to choose any.
    blend : float
        Share of the network; more than 0 only where it routes the held-out prompts better by two
        standard errors, or where there are no kinds.
    quality : ndarray of shape (v, K)
        Of the held-out prompts.
    """
    own = network[held_out]
    is_known = ~np.isnan(scores[held_out]).all(axis=0)
    if held_out.sum() < MIN_HELD_OUT or not is_known.all():
        return None, 1.0, own
    kinds, local = choose_language_kinds(space, scores, held_out, seed)
    blend = choose_blend(local, own, scores[held_out])
    quality = (1 - blend) * local + blend * own
    return kinds, blend, quality


def choose_language_kinds(
    space: Floats32, scores: Floats, held_out: npt.NDArray[np.bool_], seed: int
) -> tuple[Local, Floats]:
    """The kinds with the smallest held-out error of score differences, and their quality (v, K).

    Candidates are two grains and nearest neighbours, formed of the held-out prompts (each judged
    without its own score) or of those that the network trained on.
    """
    axes = fit_axes(space, seed)
    projected = project(space, axes)
    inside, outside = projected[~held_out], projected[held_out]
    known, truth = scores[~held_out], scores[held_out]
    candidates = local_candidates(outside, truth, seed, axes)
    if not np.isnan(known).all(axis=0).any():
        fitted = local_candidates(inside, known, seed, axes)
        candidates += [(kinds, kinds.predict(space[held_out])) for kinds, _ in fitted]
    weight = np.ones(len(truth))
    errors = [difference_error(local, truth, weight) for _, local in candidates]
    kinds, local = candidates[int(np.argmin(errors))]
    return kinds, local
