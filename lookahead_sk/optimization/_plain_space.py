"""A search space of variables that all points have, and the unit cube that the model sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk._validation import Words, as_float_array, reject
from lookahead_sk.optimization._choices import copied
from lookahead_sk.optimization._dimensions import (
    Dimension,
    Real,
)

_SAME_VALUE = 1e-12  # in the unit cube, what rounding makes of a discrete value
MOST_NUMBERS = 2**16  # of all points of a finite space together


@dataclass(frozen=True)
class Space:
    """All variables; ``names`` is None for a plain box."""

    dimensions: tuple[Dimension, ...]
    names: tuple[str, ...] | None = None

    @property
    def n_features(self) -> int:
        """Number of variables."""
        return len(self.dimensions)

    @property
    def n_unit(self) -> int:
        """Number of unit coordinates."""
        return sum(dimension.width for dimension in self.dimensions)

    @property
    def key(self) -> Any:
        """The same for spaces that mean the same."""
        return self.names, tuple(dimension.key for dimension in self.dimensions)

    @property
    def n_values(self) -> float:
        """Number of points, infinite where a variable is continuous."""
        return math.prod(float(dimension.n_values) for dimension in self.dimensions)

    @property
    def is_continuous(self) -> BoolArray:
        """Which unit coordinates may move freely, (n_unit,)."""
        flags = [[not d.is_discrete] * d.width for d in self.dimensions]
        return np.array([flag for group in flags for flag in group], dtype=bool)

    @property
    def name_sets(self) -> tuple[tuple[str, ...], ...]:
        """The names that a point may have, one tuple a branch; empty for a plain box."""
        return () if self.names is None else (self.names,)

    @property
    def layout(self) -> Any:
        """The same for spaces whose points have the same variables."""
        return self.n_features, self.name_sets

    @property
    def variables(self) -> list[tuple[str, Dimension]]:
        """Named variables, constants too."""
        return list(zip(self.names or (), self.dimensions, strict=False))

    @property
    def n_branches(self) -> int:
        """Number of branches that points may be in."""
        return 1

    def is_free(self, unit: FloatArray) -> BoolArray:
        """Which coordinates of unit points (..., n_unit) may move freely, of that shape."""
        return np.broadcast_to(self.is_continuous, unit.shape).copy()

    def shares_branch(self, unit: FloatArray, point: FloatArray) -> BoolArray:
        """Which unit points (n, n_unit) have the variables of one (n_unit,), (n,)."""
        return np.ones(len(unit), dtype=bool)

    def dealt(self, unit: FloatArray) -> FloatArray:
        """Unit points of a design (n, n_unit), spread over the branches."""
        return unit

    def holding(self, values: Mapping[Any, Any]) -> Space:
        """The space of the branches that have these variables with these values."""
        return self

    def encode_anywhere(self, x: FloatArray) -> FloatArray:
        """Points of a plain box to unit coordinates, outside of it too (predictions)."""
        low = np.array([d.low for d in self.dimensions if isinstance(d, Real)])
        high = np.array([d.high for d in self.dimensions if isinstance(d, Real)])
        return (x - low) / (high - low)

    def encode(self, x: Any) -> FloatArray:
        """User points to (n, n_unit), or raise for a point outside the space."""
        columns = self._columns(x)
        return np.concatenate([d.encode(*column) for d, column in columns], axis=1)

    def encode_beyond(self, x: Any) -> FloatArray:
        """User points to (n, n_unit) on the same scale outside of the bounds too, or raise."""
        columns = self._columns(x)
        return np.concatenate([d.encode_beyond(*column) for d, column in columns], axis=1)

    def encode_fixed(self, values: Mapping[Any, Any]) -> FloatArray:
        """Values of some variables, by name or index, to (n_unit,): NaN where there is none."""
        keys = list(range(self.n_features)) if self.names is None else list(self.names)
        for key in values:
            if key not in keys:
                noun = "indices of variables" if self.names is None else f"names among {keys}"
                reject("fixed", f"a dict of {noun} and values", key)
        if len(values) == self.n_features:
            reject("fixed", "such that a variable is left to choose", dict(values))
        parts = [
            d.encode([values[key]], f"fixed[{key!r}]")[0]
            if key in values
            else np.full(d.width, np.nan)
            for d, key in zip(self.dimensions, keys, strict=True)
        ]
        return np.concatenate(parts)

    def canonical(self, x: Any) -> Any:
        """User points as `decode` would write them, or raise for a point outside the space."""
        columns = [d.canonical(*column) for d, column in self._columns(x)]
        if self.names is None:
            return np.array(columns, dtype=float).T.reshape(-1, self.n_features)
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

    def decode(self, unit: FloatArray) -> Any:
        """(n, n_unit) to an (n, d) array, or a list of dicts for named variables."""
        columns = [
            dimension.decode(part)
            for dimension, part in zip(self.dimensions, self._split(unit), strict=True)
        ]
        if self.names is None:
            return np.array(columns, dtype=float).T.reshape(len(unit), self.n_features)
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

    def copy(self, told: Any) -> Any:
        """Points that whoever gets them may change."""
        if self.names is None:
            return told.copy()
        return [{name: copied(value) for name, value in point.items()} for point in told]

    def distance(self, unit: FloatArray, point: FloatArray) -> FloatArray:
        """From unit points (n, n_unit) to one (n_unit,), (n,); infinite between other choices."""
        away = np.abs(unit - point)
        is_other = (away > _SAME_VALUE) & ~self.is_continuous
        return np.where(is_other, np.inf, away).max(axis=1)

    def is_rounded(self, unit: FloatArray, point: Any) -> BoolArray:
        """Which unit points (n, n_unit) a user may have rounded to a point, (n,).

        Parameters
        ----------
        unit : ndarray of shape (n, n_unit)
            Points of the unit cube.
        point : ndarray of shape (d,) or dict
            A point in the user's units: its decimals say how far it was rounded.

        Returns
        -------
        ndarray of shape (n,)
            Whether every continuous value is, to those decimals, that of the point.
        """
        is_it = np.ones(len(unit), dtype=bool)
        for j, (dimension, part) in enumerate(zip(self.dimensions, self._split(unit), strict=True)):
            if not dimension.is_discrete:
                value = point[j if self.names is None else self.names[j]]
                is_it &= np.abs(np.array(dimension.decode(part)) - value) <= half_unit(value)
        return is_it

    def snap(self, unit: FloatArray) -> FloatArray:
        """Nearest unit points that stand for values."""
        parts = zip(self.dimensions, self._split(unit), strict=True)
        return np.concatenate([dimension.snap(part) for dimension, part in parts], axis=1)

    def all_points(self) -> FloatArray | None:
        """Every point of a finite space, (c, n_unit); None for a space that is not small."""
        if self.n_values * self.n_unit > MOST_NUMBERS:
            return None
        columns = [dimension.all_values() for dimension in self.dimensions]
        index = np.indices([len(column) for column in columns]).reshape(len(columns), -1)
        parts = [column[i] for column, i in zip(columns, index, strict=True)]
        return np.concatenate(parts, axis=1)

    def _split(self, unit: FloatArray) -> list[FloatArray]:
        ends = np.cumsum([d.width for d in self.dimensions])[:-1]
        return np.split(unit, ends, axis=1)

    def _label(self, j: int) -> str:
        return f":, {j}" if self.names is None else repr(self.names[j])

    def _columns(self, x: Any) -> list[tuple[Dimension, tuple[Sequence[Any], str]]]:
        """Each variable with its values and their name."""
        if self.names is None:
            array = as_float_array(x, "X", ndim=2)
            if array.shape[1] != self.n_features:
                reject(
                    "X", f"an array of shape (n, {self.n_features})", Words(f"shape {array.shape}")
                )
            if not np.isfinite(array).all():
                reject("X", "finite", float(array[~np.isfinite(array)][0]))
            columns: list[Sequence[Any]] = list(array.T)
        else:
            points = read_points(x)
            for point in points:
                if set(point) != set(self.names):
                    reject("X", f"a list of dicts with keys {list(self.names)}", point)
            columns = [[point[name] for point in points] for name in self.names]
        labels = [f"X[{self._label(j)}]" for j in range(self.n_features)]
        return list(zip(self.dimensions, zip(columns, labels, strict=True), strict=True))


def half_unit(value: float) -> float:
    """Half of the last decimal place that a number is written with, and a bit."""
    exponent = Decimal(repr(float(value))).normalize().as_tuple().exponent
    return 0.5000001 * 10.0 ** int(exponent)


def read_points(x: Any) -> list[Mapping[str, Any]]:
    """Points as dicts, or raise."""
    if hasattr(x, "to_dicts"):  # a polars DataFrame
        x = x.to_dicts()
    elif hasattr(x, "to_pylist"):  # a pyarrow Table
        x = x.to_pylist()
    elif hasattr(x, "to_dict") and np.ndim(x) == 2:
        x = x.to_dict("records")
    if isinstance(x, Mapping) or hasattr(x, "to_dict"):
        hint = "A single point is told as [point]."
        reject("X", "a list of dicts", Words(type(x).__name__), kind=TypeError, hint=hint)
    if isinstance(x, str) or not isinstance(x, Sequence | np.ndarray):
        reject("X", "a list of dicts", x, kind=TypeError)
    points = [point.to_dict() if hasattr(point, "to_dict") else point for point in x]
    for point in points:
        if not isinstance(point, Mapping):
            reject("X", "a list of dicts", point)
    return points
