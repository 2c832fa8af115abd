"""The error that routing is sensitive to: of differences between models, not of levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def _centred(values: Floats, seen: npt.NDArray[np.bool_]) -> Floats:
    """Values minus their mean over the observed models of each prompt; 0 where not observed."""
    filled = np.where(seen, values, 0.0)
    means = filled.sum(axis=-1, keepdims=True) / np.maximum(seen.sum(axis=-1, keepdims=True), 1)
    return np.where(seen, values - means, 0.0)


def difference_error(quality: Floats, Y: Floats, w: Floats) -> float:
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
