"""Scores averaged over soft clusters of prompts whose responses are predicted to be alike.

Within a cluster the observed scores are averaged and shrunk towards the overall mean: with scores
as noisy as one sampled answer, a local mean beats a flexible regression. The cluster baseline
(`lookahead_sk.baselines.ClusterRouter`) stands on the same memberships and means.

==  ==========================================================================
z   (n, f) predicted responses of all models and features of the prompt, one row a prompt
y   (n, K) scores, NaN where not observed
U   (c, f) centres of the clusters of one clustering
W   (n, c) memberships, rows sum to 1
v   (n, K) weights of the cells, 0 where not observed; 1 where none are given
==  ==========================================================================

quality_k(x) = sum_c W_c(x) (sum_i W_ic v_ik y_ik + kappa ybar_k) / (sum_i W_ic v_ik + kappa)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from lookahead_sk._typing import Float32Array, FloatArray, IntArray
from lookahead_sk.routing._local_average._cells import observed_weights

N_RESTARTS = 4  # clusterings of each size; their averages are averaged
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # numbers of clusters
MIN_PROMPTS = 4  # in a cluster, on average
SHRINKAGE = 5.0
_BLOCK = 16_384  # prompts whose memberships are held at a time: 64 MB


def model_means(
    scores: FloatArray, weights: FloatArray, weight: FloatArray | None = None
) -> FloatArray:
    """Mean of every model's observed scores, (K,), by weights of prompts (n,) and cells (n, K)."""
    cells = observed_weights(scores, weight)
    means: FloatArray = (weights @ (cells * np.nan_to_num(scores))) / (weights @ cells)
    return means


def memberships(squared: Float32Array | FloatArray, temperature: float | None) -> FloatArray:
    """Share of every cluster in every prompt, (n, c), from squared distances to the centres.

    Without a temperature a prompt belongs to its nearest centre alone; with one, the shares are
    softmax(-distance / temperature).
    """
    if temperature is None:
        return np.eye(squared.shape[1])[squared.argmin(axis=1)]
    shares = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / temperature)
    normalised: FloatArray = shares / shares.sum(axis=1, keepdims=True)
    return normalised


