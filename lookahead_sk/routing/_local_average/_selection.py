"""What is chosen on held-out prompts: the averages that make the quality, and a temperature.

n prompts, K models, f dimensions of the space in which prompts are compared. Averages are chosen
by the error that routing is sensitive to: of differences between models, not of levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from lookahead_sk._typing import BoolArray, Float32Array, FloatArray, IntArray
from lookahead_sk.routing._local_average._candidates import (
    LocalAverage,
    fit_axes,
    local_averages,
    project,
)
from lookahead_sk.routing._local_average._cells import mean_scores, observed_weights
from lookahead_sk.routing._local_average._mixture import Mixture, mix

Candidate = tuple[LocalAverage | None, FloatArray]  # None: the network

MAX_AVERAGED = 8  # candidates in the mean
BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIN_EXPLAINED = 0.9  # by each of them, of what the best one explains
MIN_HELD_OUT = 20  # below, no choice between a local average and the network means anything
N_PARTS = 5  # of held-out prompts, each judged by the choice that the others make
MIN_GAIN = 0.5  # over the best single model, in standard errors


def difference_errors(
    quality: FloatArray, Y: FloatArray, weight: FloatArray | None = None
) -> FloatArray:
    """Sum over models of the squared errors of centred qualities, (n,).

    Parameters
    ----------
    quality : ndarray of shape (n, K)
        Predicted scores.
    Y : ndarray of shape (n, K)
        Scores, NaN where not observed. Both are centred over the observed models of each prompt.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Returns
    -------
    ndarray of shape (n,)
        Up to the factor K, the mean over pairs of models of the squared error of their difference.
    """
    cells = observed_weights(Y, weight)
    squared = (_centred(quality, cells) - _centred(Y, cells)) ** 2
    errors: FloatArray = np.sum(cells * squared, axis=1)
    return errors


def difference_error(
    quality: FloatArray, Y: FloatArray, w: FloatArray, weight: FloatArray | None = None
) -> float:
    """Mean of `difference_errors` over prompts of weights (n,)."""
    if w.sum() <= 0:
        return 0.0
    return float(np.average(difference_errors(quality, Y, weight), weights=w))


def _centred(values: FloatArray, cells: FloatArray) -> FloatArray:
    """Values minus their weighted mean over the models of each prompt; 0 where not observed."""
    seen = cells > 0
    filled = cells * np.where(seen, values, 0.0)
    total = cells.sum(axis=-1, keepdims=True)
    means = filled.sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1)
    return np.where(seen, values - means, 0.0)


def routed_scores(quality: FloatArray, scores: FloatArray) -> FloatArray:
    """Score of the model that the quality would choose, NaN where not observed."""
    return scores[np.arange(len(scores)), quality.argmax(axis=1)]


def shows_gain(quality: FloatArray, scores: FloatArray) -> bool:
    """Whether held-out prompts are routed better than by always calling the best single model.

    The paired gain must be more than half a standard error. True where fewer than 20 prompts show
    both scores.
    """
    gains = routed_scores(quality, scores) - scores[:, best_single(scores)]
    gains = gains[~np.isnan(gains)]
    if len(gains) < MIN_HELD_OUT:
        return True
    error = float(gains.std(ddof=1)) / np.sqrt(len(gains))
    return float(gains.mean()) > MIN_GAIN * error


def best_single(scores: FloatArray) -> int:
    """Number of the model with the highest mean score."""
    return int(np.nanmean(scores, axis=0).argmax())


class _Judged(NamedTuple):
    """A candidate and how much it explains of the differences between models."""

    explained: float
    average: LocalAverage | None
    held_out: FloatArray


def choose_quality(
    candidates: Iterable[Candidate],
    scores: FloatArray,
    part: IntArray,
    weight: FloatArray | None = None,
) -> tuple[Mixture | None, float, FloatArray]:
    """The mean of those candidates that best predict which model scores higher.

    At most eight are taken, and none that explains less than nine tenths of what the best one does.

    Parameters
    ----------
    candidates : iterable of (local average or None, ndarray of shape (n, K))
        Local averages, and None for the network, with the quality that they give to prompts held
        out.
    scores : ndarray of shape (n, K)
        True scores, NaN where not observed.
    part : ndarray of shape (n,)
        Parts of the prompts, from 0: each is judged by the choice that the others make.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Returns
    -------
    average : Mixture or None
        None where the network alone is taken.
    blend : float
        Share of the network in the quality.
    held_out : ndarray of shape (n, K)
        Quality of prompts that neither the averages nor the choice saw.
    """
    n_parts = int(part.max()) + 1
    ranked: list[list[_Judged]] = [[] for _ in range(n_parts + 1)]
    level = np.tile(mean_scores(scores, weight), (len(scores), 1))
    constant = difference_errors(level, scores, weight)
    for average, held_out in candidates:
        explained = constant - difference_errors(held_out, scores, weight)
        outside = explained.sum() - np.bincount(part, explained, n_parts)
        for kept, value in zip(ranked, [*outside, explained.sum()], strict=True):
            kept.append(_Judged(float(value), average, held_out))
            kept.sort(key=lambda judged: -judged.explained)
            del kept[MAX_AVERAGED:]
    quality = np.empty(scores.shape)
    for number, kept in enumerate(ranked[:-1]):
        rows = part == number
        quality[rows] = np.mean([judged.held_out[rows] for judged in _good(kept)], axis=0)
    chosen = _good(ranked[-1])
    averages = [judged.average for judged in chosen if judged.average is not None]
    blend = 1 - len(averages) / len(chosen)
    return (mix(averages) if averages else None), blend, quality


def _good(kept: list[_Judged]) -> list[_Judged]:
    best = kept[0].explained
    return [judged for judged in kept if best - judged.explained <= (1 - MIN_EXPLAINED) * abs(best)]


def fit_temperature(quality: FloatArray, scores: FloatArray) -> float:
    """Temperature at which softmax(quality / T) best predicts which model is the best.

    Parameters
    ----------
    quality : ndarray of shape (n, K)
        Predicted scores of prompts that the predictor was not fitted on.
    scores : ndarray of shape (n, K)
        True scores; a prompt that is not wholly observed, or on which all models tie, is left out.

    Returns
    -------
    float
        The minimiser of the cross-entropy on [1e-3, 1e3] times the spread of ``quality``; ties
        for the best are shared equally between the models that tie.

    References
    ----------
    .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017, temperature scaling.
    """
    spread = float(np.std(quality - quality.mean(axis=1, keepdims=True))) or 1.0
    best = scores == scores.max(axis=1, keepdims=True)  # NaN rows have no best
    is_useful = best.any(axis=1) & ~best.all(axis=1)
    if not is_useful.any():
        return spread
    target = best[is_useful] / best[is_useful].sum(axis=1, keepdims=True)
    scaled = quality[is_useful] / spread

    def cross_entropy(log_temperature: float) -> float:
        return -float((target * log_softmax(scaled / np.exp(log_temperature), axis=1)).sum())

    result = minimize_scalar(cross_entropy, bounds=np.log([1e-3, 1e3]), method="bounded")
    return spread * float(np.exp(result.x))


def choose_blend(local: FloatArray, network: FloatArray, scores: FloatArray) -> float:
    """Share of the network in the quality, by held-out routed score.

    The local average is left only for a paired advantage of at least two standard errors.

    Parameters
    ----------
    local, network : ndarray of shape (n, K)
        Held-out quality by the local average and by the network.
    scores : ndarray of shape (n, K)
        True scores, NaN where not observed.

    Returns
    -------
    float
        One of 0, 0.25, 0.5, 0.75 and 1.
    """
    reference = routed_scores(local, scores)
    return _best_share(
        lambda blend: routed_scores((1 - blend) * local + blend * network, scores) - reference
    )


def choose_share(frozen: FloatArray, own: FloatArray, scores: FloatArray) -> float:
    """Share of a fine-tuned router, beside one on a frozen encoder, by held-out error.

    Parameters
    ----------
    frozen, own : ndarray of shape (n, K)
        Held-out quality by the router on the frozen encoder, and by the fine-tuned one.
    scores : ndarray of shape (n, K)
        True scores, NaN where not observed.

    Returns
    -------
    float
        One of 0, 0.25, 0.5, 0.75 and 1: that which best predicts differences between models; more
        than 0 only for a paired advantage of more than two standard errors.
    """
    before = difference_errors(frozen, scores)
    return _best_share(
        lambda share: before - difference_errors((1 - share) * frozen + share * own, scores)
    )


def _best_share(gains_of: Callable[[float], FloatArray]) -> float:
    """Share of the largest mean gain over a share of 0, by two standard errors at least.

    ``gains_of`` gives the paired gains (n,) of a share, NaN where unknown.
    """
    best, best_gain = 0.0, 0.0
    for share in BLENDS[1:]:
        gains = gains_of(share)
        gains = gains[~np.isnan(gains)]
        if len(gains) < 2:
            continue
        gain = float(gains.mean())
        if gain > max(best_gain, 2 * float(gains.std(ddof=1)) / np.sqrt(len(gains))):
            best, best_gain = share, gain
    return best


def choose_beside_network(
    space: Float32Array,
    network: FloatArray,
    scores: FloatArray,
    held_out: BoolArray,
    seed: int,
    *,
    may_blend: bool = True,
) -> tuple[Mixture | None, float, FloatArray]:
    """Local averages beside a network that was fine-tuned on all prompts but the held-out ones.

    It may rank models well without their scores being on the scale of the true ones; so its share
    is chosen by routed score, and not among the candidates of `choose_quality`.

    Latents of prompts that a network trained on are more certain than latents of new ones; so
    every candidate is judged on the held-out prompts, whether it averages over these (by parts,
    each held out in turn) or over those that the network trained on.

    Parameters
    ----------
    space : ndarray of shape (n, f)
        What the network predicts of the responses.
    network : ndarray of shape (n, K)
        Its own quality.
    scores : ndarray of shape (n, K)
        True scores, NaN where not observed.
    held_out : ndarray of bool, shape (n,)
        Prompts that the network did not train on, v of them.
    seed : int
        Of the clusterings.
    may_blend : bool, default=True
        Whether the network may have a share beside a local average.

    Returns
    -------
    average : Mixture or None
        None where too few prompts are held out to choose any.
    blend : float
        Share of the network; more than 0 only where it routes the held-out prompts better by two
        standard errors, or where there is no local average.
    quality : ndarray of shape (v, K)
        Of the held-out prompts.
    """
    own, truth, known = network[held_out], scores[held_out], scores[~held_out]
    if held_out.sum() < MIN_HELD_OUT or np.isnan(truth).all(axis=0).any():
        return None, 1.0, own
    axes = fit_axes(space, seed)
    projected = project(space, axes)
    part = np.arange(len(space)) % N_PARTS
    outside, inside = part[: len(truth)], part[: len(known)]
    candidates: list[Candidate] = [*local_averages(projected[held_out], truth, outside, seed, axes)]
    if not np.isnan(known).all(axis=0).any():
        for average, _ in local_averages(projected[~held_out], known, inside, seed, axes):
            candidates.append((average, average.predict(space[held_out])))
    mixture, _, local = choose_quality(candidates, truth, outside)
    blend = choose_blend(local, own, truth) if may_blend else 0.0
    return mixture, blend, (1 - blend) * local + blend * own
