r"""Marginal likelihood of the default kernel, several times faster than the general one.

Source: Rasmussen and Williams 2006, eqs. (2.30) and (5.9), for the covariance
:math:`K = c\,k_\nu(r) + a\,(1 + G) + b\,(1 + G^2) + \sigma^2 I`,
:math:`r^2 = \sum_k D_k / \ell_k^2`. The squared differences D and the inner products G of the
centred points do not change during a fit; scikit-learn rebuilds them, and an (n, n, p) gradient, at
every step.

======  ==========  ====================================
symbol  shape       meaning
======  ==========  ====================================
theta   (p,)        log of c, of the length-scales, of a and b, of sigma^2
D       (d, n, n)   squared differences, one per feature
G       (n, n)      inner products; without them no trend, a = b = 0 and p = d + 2
======  ==========  ====================================
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack

from lookahead_sk._typing import FloatArray


def squared_differences(x: FloatArray) -> FloatArray:
    """D of points (n, d), flattened to (d, n n)."""
    d = x.shape[1]
    return np.ascontiguousarray(((x[:, None] - x[None]) ** 2).transpose(2, 0, 1)).reshape(d, -1)


def centred_products(x: FloatArray) -> FloatArray:
    """G of points (n, d), flattened to (n n,)."""
    return np.asarray(((x - 0.5) @ (x - 0.5).T).reshape(-1))


def _matern(r2: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matern 5/2 and f, where d k / d log l_k = f D_k / l_k^2."""
    r = np.sqrt(5 * r2)
    decay = np.exp(-r)
    return decay * (1 + r + r2 * (5 / 3)), decay * (1 + r) * (5 / 3)


def _squared_exponential(r2: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Squared exponential and f, where d k / d log l_k = f D_k / l_k^2."""
    decay = np.exp(-0.5 * r2)
    return decay, decay


def matern_log_likelihood(
    theta: FloatArray,
    differences: FloatArray,
    y: FloatArray,
    jitter: float,
    nu: float,
    products: FloatArray | None = None,
) -> tuple[float, FloatArray]:
    """Log marginal likelihood and its gradient.

    Parameters
    ----------
    theta : ndarray of shape (d + 2,) or (d + 4,)
        Log hyper-parameters, two more with a trend.
    differences : ndarray of shape (d, n * n)
        From `squared_differences`.
    y : ndarray of shape (n,)
        Targets.
    jitter : float
        Added to the diagonal.
    nu : {2.5, inf}
        Smoothness: Matern 5/2, or its limit, the squared exponential.
    products : ndarray of shape (n * n,), optional
        From `centred_products`: with a quadratic trend.

    Returns
    -------
    value : float
        Log marginal likelihood; -inf if the covariance is not positive definite.
    gradient : ndarray of the shape of theta
        Its derivative in theta.
    """
    n, d = len(y), len(differences)
    variance, scales, noise = math.exp(theta[0]), np.exp(-2 * theta[1 : d + 1]), math.exp(theta[-1])
    r2 = scales @ differences
    signal, falling = _squared_exponential(r2) if nu == math.inf else _matern(r2)
    signal, falling = variance * signal, variance * falling
    trends = [] if products is None else [1 + products, 1 + products**2]
    trends = [math.exp(log) * part for log, part in zip(theta[d + 1 : -1], trends, strict=True)]
    covariance = sum(trends, signal).reshape(n, n).copy()
    covariance[np.diag_indices(n)] += noise + jitter
    factor, failed = lapack.dpotrf(covariance, lower=1)
    if failed:
        return -math.inf, np.zeros_like(theta)
    alpha, _ = lapack.dpotrs(factor, y, lower=1)
    value = -0.5 * y @ alpha - np.log(np.diag(factor)).sum() - 0.5 * n * math.log(2 * math.pi)
    inverse, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weight = 0.5 * (np.outer(alpha, alpha) - inverse)  # eq. (5.9)
    flat = weight.reshape(-1)
    slope = differences @ (flat * falling) * scales
    of_trends = [flat @ part for part in trends]
    return float(value), np.array([flat @ signal, *slope, *of_trends, noise * np.trace(weight)])