def cluster_sums(
    weights: FloatArray, scores: FloatArray, weight: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Sums of the observed scores and of their weights (n, K), (c, K), by memberships (n, c)."""
    cells = observed_weights(scores, weight)
    return weights.T @ (cells * np.nan_to_num(scores)), weights.T @ cells


def shrunken_means(
    totals: FloatArray, counts: FloatArray, overall: FloatArray, shrinkage: float
) -> FloatArray:
    """Means (c, K) with ``shrinkage`` prompts of the overall mean (K,) added to every cluster."""
    sums, numbers = totals + shrinkage * overall, counts + shrinkage
    means: FloatArray = np.where(numbers > 0, sums / np.where(numbers > 0, numbers, 1.0), overall)
    return means


@dataclass
class Clusters:
    """Hard or soft clusterings, and the sums of scores of their clusters.

    Attributes
    ----------
    axes : ndarray of shape (f, a) or None
        Projection of the space, when it has too many dimensions.
    centers : list of ndarray of shape (c, a)
        Centres of each clustering.
    temperatures : list of float or None
        Softness of each clustering, in squared distance; None where a prompt belongs to its
        nearest cluster alone.
    totals, counts : list of ndarray of shape (c, K)
        Sum of the scores, and weight of the observed ones, of each cluster, by membership.
    total, count : ndarray of shape (K,)
        The same of all prompts.
    shrinkage : float
        How many prompts of average score are added to every cluster.
    """

    axes: Float32Array | None
    centers: list[Float32Array]
    temperatures: list[float | None]
    totals: list[FloatArray]
    counts: list[FloatArray]
    total: FloatArray
    count: FloatArray
    shrinkage: float

    @property
    def n_models(self) -> int:
        """Number of models, K."""
        return len(self.total)

    @property
    def n_averaged(self) -> float:
        """How many candidates of the choice these clusterings are."""
        return len(self.centers) / N_RESTARTS

    def joined(self, other: Self) -> Self:
        """These clusterings and others of the same space."""
        return replace(
            self,
            centers=self.centers + other.centers,
            temperatures=self.temperatures + other.temperatures,
            totals=self.totals + other.totals,
            counts=self.counts + other.counts,
        )

    def _project(self, space: Float32Array) -> Float32Array:
        return space if self.axes is None else space @ self.axes

    def predict(self, space: Float32Array) -> FloatArray:
        """Mean scores (n, K) of the clusters that the prompts belong to."""
        overall = self.total / np.maximum(self.count, 1e-12)
        tables = [
            shrunken_means(totals, counts, overall, self.shrinkage)
            for totals, counts in zip(self.totals, self.counts, strict=True)
        ]
        blocks = []
        for rows in _blocks(len(space)):
            z = self._project(space[rows])
            parts = [
                memberships(_squared_distances(z, centers), temperature) @ table
                for centers, temperature, table in zip(
                    self.centers, self.temperatures, tables, strict=True
                )
            ]
            blocks.append(np.mean(parts, axis=0))
        return np.concatenate(blocks)

    def updated(self, space: Float32Array, scores: FloatArray) -> Self:
        """These clusters with more prompts (n, f) in them, and their scores (n, K)."""
        z = self._project(space)
        totals, counts = [], []
        for i, (centers, temperature) in enumerate(
            zip(self.centers, self.temperatures, strict=True)
        ):
            weights = _Memberships(z, centers, temperature)
            total, count = weights.sums(scores, np.zeros(len(z), dtype=np.intp))
            totals.append(self.totals[i] + total[0])
            counts.append(self.counts[i] + count[0])
        total, count = cluster_sums(np.ones((len(scores), 1)), scores)
        return replace(
            self,
            totals=totals,
            counts=counts,
            total=self.total + total[0],
            count=self.count + count[0],
        )

    def emptied(self) -> Self:
        """The same clusters for another model, of which no score has been seen."""
        nothing = [np.zeros((len(centers), 1)) for centers in self.centers]
        return replace(self, totals=nothing, counts=nothing, total=np.zeros(1), count=np.zeros(1))

    def zeroed(self) -> Self:
        """The same clusters and prompts, all scores 0: residuals before any feedback."""
        return replace(
            self, totals=[0 * total for total in self.totals], total=np.zeros_like(self.total)
        )


def single_cluster(width: int, counts: FloatArray) -> Clusters:
    """A single cluster of all prompts, of which counts (K,) were observed, with scores 0."""
    center = np.zeros((1, width), dtype=np.float32)
    nothing = np.zeros((1, len(counts)))
    return Clusters(None, [center], [None], [nothing], [counts[None]], nothing[0], counts, 0.0)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, max(n, 1), _BLOCK)]


class _Memberships:
    """Memberships (n, c) of prompts in clusters, block by block; a single block is kept."""

    def __init__(self, z: Float32Array, centers: Float32Array, temperature: float | None) -> None:
        self.z, self.centers, self.temperature = z, centers, temperature
        self.kept: FloatArray | None = None

    def __iter__(self) -> Iterator[tuple[slice, FloatArray]]:
        blocks = _blocks(len(self.z))
        for rows in blocks:
            weights = self.kept
            if weights is None:
                squared = _squared_distances(self.z[rows], self.centers)
                found = memberships(squared, self.temperature)
                weights = found.astype(np.float64)
            if len(blocks) == 1:
                self.kept = weights
            yield rows, weights

    def sums(
        self, scores: FloatArray, part: IntArray, weight: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Sums of the scores and of their weights, (p, c, K), of every part of the prompts."""
        cells = observed_weights(scores, weight)
        is_plain = weight is None and bool(cells.all())
        n_parts = int(part.max()) + 1
        shape = (len(self.centers), n_parts, scores.shape[1])
        totals, counts = np.zeros(shape), np.zeros(shape)
        for rows, weights in self:
            inside = np.eye(n_parts)[part[rows]]
            filled = cells[rows] * np.nan_to_num(scores[rows])
            totals += (weights.T @ _by_part(inside, filled)).reshape(shape)
            columns = inside if is_plain else _by_part(inside, cells[rows])
            counts += (weights.T @ columns).reshape(len(self.centers), n_parts, -1)
        return totals.swapaxes(0, 1), counts.swapaxes(0, 1)

    def held_out(self, means: FloatArray, part: IntArray) -> FloatArray:
        """Each prompt's quality (n, K) by means (p, c, K) without its own part."""
        columns = means.swapaxes(0, 1).reshape(means.shape[1], -1)
        quality = []
        for rows, weights in self:
            every = (weights @ columns).reshape(len(weights), *means.shape[::2])
            quality.append(every[np.arange(len(weights)), part[rows]])
        return np.concatenate(quality)


def _by_part(inside: FloatArray, values: FloatArray) -> FloatArray:
    """Values (n, K) in the columns of the part (n, p) that a prompt is in, else 0: (n, p * K)."""
    columns: FloatArray = (inside[:, :, None] * values[:, None, :]).reshape(len(values), -1)
    return columns


def _squared_distances(z: Float32Array, centers: Float32Array) -> Float32Array:
    # |z|^2 is the same for all centres of a prompt and drops out of the memberships.
    return (centers**2).sum(axis=1) - 2.0 * (z @ centers.T)


def _temperatures(z: Float32Array, centers: Float32Array) -> tuple[float | None, ...]:
    """Hard, nearly hard and soft: 0.1 of the distance to the nearest, 0.7 of the gap to the next.

    Distances are squared; that to the nearest centre is a mean over prompts, the gap from there to
    the second nearest a median.
    """
    if len(centers) == 1:
        return (None,)
    squared = _squared_distances(z, centers)
    nearest = np.partition(squared, 1, axis=1)[:, :2]
    distance = float((nearest[:, 0] + (z**2).sum(axis=1)).mean())
    gap = float(np.median(nearest[:, 1] - nearest[:, 0]))
    return None, max(0.1 * distance, 1e-12), max(0.7 * gap, 1e-12)


def fit_clusters(
    projected: Float32Array,
    scores: FloatArray,
    n_clusters: int,
    seed: int,
    sample: IntArray,
    part: IntArray,
    axes: Float32Array | None = None,
    weight: FloatArray | None = None,
) -> list[tuple[Clusters, FloatArray]]:
    """Cluster prompts by their predicted responses and average the scores of every cluster.

    Parameters
    ----------
    projected : ndarray of shape (n, a)
        Predicted responses of the training prompts, each by members that did not train on it, on
        the axes.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    n_clusters : int
        Number of clusters, at most n.
    seed : int
        Seeds of the clusterings.
    sample : ndarray of int
        Rows that place the centres.
    part : ndarray of shape (n,)
        Parts of the prompts, from 0, each of which is held out in turn.
    axes : ndarray of shape (f, a), optional
        The axes, for new prompts; None where the space was not projected.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Returns
    -------
    list of (Clusters, ndarray of shape (n, K))
        One for each softness: clusters for new prompts, and the quality of the training prompts,
        each by the scores of the other parts.

    Notes
    -----
    Time is linear in n: 10 Lloyd iterations on the sample, 4 clusterings. Memory beside the data
    does not grow.
    """
    total, count = cluster_sums(np.ones((len(scores), 1)), scores, weight)
    overall = total[0] / count[0]
    found: dict[int, tuple[Clusters, list[FloatArray]]] = {}
    some = projected[sample]
    for restart in range(N_RESTARTS):
        centers = _place_centers(some, n_clusters, seed + restart)
        for i, temperature in enumerate(_temperatures(some, centers)):
            weights = _Memberships(projected, centers, temperature)
            parts_total, parts_count = weights.sums(scores, part, weight)
            totals, counts = parts_total.sum(axis=0), parts_count.sum(axis=0)
            new = Clusters(
                axes, [centers], [temperature], [totals], [counts], total[0], count[0], SHRINKAGE
            )
            others = totals - parts_total, np.maximum(counts - parts_count, 0)
            means = shrunken_means(*others, overall, SHRINKAGE)
            held_out = weights.held_out(means, part)
            clusters, parts = found.get(i, (None, []))
            found[i] = (new if clusters is None else clusters.joined(new), [*parts, held_out])
    return [(clusters, np.mean(parts, axis=0)) for clusters, parts in found.values()]


def _place_centers(z: Float32Array, n_clusters: int, seed: int) -> Float32Array:
    model = KMeans(n_clusters, init="random", n_init=1, max_iter=10, random_state=seed)
    with warnings.catch_warnings():
        # Identical prompts make fewer distinct points than clusters; empty ones do no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit(z).cluster_centers_, dtype=np.float32)
