"""Ridge regression of scores on features along a path of penalties, and its low-rank form.

Symbols: Z (n, d) features, Y (n, K) scores with NaN where not observed, w (n,) weights,
B (d, K) coefficients, a penalty. Features and scores are centred by their weighted means.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk.routing._local_average._cells import observed_weights


class LinearModel(NamedTuple):
    """Quality = intercept (K,) + Z coef (d, K)."""

    coef: FloatArray
    intercept: FloatArray

    def predict(self, Z: FloatArray) -> FloatArray:
        quality: FloatArray = Z @ self.coef + self.intercept
        return quality


class _Spectrum(NamedTuple):
    """Eigendecomposition that solves a weighted, centred ridge problem for every penalty."""

    values: FloatArray  # (r,)
    left: FloatArray  # (d, r), coefficients per rotated target
    right: FloatArray  # (r, n), rotates the weighted, centred targets
    mean: FloatArray  # (d,)

    @classmethod
    def of(cls, Z: FloatArray, w: FloatArray) -> _Spectrum:
        mean = np.average(Z, axis=0, weights=w)
        A = (Z - mean) * np.sqrt(w)[:, None]  # (n, d)
        if A.shape[1] <= A.shape[0]:
            values, V = np.linalg.eigh(A.T @ A)
            return cls(np.maximum(values, 0), V, V.T @ A.T, mean)
        # The dual form, for more features than prompts: B = A' (A A' + a)^-1 Y.
        values, U = np.linalg.eigh(A @ A.T)
        return cls(np.maximum(values, 0), A.T @ U, U.T, mean)


def _solve(
    Z: FloatArray, y: FloatArray, w: FloatArray, penalties: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Coefficients (A, d, m) and intercepts (A, m) for complete targets y (n, m)."""
    spectrum = _Spectrum.of(Z, w)
    target_mean = np.average(y, axis=0, weights=w)
    rotated = spectrum.right @ ((y - target_mean) * np.sqrt(w)[:, None])  # (r, m)
    shrunk = rotated / (spectrum.values + penalties[:, None])[:, :, None]  # (A, r, m)
    coefs = spectrum.left @ shrunk
    return coefs, target_mean - spectrum.mean @ coefs


def ridge_path(
    Z: FloatArray,
    Y: FloatArray,
    w: FloatArray,
    penalties: FloatArray,
    weight: FloatArray | None = None,
) -> list[LinearModel]:
    """Ridge regression of every model's observed scores, for every penalty.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Features.
    Y : ndarray of shape (n, K)
        Scores, NaN where not observed; each model is fitted to the prompts it was observed on.
    w : ndarray of shape (n,)
        Weights of the prompts.
    penalties : ndarray of shape (A,)
        Positive; in the units of the sum of squares of a centred feature.
    weight : ndarray of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Returns
    -------
    list of A LinearModel
        O(n d min(n, d)) once, or once per model if scores are missing
        or weighted, and O(d min(n, d) K) per
        penalty.
    """
    seen = ~np.isnan(Y)
    if seen.all() and weight is None:
        coefs, intercepts = _solve(Z, Y, w, penalties)
    else:
        cells = w[:, None] * observed_weights(Y, weight)
        parts = [
            _solve(Z[rows], Y[rows, k : k + 1], cells[rows, k], penalties)
            for k, rows in enumerate(cells.T > 0)
        ]
        coefs = np.concatenate([coef for coef, _ in parts], axis=2)
        intercepts = np.concatenate([intercept for _, intercept in parts], axis=1)
    return [LinearModel(c, i) for c, i in zip(coefs, intercepts, strict=True)]


def reduce_rank(
    model: LinearModel, Z: FloatArray, w: FloatArray, penalty: float, rank: int
) -> LinearModel:
    r"""Model whose differences between candidates have a given rank, from the ridge solution.

    The coefficients are split into their mean over the candidates, which is how hard a prompt is
    and is kept, and the deviations from it, :math:`D`, which decide the routing. Among all
    deviations of rank r, the penalised loss is least at :math:`D V_r V_r^\top`, with :math:`V_r`
    the r leading eigenvectors of :math:`D^\top (Z^\top Z + a) D`. The factors are then :math:`Z D
    V_r` of the prompts and the rows of :math:`V_r` of the candidates.

    Parameters
    ----------
    model : LinearModel
        Ridge solution.
    Z : ndarray of shape (n, d)
        The features it was fitted to.
    w : ndarray of shape (n,)
        Weights of the prompts.
    penalty : float
        Its penalty.
    rank : int
        At least 1; nothing changes from K - 1 on.

    Returns
    -------
    LinearModel
        The model of that rank. It is the optimum if all scores were observed.

    References
    ----------
    .. [1] Mukherjee and Zhu, "Reduced rank ridge regression and its kernel extensions", Statistical
       Analysis and Data Mining 4, 2011, section 2.
    """
    mean_z = np.average(Z, axis=0, weights=w)
    shared = model.coef.mean(axis=1, keepdims=True)  # (d, 1)
    deviations = model.coef - shared
    fitted = ((Z - mean_z) * np.sqrt(w)[:, None]) @ deviations  # (n, K)
    _, V = np.linalg.eigh(fitted.T @ fitted + penalty * deviations.T @ deviations)
    leading = V[:, ::-1][:, :rank]  # (K, r)
    coef = shared + deviations @ leading @ leading.T
    mean_y = model.intercept + mean_z @ model.coef
    return LinearModel(coef, mean_y - mean_z @ coef)


def penalty_scale(Z: FloatArray, w: FloatArray) -> float:
    """Mean sum of squares of a centred feature: penalties are given as multiples of it."""
    mean = np.average(Z, axis=0, weights=w)
    return float(np.maximum(w @ (Z - mean) ** 2, 0).mean()) or 1.0
