"""Local averages of every size and softness, in every space in which prompts may be compared.

n prompts, K models, f dimensions of the space; a of them, or of their principal axes, are compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import PCA

from lookahead_sk._typing import Float32Array, FloatArray, IntArray
from lookahead_sk.routing._local_average._clusters import (
    MIN_PROMPTS,
    SIZES,
    Clusters,
    fit_clusters,
)
from lookahead_sk.routing._local_average._neighbors import Neighbors, fit_neighbors

LocalAverage = Clusters | Neighbors

MAX_AXES = 128
MAX_SAMPLE = 20_000  # prompts that place centres, or that neighbours are looked for among


def weighted_averages(
    space: Float32Array,
    weights: list[Float32Array],
    scores: FloatArray,
    part: IntArray,
    seed: int,
    weight: FloatArray | None = None,
) -> Iterator[tuple[LocalAverage, FloatArray]]:
    """Local averages in several spaces, each made of weighted columns of one.

    Parameters
    ----------
    space : ndarray of shape (n, f)
        Where prompts may be compared; each prompt's own latents are held out.
    weights : list of ndarray of shape (f,)
        Weights of the columns.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    part : ndarray of shape (n,)
        Parts of the prompts, from 0, each of which is held out in turn.
    seed : int
        Of the axes and the clusterings.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Yields
    ------
    (Clusters or Neighbors, ndarray of shape (n, K))
        For new prompts, and the quality of the training prompts, each by the scores of the
        other parts.
    """
    for columns in weights:
        axes = fit_axes(space, seed, columns)
        yield from local_averages(project(space, axes), scores, part, seed, axes, weight)


def local_averages(
    projected: Float32Array,
    scores: FloatArray,
    part: IntArray,
    seed: int,
    axes: Float32Array | None,
    weight: FloatArray | None = None,
) -> Iterator[tuple[LocalAverage, FloatArray]]:
    """Clusters and neighbourhoods of every size that the number of prompts allows.

    Parameters
    ----------
    projected : ndarray of shape (n, a)
        Where prompts are compared, on the axes.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    part : ndarray of shape (n,)
        Parts of the prompts, from 0, each of which is held out in turn.
    seed : int
        Seeds of the clusterings.
    axes : ndarray of shape (f, a) or None
        The axes, for new prompts.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Yields
    ------
    (Clusters or Neighbors, ndarray of shape (n, K))
        For new prompts, and the quality of the training prompts, each by the scores of the
        other parts.
    """
    sample = some_rows(len(scores))
    for size in SIZES:
        if size == 1 or size * MIN_PROMPTS <= len(sample):
            yield from fit_clusters(projected, scores, size, seed, sample, part, axes, weight)
    yield from fit_neighbors(projected, scores, sample, part, axes, weight)


def fit_axes(
    space: Float32Array, seed: int, weights: Float32Array | None = None
) -> Float32Array | None:
    """Principal axes (f, 128) of a space of more dimensions, after its columns were weighted.

    None where there are fewer dimensions, all of the same weight.
    """
    if weights is None:
        weights = np.ones(space.shape[1], dtype=np.float32)
    used = weights > 0
    n_used = int(used.sum())
    if n_used <= MAX_AXES:
        is_plain = bool((weights == 1).all())
        return None if is_plain else np.ascontiguousarray(np.diag(weights)[:, used])
    sample = space[some_rows(len(space))][:, used] * weights[used]
    pca = PCA(min(MAX_AXES, *sample.shape), random_state=seed).fit(sample)
    axes = np.zeros((space.shape[1], pca.n_components_), dtype=np.float32)
    axes[used] = weights[used, None] * pca.components_.T
    return axes


def project(space: Float32Array, axes: Float32Array | None) -> Float32Array:
    """The space (n, a) on the axes; as it is where there are none."""
    return space if axes is None else space @ axes


def some_rows(n: int) -> IntArray:
    """All of n rows, or a random 20,000 of them, in order; always the same ones."""
    if n <= MAX_SAMPLE:
        return np.arange(n)
    return np.sort(np.random.RandomState(0).choice(n, MAX_SAMPLE, replace=False))
