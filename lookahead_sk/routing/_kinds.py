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
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from lookahead_sk.routing._axes import project

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

N_RESTARTS = 4  # clusterings of each size; their averages are averaged
MAX_KINDS = 512


class Grain(NamedTuple):
    """How fine kinds are: prompts in a kind, for each size of clustering, and kappa."""

    prompts_per_kind: tuple[int, ...]
    shrinkage: float


# From noisy scores, where only large kinds can be trusted, to scores that follow the prompt; where
# they follow it closely, `_neighbours` takes over.
GRAINS = (Grain((160, 80, 40), 5.0), Grain((40, 20, 10), 2.0))


@dataclass
class Kinds:
    """Soft clusterings and the shrunken mean scores of their kinds.

    Attributes
    ----------
    axes : ndarray of shape (f, a) or None
        Projection of the foreseen responses, when there are too many of them.
    centers : list of ndarray of shape (c, a)
        Centres of each clustering.
    temperatures : list of float
        Softness of each clustering, in squared distance.
    means : list of ndarray of shape (c, K)
        Shrunken mean scores of each kind.
    """

    axes: Floats32 | None
    centers: list[Floats32]
    temperatures: list[float]
    means: list[Floats]

    def predict(self, foreseen: Floats32) -> Floats:
        """Mean scores (n, K) of the kinds that the prompts belong to."""
        z = project(foreseen, self.axes)
        parts = [
            _memberships(z, centers, temperature) @ means
            for centers, temperature, means in zip(
                self.centers, self.temperatures, self.means, strict=True
            )
        ]
        return np.mean(parts, axis=0)


def _memberships(z: Floats32, centers: Floats32, temperature: float) -> Floats32:
    squared = _squared_distances(z, centers)
    squared -= squared.min(axis=1, keepdims=True)
    weights = np.exp(-squared / temperature)
    return weights / weights.sum(axis=1, keepdims=True)


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
    Time is linear in n: at most 512 kinds, 10 Lloyd iterations, 12 clusterings.
    """
    kinds = Kinds(axes, [], [], [])
    held_out: list[Floats] = []
    sizes = {min(MAX_KINDS, max(2, round(len(scores) / s))) for s in grain.prompts_per_kind}
    for n_kinds in sorted(min(size, len(scores)) for size in sizes):
        for restart in range(N_RESTARTS):
            centers = _cluster(projected, n_kinds, seed + restart)
            temperature = _softness(projected, centers)
            weights = _memberships(projected, centers, temperature).astype(np.float64)
            means, own = _shrunken_means(weights, scores, grain.shrinkage)
            kinds.centers.append(centers)
            kinds.temperatures.append(temperature)
            kinds.means.append(means)
            held_out.append(own)
    return kinds, np.mean(held_out, axis=0)


def _cluster(z: Floats32, n_kinds: int, seed: int) -> Floats32:
    model = KMeans(n_kinds, init="random", n_init=1, max_iter=10, random_state=seed)
    with warnings.catch_warnings():
        # Identical prompts make fewer distinct points than kinds; empty kinds do no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit(z).cluster_centers_, dtype=np.float32)


def _shrunken_means(weights: Floats, scores: Floats, shrinkage: float) -> tuple[Floats, Floats]:
    """Shrunken means (c, K), and each prompt's quality without its own score (n, K)."""
    is_observed = ~np.isnan(scores)
    filled = np.where(is_observed, scores, 0.0)
    overall = filled.sum(axis=0) / is_observed.sum(axis=0)
    total = weights.T @ filled + shrinkage * overall  # (c, K)
    count = weights.T @ is_observed + shrinkage
    if is_observed.all():  # the counts of all models are alike: one ratio serves them all
        ratio = weights / (count[:, 0] - weights)
        own = ratio @ total - (ratio * weights).sum(axis=1, keepdims=True) * filled
        return total / count, own
    own = np.empty_like(filled)
    for k in range(scores.shape[1]):
        self_weight = weights * is_observed[:, k, None]
        without = total[:, k] - self_weight * filled[:, k, None]
        own[:, k] = (weights * without / (count[:, k] - self_weight)).sum(axis=1)
    return total / count, own
