"""Which candidates are worth another split, from the splits that they were fitted on.

Notation: n complete candidates, b candidates in the race, s splits seen, K splits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from lookahead_sk._typing import FloatArray
from lookahead_sk.model_selection._limits import Limit

MIN_COMPLETE = 3  # complete candidates without which spreads are not known
MIN_CHANCE = 0.05  # of being feasible and better, below which a candidate is dropped
_TOLERANCE = 1e-9  # of rounding, in parts of the value
_MEAN = re.compile(r"mean_(.+)")
_SPLIT = re.compile(r"split(\d+)_(.+)")


@dataclass(frozen=True)
class SplitMean:
    """What a candidate's mean over all splits is expected to be."""

    mean: FloatArray  # (b,)
    std: FloatArray  # (b,)
    dof: int  # degrees of freedom of Student's t

    def chance_above(self, threshold: float) -> FloatArray:
        """Chance that the mean exceeds a threshold, (b,); what is equal counts as above."""
        gap = self.mean - threshold + _TOLERANCE * max(1e-6, abs(threshold))
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = student.cdf(gap / self.std, self.dof)
        return np.where(self.std > 0, chance, gap >= 0)


def similar(complete: FloatArray, seen: FloatArray) -> FloatArray:
    """The half of the complete candidates that are most similar on the splits seen.

    Parameters
    ----------
    complete : ndarray of shape (n, K)
        Values of complete candidates.
    seen : ndarray of shape (b, s)
        Values of others on the first s splits.

    Returns
    -------
    ndarray of shape (b, m, K)
        Rows of ``complete`` for each of the others.
    """
    n, s = len(complete), seen.shape[1]
    distance = np.abs(complete[:, :s].mean(axis=1) - seen.mean(axis=1, keepdims=True))
    m = min(n, max(MIN_COMPLETE, -(-n // 2)))
    return complete[np.argsort(distance, axis=1, kind="stable")[:, :m]]


def predict_mean(complete: FloatArray, seen: FloatArray) -> SplitMean:
    """Predict means over all splits from the first of them.

    A value is taken to be the sum of an effect of its candidate, an effect of its split, and a
    normal residual. Effects of splits and the residuals' variance are those of similar candidates,
    which were fitted on the same splits.

    Parameters
    ----------
    complete : ndarray of shape (n, K)
        Values of at least 2 complete candidates.
    seen : ndarray of shape (b, s)
        Values on the first s < K splits.

    Returns
    -------
    SplitMean
        The prediction.
    """
    rows = similar(complete, seen)
    (_, m, n_splits), s = rows.shape, seen.shape[1]
    profile = rows.mean(axis=1)  # (b, K)
    centred = rows - rows.mean(axis=2, keepdims=True)
    residuals = centred - centred.mean(axis=1, keepdims=True)
    dof = (m - 1) * (n_splits - 1)
    scale = np.abs(rows).max(axis=(1, 2))
    variance = (residuals**2).sum(axis=(1, 2)) / dof
    variance[variance <= (_TOLERANCE * scale) ** 2] = 0.0  # rounding
    mean = seen.mean(axis=1) + profile.mean(axis=1) - profile[:, :s].mean(axis=1)
    return SplitMean(mean, np.sqrt(variance * (1 + 1 / m) * (1 / s - 1 / n_splits)), dof)


def predict_splits(complete: FloatArray, seen: FloatArray) -> FloatArray:
    """Values on the splits not seen, (b, K - s), whose means with those seen are predicted.

    Parameters
    ----------
    complete : ndarray of shape (n, K)
        Values of complete candidates; of fewer than `MIN_COMPLETE`, nothing is learned.
    seen : ndarray of shape (b, s)
        Values on the first s splits.

    Returns
    -------
    ndarray of shape (b, K - s)
        The values.
    """
    s, level = seen.shape[1], seen.mean(axis=1, keepdims=True)
    if len(complete) < MIN_COMPLETE:
        return np.repeat(level, complete.shape[1] - s, axis=1)
    profile = similar(complete, seen).mean(axis=1)
    return level + profile[:, s:] - profile[:, :s].mean(axis=1, keepdims=True)


@dataclass(frozen=True)
class Standard:
    """What candidates must reach: the best complete candidate and the limits.

    ``values`` are those of complete candidates, (n, K), by columns without ``mean_``, such as
    ``test_accuracy`` and ``fit_time``.
    """

    values: Mapping[str, FloatArray]
    limits: tuple[Limit, ...]
    objective: str
    best: float  # objective of the best feasible candidate, -inf if none is feasible
    violation: float  # of the least violating candidate, 0 if one is feasible

    def of(self, name: str) -> FloatArray:
        """Values of the complete candidates that have them."""
        table = self.values.get(name, self.values[self.objective][:0])
        return table[np.isfinite(table).all(axis=1)]

    def chances(self, seen: Mapping[str, FloatArray]) -> FloatArray:
        """Chance to be feasible and better, or less violating while nothing is feasible.

        Parameters
        ----------
        seen : mapping of str to ndarray of shape (b, s)
            Values of the candidates, as in ``values``, on the splits seen.

        Returns
        -------
        ndarray of shape (b,)
            The product of the chances of each condition; NaN where a value is missing.
        """
        chance = np.where(np.isfinite(seen[self.objective]).all(axis=1), 1.0, np.nan)
        if np.isfinite(self.best):
            chance = chance * self._above(self.objective, seen, self.best)
        for limit in self.limits:
            chance = chance * self._inside(limit, seen)
        return chance

    def _inside(self, limit: Limit, seen: Mapping[str, FloatArray]) -> FloatArray | float:
        """Chance to meet a limit, or to exceed it by less than the standard does."""
        low, high = limit.widened(self.violation)
        if split := _SPLIT.fullmatch(limit.column):
            known = seen[split[2]][:, int(split[1]) : int(split[1]) + 1]
            return ((known >= low) & (known <= high)).all(axis=1).astype(np.float64)
        if not (mean := _MEAN.fullmatch(limit.column)):
            return 1.0  # a standard deviation, not known before the last split
        below = {mean[1]: -seen[mean[1]]}
        inside: Any = 1.0
        if np.isfinite(low):
            inside = inside * self._above(mean[1], seen, low)
        if np.isfinite(high):
            inside = inside * self._above(mean[1], below, -high, sign=-1.0)
        return inside

    def _above(
        self, name: str, seen: Mapping[str, FloatArray], threshold: float, sign: float = 1.0
    ) -> FloatArray | float:
        complete = sign * self.of(name)
        if len(complete) < MIN_COMPLETE:
            return 1.0
        return predict_mean(complete, seen[name]).chance_above(threshold)
