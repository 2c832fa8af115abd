"""Scores averaged over the nearest training prompts in the space of predicted responses.

Where scores follow the prompt closely, the few prompts whose responses are predicted to be most
alike say more than the mean of a cluster (`_clusters`), which is for noisy scores. The
nearest-neighbour baseline (`lookahead_sk.baselines.KNNRouter`) takes the same means.

==  ==========================================================================
z   (n, a) predicted responses and features of the training prompts, on the axes
y   (n, K) scores, NaN where not observed
v   (n, K) weights of the cells, 0 where not observed; 1 where none are given
==  ==========================================================================

quality_k(x) = (sum_{i in N(x)} v_ik y_ik + kappa ybar_k) / (sum_{i in N(x)} v_ik + kappa),
averaged over neighbourhoods N of several sizes: one size alone is a noisy choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from lookahead_sk._typing import Float32Array, FloatArray, IntArray
from lookahead_sk.routing._local_average._cells import mean_scores, observed_weights, rows_of

SIZES = (3, 6, 12, 25, 50, 100, 200, 400)
SHRINKAGE = 0.5
_CHUNK = 2_000_000  # distances at a time: 8 MB
_BLOCK = 204_800  # neighbours whose scores are looked up at a time: 10 MB with 6 models


def neighbor_means(
    scores: FloatArray,
    near: IntArray,
    sizes: IntArray,
    overall: FloatArray,
    shrinkage: float = 0.0,
    weight: FloatArray | None = None,
) -> FloatArray:
    """Mean scores over the k nearest neighbours, for several k at once.

    Parameters
    ----------
    scores : ndarray of shape (n, K)
        Of the training prompts, NaN where not observed.
    near : ndarray of shape (m, k_max)
        Training rows of each query's neighbours, the nearest first.
    sizes : ndarray of shape (A,)
        Numbers of neighbours, each at most k_max.
    overall : ndarray of shape (K,)
        What a mean is shrunk to, and what a model gets that no neighbour observed.
    shrinkage : float, default=0.0
        How many prompts of the overall mean are added to every neighbourhood.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Returns
    -------
    ndarray of shape (A, m, K)
        One table of means for each size.
    """
    cells = observed_weights(scores, weight)
    filled = cells * np.nan_to_num(scores)
    quality = np.empty((len(sizes), len(near), scores.shape[1]))
    block = max(1, _BLOCK // near.shape[1])
    for start in range(0, len(near), block):
        rows = near[start : start + block]
        sums = np.cumsum(filled[rows], axis=1)[:, sizes - 1] + shrinkage * overall  # (m, A, K)
        counts = np.cumsum(cells[rows], axis=1)[:, sizes - 1] + shrinkage
        means = np.where(counts > 0, sums / np.where(counts > 0, counts, 1.0), overall)
        quality[:, start : start + block] = means.transpose(1, 0, 2)
    return quality


@dataclass
class Neighbors:
    """The training prompts, as far as nearest neighbours need them.

    Attributes
    ----------
    axes : ndarray of shape (f, a) or None
        Projection of the space, when it has too many dimensions.
    points : ndarray of shape (n, a)
        Training prompts.
    scores : ndarray of shape (n, K)
        Their scores, NaN where not observed.
    sizes : tuple of int
        Sizes of the neighbourhoods.
    weight : ndarray of shape (n, K) or None
        How much every cell counts; None where all count alike.
    """

    axes: Float32Array | None
    points: Float32Array
    scores: FloatArray
    sizes: tuple[int, ...]
    weight: FloatArray | None = None

    @property
    def n_models(self) -> int:
        """Number of models, K."""
        return int(self.scores.shape[1])

    @property
    def n_averaged(self) -> float:
        """How many candidates of the choice these neighbourhoods are."""
        return float(len(self.sizes))

    def joined(self, other: Self) -> Self:
        """These neighbourhoods and others of the same prompts."""
        return replace(self, sizes=self.sizes + other.sizes)

    def _project(self, space: Float32Array) -> Float32Array:
        return space if self.axes is None else space @ self.axes

    def predict(self, space: Float32Array) -> FloatArray:
        """Shrunken mean scores (n, K) of the nearest training prompts."""
        sizes = tuple(min(size, len(self.points)) for size in self.sizes)
        near = _nearest(self._project(space), self.points, max(sizes))
        quality: FloatArray = _averages(self, near, sizes).mean(axis=0)
        return quality

    def updated(self, space: Float32Array, scores: FloatArray) -> Self:
        """These prompts and more of them (n, f), with their scores (n, K)."""
        points = np.concatenate([self.points, self._project(space)])
        weight = self.weight
        if weight is not None:
            weight = np.concatenate([weight, np.ones(scores.shape)])
        known = np.concatenate([self.scores, scores])
        return replace(self, points=points, scores=known, weight=weight)

    def emptied(self) -> Self:
        """The same space for another model, of which no score has been seen."""
        return replace(self, points=self.points[:0], scores=np.empty((0, 1)), weight=None)

    def zeroed(self) -> Self:
        """The same prompts, all scores 0: residuals before any feedback."""
        return replace(self, scores=0 * self.scores)


def _nearest(z: Float32Array, points: Float32Array, k: int) -> IntArray:
    """Rows of the k nearest points in order of distance, (n, k)."""
    norms = (points**2).sum(axis=1)
    rows = max(1, _CHUNK // len(points))
    parts = []
    for start in range(0, len(z), rows):
        squared = norms - 2.0 * (z[start : start + rows] @ points.T)
        near = np.argpartition(squared, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(squared, near, axis=1).argsort(axis=1, kind="stable")
        parts.append(np.take_along_axis(near, order, axis=1))
    return np.concatenate(parts)


def _averages(known: Neighbors, near: IntArray, sizes: tuple[int, ...]) -> FloatArray:
    """Shrunken means for every size, (A, n, K)."""
    overall = mean_scores(known.scores, known.weight)
    return neighbor_means(known.scores, near, np.array(sizes), overall, SHRINKAGE, known.weight)


def fit_neighbors(
    projected: Float32Array,
    scores: FloatArray,
    sample: IntArray,
    part: IntArray,
    axes: Float32Array | None = None,
    weight: FloatArray | None = None,
) -> list[tuple[Neighbors, FloatArray]]:
    """Neighbourhoods of several sizes, and their quality on prompts held out.

    Parameters
    ----------
    projected : ndarray of shape (n, a)
        Predicted responses of the training prompts, each by members that did not train on it, on
        the axes.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    sample : ndarray of int
        Rows that may be neighbours.
    part : ndarray of shape (n,)
        Parts of the prompts, from 0, each of which is held out in turn.
    axes : ndarray of shape (f, a), optional
        The axes, for new prompts; None where the space was not projected.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Returns
    -------
    list of (Neighbors, ndarray of shape (n, K))
        One for each size: neighbourhoods for new prompts, and the quality of the training prompts,
        each by the scores of the other parts. Empty where there are too few prompts.

    Notes
    -----
    Time grows with n times the size of the sample, in matrix products: half a second for 10,000
    prompts on one core.
    """
    fewest = len(sample) - int(np.bincount(part[sample]).max())
    sizes = tuple(k for k in SIZES if k <= fewest)
    if not sizes or np.isnan(scores[sample]).all(axis=0).any():
        return []
    held_out = np.empty((len(sizes), *scores.shape))
    overall = mean_scores(scores[sample], rows_of(weight, sample))
    for number in range(int(part.max()) + 1):
        rows, others = part == number, sample[part[sample] != number]
        near = _nearest(projected[rows], projected[others], max(sizes))
        held_out[:, rows] = neighbor_means(
            scores[others], near, np.array(sizes), overall, SHRINKAGE, rows_of(weight, others)
        )
    known = Neighbors(axes, projected[sample], scores[sample], sizes, rows_of(weight, sample))
    return [(replace(known, sizes=(k,)), held_out[i]) for i, k in enumerate(sizes)]
