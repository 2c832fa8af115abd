r"""Monotone maps of the outputs before the Gaussian process, and back.

Constraints are scaled by their median magnitude, so that their threshold stays at 0; the objective
is centred by its median first. ``bilog`` is the symmetric logarithm sign(y) log(1 + |y|) of
Eriksson and Poloczek, "Scalable constrained Bayesian optimization", AISTATS 2021, section 3.
``log_tail`` takes the logarithm of the upper half only and leaves good objectives their resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lookahead_sk._typing import FloatArray

Kind = Literal["none", "bilog", "log_tail", "copula"]


@dataclass(frozen=True)
class OutputTransform:
    """One output's map to model units: zero stays the threshold of a constraint."""

    kind: Kind
    centre: float
    scale: float
    mean: float  # of the warped data, in warped units
    spread: float  # of the warped data
    knots: FloatArray | None = None  # (k, 2), raw value and normal score, for the copula
    is_constraint: bool = True

    def forward(self, values: FloatArray) -> FloatArray:
        """From the user's units to model units."""
        warped = self._warp(np.asarray(values, dtype=float))
        return (warped if self.is_constraint else warped - self.mean) / self.spread

    def inverse(self, values: FloatArray) -> FloatArray:
        """From model units to the user's units."""
        warped = np.asarray(values) * self.spread
        warped = warped if self.is_constraint else warped + self.mean
        if self.knots is not None:
            return _interpolate(warped, self.knots[:, 1], self.knots[:, 0])
        scaled = warped
        if self.kind == "bilog":
            limited = np.minimum(np.abs(warped), self._limit)
            scaled = np.sign(warped) * np.expm1(limited)
        elif self.kind == "log_tail":
            scaled = np.where(warped > 0, np.expm1(np.clip(warped, 0.0, self._limit)), warped)
        return self.centre + self.scale * scaled

    @property
    def _limit(self) -> float:
        """Logarithm beyond which values in the user's units would overflow."""
        return 600.0 - max(0.0, math.log(self.scale))

    def slope(self, values: FloatArray) -> FloatArray:
        """Derivative of `forward`, for densities."""
        scaled = (values - self.centre) / self.scale
        if self.kind == "bilog":
            return 1 / (self.scale * self.spread * (1 + np.abs(scaled)))
        if self.kind == "log_tail":
            return 1 / (self.scale * self.spread * (1 + np.maximum(scaled, 0.0)))
        if self.knots is None:
            return np.full(len(scaled), 1 / (self.scale * self.spread))
        step = np.maximum(1e-4 * self.scale, 1e-8 * np.abs(values))
        return (self.forward(values + step) - self.forward(values - step)) / (2 * step)

    @property
    def offset(self) -> float:
        """Prior mean of the Gaussian process, model units."""
        return self.mean / self.spread if self.is_constraint else 0.0

    def _warp(self, values: FloatArray) -> FloatArray:
        if self.knots is not None:
            return _interpolate(values, self.knots[:, 0], self.knots[:, 1])
        scaled = (values - self.centre) / self.scale
        if self.kind == "bilog":
            return np.sign(scaled) * np.log1p(np.abs(scaled))
        if self.kind == "log_tail":
            return np.where(scaled > 0, np.log1p(np.maximum(scaled, 0.0)), scaled)
        return scaled


def fit_transform(values: FloatArray, kind: Kind, *, is_constraint: bool) -> OutputTransform:
    """Learn the map of one output.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Observed values, finite, in the user's units.
    kind : {"none", "bilog", "log_tail", "copula"}
        Which map; a copula is only defined for the objective.
    is_constraint : bool
        Whether 0 is a threshold that must stay at 0.

    Returns
    -------
    OutputTransform
        The map; constant values give a map of unit spread.

    Examples
    --------
    >>> map_ = fit_transform(np.array([-1.0, 1.0, 1000.0]), "bilog", is_constraint=True)
    >>> map_.inverse(map_.forward(np.array([0.0, 1000.0]))).round(6)
    array([   0., 1000.])
    """
    centre = 0.0 if is_constraint else float(np.median(values))
    magnitude = np.abs(values - centre)
    magnitude = magnitude[magnitude > _rounding(float(magnitude.max()), abs(centre))]
    scale = float(np.median(magnitude)) if len(magnitude) else 1.0
    knots = _normal_scores(values) if kind == "copula" and not is_constraint else None
    start = OutputTransform(kind, centre, scale, 0.0, 1.0, knots, is_constraint)
    warped = start._warp(values)
    spread = float(warped.std())
    spread = spread if spread > 1e-9 else 1.0
    return OutputTransform(kind, centre, scale, float(warped.mean()), spread, knots, is_constraint)


def _rounding(*magnitudes: float) -> float:
    """What is left of equal values, whatever their unit; below 1e-290 a scale has no reciprocal."""
    return max(1e-290, 1e-12 * max(magnitudes))


def _normal_scores(values: FloatArray) -> FloatArray | None:
    """Knots (raw value, normal score), one per distinct value."""
    from scipy.stats import norm, rankdata

    ordered = np.sort(values)
    gaps = np.diff(ordered, prepend=-np.inf)
    is_new = gaps > _rounding(float(np.abs(ordered).max()))
    raw = ordered[is_new]
    if len(raw) < 3:
        return None
    scores = norm.ppf((rankdata(np.cumsum(is_new)) - 0.5) / len(values))[is_new]
    return np.stack([raw, scores], axis=1)


def _interpolate(values: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Piecewise linear, continued linearly beyond the ends."""
    inside = np.interp(values, x, y)
    low = y[0] + (values - x[0]) * (y[1] - y[0]) / (x[1] - x[0])
    high = y[-1] + (values - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2])
    return np.where(values < x[0], low, np.where(values > x[-1], high, inside))
