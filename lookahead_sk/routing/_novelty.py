r"""How unusual a prompt is beside the training prompts: conformal p-values of a distance.

Training prompts are split at random into references R and c calibration prompts. The score d(x) is
the mean distance of x to its k nearest references, all features brought to unit norm, and

p(x) = (1 + #{calibration prompts i : d(x_i) >= d(x)}) / (c + 1)

If x is exchangeable with the calibration prompts, P(p(x) <= level) <= level, whatever the
distribution and whatever the distance (Bates, Candes, Lei, Romano and Sesia, "Testing for outliers
with conformal p-values", Annals of Statistics 51, 2023, section 1.2). The distance is that of Sun,
Ming, Zhu and Li, "Out-of-distribution detection with deep nearest neighbors", ICML 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookahead_sk._typing import BoolArray, Float32Array, FloatArray

N_NEAREST = 10
MAX_REFERENCES = 2000
MAX_CALIBRATION = 2000
_CHUNK = 2_000_000  # distances at a time: 8 MB


@dataclass
class Novelty:
    """References and the calibrated distances.

    Attributes
    ----------
    references : ndarray of shape (R, p)
        Training prompts that distances are measured to, of unit norm.
    distances : ndarray of shape (c,)
        Distances of the calibration prompts, ascending.
    """

    references: Float32Array
    distances: Float32Array

    def p_values(self, features: Float32Array) -> FloatArray:
        """Conformal p-values (n,) of prompts with features (n, p)."""
        found = _distances(_unit(features), self.references)
        n_below = np.searchsorted(self.distances, found, side="left")
        n = len(self.distances)
        return (1 + n - n_below) / (n + 1)


def fit_novelty(
    features: Float32Array, seed: int, is_calibration: BoolArray | None = None
) -> Novelty:
    """Split the training prompts into references and calibration prompts.

    Parameters
    ----------
    features : ndarray of shape (n, p)
        Of the training prompts, n at least 2.
    seed : int
        Of the split.
    is_calibration : ndarray of bool of shape (n,), optional
        Which prompts may calibrate, for features that know the others; a random half otherwise.

    Returns
    -------
    Novelty
        At most 2,000 prompts of each kind.
    """
    order = np.random.RandomState(seed).permutation(len(features))
    if is_calibration is None:
        is_calibration = np.zeros(len(features), dtype=bool)
        is_calibration[order[: len(order) // 2]] = True
    calibration = order[is_calibration[order]][:MAX_CALIBRATION]
    references = _unit(features[order[~is_calibration[order]][:MAX_REFERENCES]])
    return Novelty(references, np.sort(_distances(_unit(features[calibration]), references)))


def _unit(rows: Float32Array) -> Float32Array:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, np.finfo(np.float32).tiny)


def _distances(features: Float32Array, references: Float32Array) -> Float32Array:
    """Mean distance (n,) to the nearest references."""
    k = min(N_NEAREST, len(references))
    norms = (references**2).sum(axis=1)
    rows = max(1, _CHUNK // len(references))
    parts = [np.empty(0, dtype=np.float32)]
    for start in range(0, len(features), rows):
        part = features[start : start + rows]
        squared = norms - 2.0 * (part @ references.T) + (part**2).sum(axis=1, keepdims=True)
        near = np.partition(squared, k - 1, axis=1)[:, :k]
        parts.append(np.sqrt(np.maximum(near, 0)).mean(axis=1))
    return np.concatenate(parts)
