"""Quality by kinds of prompt: local averages over soft clusters in the space of foreseen responses.

Prompts are grouped by what the models are expected to answer, not by what they ask. Within a kind
the observed scores are averaged and shrunk towards the overall mean: with scores as noisy as one
sampled answer, a local mean beats a flexible regression (see ``docs/routing.md``).

==  ==========================================================================
z   (n, f) foreseen responses of all models and features of the prompt, one row a prompt
y   (n, K) scores, NaN where not observed
U   (c, f) centres of the kinds of one clustering
W   (n, c) memberships, rows sum to 1
==  ==========================================================================

quality_k(x) = sum_c W_c(x) (sum_i W_ic y_ik + kappa ybar_k) / (sum_i W_ic + kappa)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from lookahead_sk.routing._axes import project, some_rows

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

N_RESTARTS = 4  # clusterings of each size; their averages are averaged
MAX_KINDS = 512
MAX_CLUSTERED = 20_000  # prompts that place the centres: forty for each of the most kinds
_BLOCK = 16_384  # prompts whose memberships are held at a time: 64 MB


class Grain(NamedTuple):
    """How fine kinds are: prompts in a kind, for each size of clustering, and kappa."""

    prompts_per_kind: tuple[int, ...]
    shrinkage: float


# From noisy scores, where only large kinds can be trusted, to scores that follow the prompt; where
# they follow it closely, `_neighbours` takes over.
GRAINS = (Grain((160, 80, 40), 5.0), Grain((40, 20, 10), 2.0))


@dataclass
class Kinds:
    """Soft clusterings and the sums of scores of their kinds.

    Attributes
    ----------
    axes : ndarray of shape (f, a) or None
        Projection of the foreseen responses, when there are too many of them.
    centers : list of ndarray of shape (c, a)
        Centres of each clustering.
    temperatures : list of float
        Softness of each clustering, in squared distance.
    totals, counts : list of ndarray of shape (c, K)
        Sum of the scores, and number of the observed ones, of each kind, by membership.
    total, count : ndarray of shape (K,)
        The same of all prompts.
    shrinkage : float
        How many prompts of average score a kind is believed to have beside its own.
    """

    axes: Floats32 | None
    centers: list[Floats32]
    temperatures: list[float]
    totals: list[Floats]
    counts: list[Floats]
    total: Floats
    count: Floats
    shrinkage: float

    def predict(self, foreseen: Floats32) -> Floats:
        """Mean scores (n, K) of the kinds that the prompts belong to."""
        prior = self.shrinkage * (self.total / np.maximum(self.count, 1e-12))
        tables = [
            (totals + prior) / (counts + self.shrinkage)
            for totals, counts in zip(self.totals, self.counts, strict=True)
        ]
        blocks = []
        for rows in _blocks(len(foreseen)):
            z = project(foreseen[rows], self.axes)
            parts = [
                _memberships(z, centers, temperature) @ table
                for centers, temperature, table in zip(
                    self.centers, self.temperatures, tables, strict=True
                )
            ]
            blocks.append(np.mean(parts, axis=0))
        return np.concatenate(blocks)

    def updated(self, foreseen: Floats32, scores: Floats) -> Self:
        """These kinds with more prompts (n, f) in them, and their scores (n, K)."""
        z = project(foreseen, self.axes)
        totals, counts = [], []
        for i, (centers, temperature) in enumerate(
            zip(self.centers, self.temperatures, strict=True)
        ):
            total, count = _Memberships(z, centers, temperature).sums(scores)
            totals.append(self.totals[i] + total)
            counts.append(self.counts[i] + count)
        total, count = _sums(np.ones((len(scores), 1)), scores)
        return replace(
            self,
            totals=totals,
            counts=counts,
            total=self.total + total[0],
            count=self.count + count[0],
        )

    def like(self) -> Self:
        """The same kinds for another model, of which no score has been seen."""
        nothing = [np.zeros((len(centers), 1)) for centers in self.centers]
        return replace(self, totals=nothing, counts=nothing, total=np.zeros(1), count=np.zeros(1))

    def cleared(self) -> Self:
        """The same kinds and prompts, all scores 0: what is told of residuals at the beginning."""
        return replace(
            self, totals=[0 * total for total in self.totals], total=np.zeros_like(self.total)
        )


def one_kind(width: int, counts: Floats) -> Kinds:
    """A single kind of all prompts, of which counts (K,) were observed, with scores 0."""
    center = np.zeros((1, width), dtype=np.float32)
    nothing = np.zeros((1, len(counts)))
    return Kinds(None, [center], [1.0], [nothing], [counts[None]], nothing[0], counts, 0.0)


def _memberships(z: Floats32, centers: Floats32, temperature: float) -> Floats32:
    squared = _squared_distances(z, centers)
    squared -= squared.min(axis=1, keepdims=True)
    weights = np.exp(-squared / temperature)
    return weights / weights.sum(axis=1, keepdims=True)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, max(n, 1), _BLOCK)]


class _Memberships:
    """Memberships (n, c) of prompts in kinds, block by block; a single block is kept."""

    def __init__(self, z: Floats32, centers: Floats32, temperature: float) -> None:
        self.z, self.centers, self.temperature = z, centers, temperature
        self.kept: Floats | None = None

    def __iter__(self) -> Iterator[tuple[slice, Floats]]:
        blocks = _blocks(len(self.z))
        for rows in blocks:
            weights = self.kept
            if weights is None:
                found = _memberships(self.z[rows], self.centers, self.temperature)
                weights = found.astype(np.float64)
            if len(blocks) == 1:
                self.kept = weights
            yield rows, weights

    def sums(self, scores: Floats) -> tuple[Floats, Floats]:
        """Sums of the scores and of their numbers, (c, K)."""
        parts = [_sums(weights, scores[rows]) for rows, weights in self]
        total, count = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
        return total, count

    def held_out(self, scores: Floats, total: Floats, count: Floats) -> Floats:
        """Each prompt's quality without its own score (n, K)."""
        parts = [_held_out(weights, scores[rows], total, count) for rows, weights in self]
        return np.concatenate(parts)


