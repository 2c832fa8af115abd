"""Local averages of scores: over nearest neighbours and over clusters.

Symbols: Z (n, d) features, Y (n, K) scores with NaN where not observed, w (n,) weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

_BLOCK = 512  # rows at a time: 512 x 400 neighbours x 6 models are 10 MB


def model_means(Y: Floats, w: Floats) -> Floats:
    """Weighted mean of every model's observed scores, (K,)."""
    seen = ~np.isnan(Y)
    means: Floats = (w @ np.where(seen, Y, 0.0)) / (w @ seen)
    return means


def neighbour_means(Y: Floats, w: Floats, neighbours: Ints, ks: Ints) -> Floats:
    """Mean scores over the k nearest neighbours, for several k at once.

    Parameters
    ----------
    Y : ndarray of shape (n, K)
        Scores of the training prompts, NaN where not observed.
    w : ndarray of shape (n,)
        Their weights.
    neighbours : ndarray of shape (m, k_max)
        Training rows of each query's neighbours, the nearest first.
    ks : ndarray of shape (A,)
        Numbers of neighbours, each at most k_max.

    Returns
    -------
    ndarray of shape (A, m, K)
        A model that none of the neighbours observed gets its mean over all training prompts.
    """
    overall = model_means(Y, w)
    seen = ~np.isnan(Y) * w[:, None]  # (n, K), weight of every cell
    filled = np.where(np.isnan(Y), 0.0, Y) * w[:, None]
    quality = np.empty((len(ks), len(neighbours), Y.shape[1]))
    for start in range(0, len(neighbours), _BLOCK):
        near = neighbours[start : start + _BLOCK]
        sums = np.cumsum(filled[near], axis=1)[:, ks - 1]  # (m, A, K)
        totals = np.cumsum(seen[near], axis=1)[:, ks - 1]
        means = np.where(totals > 0, sums / np.where(totals > 0, totals, 1.0), overall)
        quality[:, start : start + _BLOCK] = means.transpose(1, 0, 2)
    return quality


def memberships(distances: Floats, temperature: float | None) -> Floats:
    """Share of every cluster in every prompt, (n, C), from squared distances to the centres.

    Without a temperature a prompt belongs to its nearest centre alone; with one, the shares are
    softmax(-distance / temperature).
    """
    if temperature is None:
        return np.eye(distances.shape[1])[distances.argmin(axis=1)]
    nearest = distances.min(axis=1, keepdims=True)
    shares = np.exp(-(distances - nearest) / temperature)
    return shares / shares.sum(axis=1, keepdims=True)


def cluster_means(Y: Floats, w: Floats, shares: Floats, shrinkage: float) -> Floats:
    """Mean scores of every cluster, (C, K), with ``shrinkage`` prompts of overall mean added."""
    overall = model_means(Y, w)
    weighted = (shares * w[:, None]).T  # (C, n)
    seen = ~np.isnan(Y)
    sums = weighted @ np.where(seen, Y, 0.0) + shrinkage * overall
    totals = weighted @ seen + shrinkage
    means: Floats = np.where(totals > 0, sums / np.where(totals > 0, totals, 1.0), overall)
    return means
