"""Limits on columns of ``cv_results_``: reading them, and by how much candidates exceed them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import reject


class NoFeasibleCandidateWarning(UserWarning):
    """No candidate of a search meets all of its constraints."""


@dataclass(frozen=True)
class Limit:
    """An interval that a column must stay in; infinite ends are open."""

    column: str
    low: float
    high: float

    def excesses(self, values: FloatArray) -> Iterator[tuple[FloatArray, float]]:
        """For every closed end: by how much values exceed it (<= 0 is inside), and its size."""
        if math.isfinite(self.high):
            yield values - self.high, abs(self.high) or 1.0
        if math.isfinite(self.low):
            yield self.low - values, abs(self.low) or 1.0

    def widened(self, violation: float) -> tuple[float, float]:
        """The interval of values that exceed an end by at most so many parts of it."""
        low, high = self.low, self.high
        low -= violation * (abs(low) or 1.0) if math.isfinite(low) else 0.0
        high += violation * (abs(high) or 1.0) if math.isfinite(high) else 0.0
        return low, high

    def __str__(self) -> str:
        """The limit in words."""
        ends = [f"at least {self.low:g}"] * math.isfinite(self.low)
        ends += [f"at most {self.high:g}"] * math.isfinite(self.high)
        return " and ".join(ends)


def read_interval(value: Any, name: str) -> tuple[float, float]:
    """Read ``(low, high)`` with None for an open end, or raise."""
    accepted = "(low, high) with low <= high, None for an open end but not for both"
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence | np.ndarray):
        reject(name, accepted, value, kind=TypeError)
    if len(value) != 2:
        reject(name, accepted, value)
    for end in value:
        if end is not None and (isinstance(end, bool) or not isinstance(end, numbers.Real)):
            reject(name, accepted, value, kind=TypeError)
    low = -math.inf if value[0] is None else float(value[0])
    high = math.inf if value[1] is None else float(value[1])
    is_open = math.isinf(low) and math.isinf(high)
    if is_open or not low <= high or low == math.inf or high == -math.inf:
        reject(name, accepted, value)
    return low, high


def excess_table(results: Mapping[str, Any], limits: Sequence[Limit]) -> FloatArray:
    """Excess over every closed end of every limit, (n, m); feasible where <= 0."""
    n = len(results["params"])
    columns = [
        excess for limit in limits for excess, _ in limit.excesses(column_of(results, limit))
    ]
    return np.stack(columns, axis=1) if columns else np.empty((n, 0))


def violation_of(results: Mapping[str, Any], limits: Sequence[Limit]) -> FloatArray:
    """Summed excess in parts of the limits, (n,): 0 is feasible, NaN where a column is NaN."""
    total = np.zeros(len(results["params"]))
    for limit in limits:
        for excess, size in limit.excesses(column_of(results, limit)):
            total = total + np.where(np.isnan(excess), np.nan, np.maximum(excess, 0.0)) / size
    return total


def column_of(results: Mapping[str, Any], limit: Limit) -> FloatArray:
    """The limited column of ``cv_results_``, or raise naming those that there are."""
    if limit.column not in results:
        known = [key for key in results if key.startswith(("mean_", "std_"))]
        reject("constraints", f"on columns of cv_results_ out of {known}", limit.column)
    return np.asarray(results[limit.column], dtype=np.float64)