def _squared_distances(z: Floats32, centers: Floats32) -> Floats32:
    # |z|^2 is the same for all centres of a prompt and drops out of the memberships.
    return (centers**2).sum(axis=1) - 2.0 * (z @ centers.T)


def _softness(z: Floats32, centers: Floats32) -> float:
    """0.7 of the median gap between the nearest and the second nearest centre."""
    squared = _squared_distances(z, centers)
    nearest = np.partition(squared, 1, axis=1)[:, :2] if len(centers) > 1 else squared
    gap = float(np.median(nearest[:, -1] - nearest[:, 0]))
    return max(0.7 * gap, 1e-12)


def fit_kinds(
    projected: Floats32, scores: Floats, grain: Grain, seed: int, axes: Floats32 | None = None
) -> tuple[Kinds, Floats]:
    """Cluster the foreseen responses and average the scores of every kind.

    Parameters
    ----------
    projected : ndarray of shape (n, a)
        Foreseen responses of the training prompts, each by members that did not train on it, on
        the axes.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    grain : Grain
        How fine the kinds are.
    seed : int
        Seeds of the clusterings.
    axes : ndarray of shape (f, a), optional
        The axes, for new prompts; None where the responses were not projected.

    Returns
    -------
    kinds : Kinds
        For new prompts.
    held_out : ndarray of shape (n, K)
        Quality of the training prompts, each without its own score.

    Notes
    -----
    Time is linear in n: at most 512 kinds, 10 Lloyd iterations on at most 20,000 prompts, 12
    clusterings. Memory beside the data does not grow.
    """
    total, count = _sums(np.ones((len(scores), 1)), scores)
    kinds = Kinds(axes, [], [], [], [], total[0], count[0], grain.shrinkage)
    held_out: list[Floats] = []
    sizes = {min(MAX_KINDS, max(2, round(len(scores) / s))) for s in grain.prompts_per_kind}
    some = projected[some_rows(len(projected), MAX_CLUSTERED)]
    for n_kinds in sorted(min(size, len(scores)) for size in sizes):
        for restart in range(N_RESTARTS):
            centers = _cluster(some, n_kinds, seed + restart)
            temperature = _softness(some, centers)
            weights = _Memberships(projected, centers, temperature)
            totals, counts = weights.sums(scores)
            kinds.centers.append(centers)
            kinds.temperatures.append(temperature)
            kinds.totals.append(totals)
            kinds.counts.append(counts)
            prior = grain.shrinkage * (kinds.total / kinds.count)
            held_out.append(weights.held_out(scores, totals + prior, counts + grain.shrinkage))
    return kinds, np.mean(held_out, axis=0)


def _cluster(z: Floats32, n_kinds: int, seed: int) -> Floats32:
    model = KMeans(n_kinds, init="random", n_init=1, max_iter=10, random_state=seed)
    with warnings.catch_warnings():
        # Identical prompts make fewer distinct points than kinds; empty kinds do no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit(z).cluster_centers_, dtype=np.float32)


def _sums(weights: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Sums of the observed scores and of their numbers, (c, K), by memberships (n, c)."""
    is_observed = ~np.isnan(scores)
    return weights.T @ np.where(is_observed, scores, 0.0), weights.T @ is_observed


def _held_out(weights: Floats, scores: Floats, total: Floats, count: Floats) -> Floats:
    """Each prompt's quality without its own score (n, K); the sums have their prior in them."""
    is_observed = ~np.isnan(scores)
    filled = np.where(is_observed, scores, 0.0)
    if is_observed.all():  # the counts of all models are alike: one ratio serves them all
        ratio = weights / (count[:, 0] - weights)
        own: Floats = ratio @ total - (ratio * weights).sum(axis=1, keepdims=True) * filled
        return own
    own = np.empty_like(filled)
    for k in range(scores.shape[1]):
        self_weight = weights * is_observed[:, k, None]
        without = total[:, k] - self_weight * filled[:, k, None]
        own[:, k] = (weights * without / (count[:, k] - self_weight)).sum(axis=1)
    return own
