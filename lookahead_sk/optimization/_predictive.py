"""Predictions of a surrogate in the user's units.

The model is Gaussian after the output transform; mean and standard deviation before it are
one-dimensional integrals, taken by Gauss-Hermite quadrature.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._posterior import moments
from lookahead_sk.optimization._surrogate import Surrogate

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def latent_moments(surrogate: Surrogate, unit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the latent outputs, model units, both (n, 1 + m)."""
    with torch.no_grad():
        points = torch.as_tensor(unit).to(surrogate.posterior.x)
        at = moments(surrogate.posterior, points)
    n_outputs = len(surrogate.transforms)  # without "it runs"
    mean, variance = at.mean[:n_outputs], at.variance[:n_outputs]
    return mean.T.cpu().numpy(), variance.sqrt().T.cpu().numpy()


def predict_medians(surrogate: Surrogate, unit: FloatArray) -> FloatArray:
    """Medians of the latent outputs in the user's units, (n, 1 + m)."""
    mean, _ = latent_moments(surrogate, unit)
    columns = [t.inverse(mean[:, j]) for j, t in enumerate(surrogate.transforms)]
    return np.stack(columns, axis=1)


def predict_moments(surrogate: Surrogate, unit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the latent outputs in the user's units.

    Parameters
    ----------
    surrogate : Surrogate
        The fitted processes.
    unit : ndarray of shape (n, d)
        Points of the unit cube.

    Returns
    -------
    mean, std : ndarray of shape (n, 1 + m)
        Objective first.
    """
    mean, std = latent_moments(surrogate, unit)
    columns = []
    for j, transform in enumerate(surrogate.transforms):
        nodes = mean[:, j, None] + std[:, j, None] * _NODES  # (n, 32)
        values = transform.inverse(nodes)
        centre = values @ _WEIGHTS
        away = values - centre[:, None]
        unit = np.maximum(np.abs(away).max(axis=1), np.finfo(float).tiny)  # squares may overflow
        spread = unit * np.sqrt(((away / unit[:, None]) ** 2) @ _WEIGHTS)
        columns.append((centre, spread))
    means, stds = zip(*columns, strict=True)
    return np.stack(means, axis=1), np.stack(stds, axis=1)


def log_density(surrogate: Surrogate, unit: FloatArray, y: FloatArray) -> FloatArray:
    """Log predictive density of new observations in the user's units, noise included.

    Parameters
    ----------
    surrogate : Surrogate
        The fitted processes.
    unit : ndarray of shape (n, d)
        Points of the unit cube.
    y : ndarray of shape (n, 1 + m)
        Observed outputs.

    Returns
    -------
    ndarray of shape (n,)
        Sum over the independent outputs; the slope of the transform is accounted for.
    """
    mean, std = latent_moments(surrogate, unit)
    total = np.zeros(len(y))
    for j, transform in enumerate(surrogate.transforms):
        variance = std[:, j] ** 2 + surrogate.noise[j]
        residual = transform.forward(y[:, j]) - mean[:, j]
        gaussian = -0.5 * (residual**2 / variance + np.log(2 * math.pi * variance))
        total += gaussian + np.log(transform.slope(y[:, j]))
    return total
