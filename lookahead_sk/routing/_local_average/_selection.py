"""What is chosen on held-out prompts: a local average, the share of a network, a temperature.

n prompts, K models, f dimensions of the space in which prompts are compared. A local
average is chosen by the error that routing is sensitive to: of differences between models, not of
levels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.decomposition import PCA

from lookahead_sk._typing import BoolArray, Float32Array, FloatArray, IntArray
from lookahead_sk.routing._local_average._clusters import GRANULARITIES, Clusters, fit_clusters
from lookahead_sk.routing._local_average._neighbors import Neighbors, fit_neighbors

LocalAverage = Clusters | Neighbors

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
MAX_AXES = 128
MAX_SAMPLE = 20_000  # prompts that place centres, or that neighbours are looked for among
MIN_HELD_OUT = 20  # below, no choice between a local average and the network means anything


def difference_error(quality: FloatArray, Y: FloatArray, w: FloatArray) -> float:
    """Weighted mean over prompts of the squared errors of centred qualities.

    Parameters
    ----------
    quality : ndarray of shape (n, K)
        Predicted scores.
    Y : ndarray of shape (n, K)
        Scores, NaN where not observed. Both are centred over the observed models of each prompt.
    w : ndarray of shape (n,)
        Weights of the prompts.

    Returns
    -------
    float
        Up to the factor K, the mean over pairs of models of the squared error of their difference.
    """
    seen = ~np.isnan(Y)
    errors = np.sum((_centred(quality, seen) - _centred(Y, seen)) ** 2, axis=1)
    return float(np.average(errors, weights=w)) if w.sum() > 0 else 0.0


def _centred(values: FloatArray, seen: BoolArray) -> FloatArray:
    """Values minus their mean over the observed models of each prompt; 0 where not observed."""
    filled = np.where(seen, values, 0.0)
    means = filled.sum(axis=-1, keepdims=True) / np.maximum(seen.sum(axis=-1, keepdims=True), 1)
    return np.where(seen, values - means, 0.0)


def routed_scores(quality: FloatArray, scores: FloatArray) -> FloatArray:
    """Score of the model that the quality would choose, NaN where not observed."""
    return scores[np.arange(len(scores)), quality.argmax(axis=1)]


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
    best, best_gain = 0.0, 0.0
    for blend in BLENDS[1:]:
        gains = routed_scores((1 - blend) * local + blend * network, scores) - reference
        gains = gains[~np.isnan(gains)]
        if len(gains) < 2:
            continue
        gain = float(gains.mean())
        if gain > max(best_gain, 2 * float(gains.std(ddof=1)) / np.sqrt(len(gains))):
            best, best_gain = blend, gain
    return best


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


def choose_local_average(
    spaces: Iterable[Float32Array], scores: FloatArray, seed: int
) -> tuple[int, LocalAverage, FloatArray]:
    """The local average, and the space, that best predict which model scores higher.

    Parameters
    ----------
    spaces : iterable of ndarray of shape (n, f)
        Where prompts may be compared; each prompt's own latents are held out.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    seed : int
        Of the axes and the clusterings.

    Returns
    -------
    number : int
        Which of the spaces.
    average : Clusters or Neighbors
        For new prompts.
    held_out : ndarray of shape (n, K)
        Quality of the training prompts, each without its own score.
    """
    candidates: list[tuple[float, int, LocalAverage, FloatArray]] = []
    for number, space in enumerate(spaces):
        axes = fit_axes(space, seed)
        for average, held_out in local_averages(project(space, axes), scores, seed, axes):
            error = difference_error(held_out, scores, np.ones(len(scores)))
            candidates.append((error, number, average, held_out))
    _, number, average, held_out = min(candidates, key=lambda candidate: candidate[0])
    return number, average, held_out


def choose_beside_network(
    space: Float32Array, network: FloatArray, scores: FloatArray, held_out: BoolArray, seed: int
) -> tuple[LocalAverage | None, float, FloatArray]:
    """A local average beside a network that was trained on all prompts but the held-out ones.

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

    Returns
    -------
    average : Clusters, Neighbors or None
        None where too few prompts are held out to choose any.
    blend : float
        Share of the network; more than 0 only where it routes the held-out prompts better by two
        standard errors, or where there is no local average.
    quality : ndarray of shape (v, K)
        Of the held-out prompts.
    """
    own = network[held_out]
    is_known = ~np.isnan(scores[held_out]).all(axis=0)
    if held_out.sum() < MIN_HELD_OUT or not is_known.all():
        return None, 1.0, own
    average, local = judged_on_held_out(space, scores, held_out, seed)
    blend = choose_blend(local, own, scores[held_out])
    quality = (1 - blend) * local + blend * own
    return average, blend, quality


def judged_on_held_out(
    space: Float32Array, scores: FloatArray, held_out: BoolArray, seed: int
) -> tuple[LocalAverage, FloatArray]:
    """The local average with the smallest error on held-out prompts, and its quality (v, K).

    Latents of prompts that a network trained on are more certain than latents of new ones; so
    every candidate is judged on the held-out prompts, whether it averages over these (each judged
    without its own score) or over those that the network trained on.
    """
    axes = fit_axes(space, seed)
    projected = project(space, axes)
    inside, outside = projected[~held_out], projected[held_out]
    known, truth = scores[~held_out], scores[held_out]
    candidates = local_averages(outside, truth, seed, axes)
    if not np.isnan(known).all(axis=0).any():
        trained = local_averages(inside, known, seed, axes)
        candidates += [(average, average.predict(space[held_out])) for average, _ in trained]
    weight = np.ones(len(truth))
    errors = [difference_error(local, truth, weight) for _, local in candidates]
    average, local = candidates[int(np.argmin(errors))]
    return average, local


def local_averages(
    projected: Float32Array, scores: FloatArray, seed: int, axes: Float32Array | None
) -> list[tuple[LocalAverage, FloatArray]]:
    """Clusters of two granularities, and neighbours where there are prompts enough.

    Parameters
    ----------
    projected : ndarray of shape (n, a)
        Where prompts are compared, on the axes.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    seed : int
        Seeds of the clusterings.
    axes : ndarray of shape (f, a) or None
        The axes, for new prompts.

    Returns
    -------
    list of (Clusters or Neighbors, ndarray of shape (n, K))
        For new prompts, and the quality of the training prompts, each without its own score.
    """
    sample = some_rows(len(scores))
    found: list[tuple[LocalAverage, FloatArray]] = []
    for granularity in GRANULARITIES:
        found.append(fit_clusters(projected, scores, granularity, seed, sample, axes))
    neighbors = fit_neighbors(projected, scores, sample, axes)
    return found if neighbors is None else [*found, neighbors]


def fit_axes(space: Float32Array, seed: int) -> Float32Array | None:
    """Principal axes (f, 128) of a space of more dimensions; None where there are fewer."""
    if space.shape[1] <= MAX_AXES:
        return None
    pca = PCA(min(MAX_AXES, *space.shape), random_state=seed).fit(space)
    return pca.components_.T.astype(np.float32)


def project(space: Float32Array, axes: Float32Array | None) -> Float32Array:
    """The space (n, a) on the axes; as it is where there are none."""
    return space if axes is None else space @ axes


def some_rows(n: int) -> IntArray:
    """All of n rows, or a random 20,000 of them, in order; always the same ones."""
    if n <= MAX_SAMPLE:
        return np.arange(n)
    return np.sort(np.random.RandomState(0).choice(n, MAX_SAMPLE, replace=False))
