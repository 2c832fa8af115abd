"""The user's search space and the unit cube that the model sees.

A box maps linearly. In a mapping a continuous distribution maps by its distribution function, so
that ``loguniform`` is searched on a log scale; an integer takes the middle of its cell; a category
takes one coordinate per choice, the largest wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk._validation import as_float_array, reject


class Dimension(Protocol):
    """One variable."""

    @property
    def width(self) -> int:
        """Number of unit coordinates."""

    @property
    def is_discrete(self) -> bool:
        """Whether only some unit coordinates stand for a value."""

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """User values to (n, width) unit coordinates, or raise."""

    def decode(self, unit: FloatArray) -> list[Any]:
        """(n, width) unit coordinates to user values."""

    def snap(self, unit: FloatArray) -> FloatArray:
        """Nearest unit coordinates that stand for a value."""

    def describe(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""


@dataclass(frozen=True)
class Real:
    """An interval, searched linearly."""

    low: float
    high: float
    width: int = 1
    is_discrete: bool = False

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = as_float_array(values, name)
        slack = 1e-9 * (self.high - self.low)
        inside = (numbers >= self.low - slack) & (numbers <= self.high + slack)
        if not inside.all():
            reject(name, f"inside [{self.low:g}, {self.high:g}]", float(numbers[~inside][0]))
        return np.clip((numbers - self.low) / (self.high - self.low), 0.0, 1.0)[:, None]

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        values = self.low + unit[:, 0] * (self.high - self.low)
        return [float(v) for v in np.clip(values, self.low, self.high)]

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return np.clip(unit, 0.0, 1.0)

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "real", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Continuous:
    """A frozen continuous distribution of scipy with a bounded support."""

    distribution: Any
    width: int = 1
    is_discrete: bool = False

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = as_float_array(values, name)
        low, high = self.distribution.support()
        slack = 1e-9 * (high - low)
        inside = (numbers >= low - slack) & (numbers <= high + slack)
        if not inside.all():
            reject(name, f"inside [{low:g}, {high:g}]", float(numbers[~inside][0]))
        return np.asarray(self.distribution.cdf(numbers), dtype=float)[:, None]

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        low, high = self.distribution.support()
        values = np.clip(self.distribution.ppf(np.clip(unit[:, 0], 0.0, 1.0)), low, high)
        return [float(v) for v in values]

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return np.clip(unit, 0.0, 1.0)

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "continuous", **_describe_distribution(self.distribution)}


@dataclass(frozen=True)
class Integer:
    """The integers from low to high, both included."""

    low: int
    high: int
    distribution: Any
    width: int = 1
    is_discrete: bool = True

    @property
    def _n(self) -> int:
        return self.high - self.low + 1

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = as_float_array(values, name)
        legal = (numbers == np.round(numbers)) & (numbers >= self.low) & (numbers <= self.high)
        if not legal.all():
            accepted = f"an integer in [{self.low}, {self.high}]"
            reject(name, accepted, float(numbers[~legal][0]))
        return ((numbers - self.low + 0.5) / self._n)[:, None]

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        return [int(v) for v in self.low + self._cell(unit[:, 0])]

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return (self._cell(unit) + 0.5) / self._n

    def _cell(self, unit: FloatArray) -> FloatArray:
        return np.clip(np.floor(unit * self._n), 0, self._n - 1)

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "integer", **_describe_distribution(self.distribution)}


@dataclass(frozen=True)
class Categorical:
    """A list of choices, one coordinate per choice."""

    choices: tuple[Any, ...]
    is_discrete: bool = True

    @property
    def width(self) -> int:
        """One coordinate per choice."""
        return len(self.choices)

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        unit = np.zeros((len(values), self.width))
        for row, value in enumerate(values):
            matches = [i for i, c in enumerate(self.choices) if _same(c, value)]
            if not matches:
                reject(name, "one of " + ", ".join(map(repr, self.choices)), value)
            unit[row, matches[0]] = 1.0
        return unit

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        return [self.choices[i] for i in unit.argmax(axis=1)]

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return np.eye(self.width)[unit.argmax(axis=1)]

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "categorical", "choices": [choice_as_json(c) for c in self.choices]}


def choice_as_json(choice: Any) -> Any:
    """A choice as JSON that `choice_from_json` reads as the same type."""
    if isinstance(choice, tuple):
        return {"tuple": [choice_as_json(c) for c in choice]}
    if isinstance(choice, list):
        return [choice_as_json(c) for c in choice]
    if isinstance(choice, np.generic):
        return choice.item()
    if choice is not None and not isinstance(choice, bool | int | float | str):
        accepted = "made of numbers, strings, None, tuples and lists to be saved"
        return reject("bounds", f"choices {accepted}", choice)
    return choice


def choice_from_json(value: Any) -> Any:
    """The choice that `choice_as_json` wrote."""
    if isinstance(value, dict):
        return tuple(choice_from_json(v) for v in value["tuple"])
    if isinstance(value, list):
        return [choice_from_json(v) for v in value]
    return value


def _same(choice: Any, value: Any) -> bool:
    return (
        choice is value
        or (type(choice) is type(value) and choice == value)
        or (
            isinstance(choice, int | float)
            and isinstance(value, int | float | np.number)
            and not isinstance(choice, bool)
            and not isinstance(value, bool)
            and (choice == value or (math.isnan(choice) and math.isnan(value)))
        )
    )


def _distinct(choices: list[Any]) -> tuple[Any, ...]:
    """The choices without repetitions: of two that are the same only one can be told."""
    kept: list[Any] = []
    for choice in choices:
        if not any(_same(other, choice) for other in kept):
            kept.append(choice)
    return tuple(kept)


def _describe_distribution(distribution: Any) -> dict[str, Any]:
    return {
        "name": distribution.dist.name,
        "args": [float(a) for a in distribution.args],
        "kwds": {k: float(v) for k, v in distribution.kwds.items()},
    }


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
    def is_continuous(self) -> BoolArray:
        """Which unit coordinates may move freely, (n_unit,)."""
        flags = [[not d.is_discrete] * d.width for d in self.dimensions]
        return np.array([flag for group in flags for flag in group], dtype=bool)

    def encode_anywhere(self, x: FloatArray) -> FloatArray:
        """Points of a plain box to unit coordinates, outside of it too (predictions)."""
        low = np.array([d.low for d in self.dimensions if isinstance(d, Real)])
        high = np.array([d.high for d in self.dimensions if isinstance(d, Real)])
        return (x - low) / (high - low)

    def encode(self, x: Any) -> FloatArray:
        """User points to (n, n_unit), or raise for a point outside the space."""
        rows = self._columns(x)
        parts = [
            dimension.encode(column, f"X[{self._label(j)}]")
            for j, (dimension, column) in enumerate(zip(self.dimensions, rows, strict=True))
        ]
        return np.concatenate(parts, axis=1)

    def decode(self, unit: FloatArray) -> Any:
        """(n, n_unit) to an (n, d) array, or a list of dicts for named variables."""
        columns = [
            dimension.decode(part)
            for dimension, part in zip(self.dimensions, self._split(unit), strict=True)
        ]
        if self.names is None:
            return np.array(columns, dtype=float).T.reshape(len(unit), self.n_features)
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

    def snap(self, unit: FloatArray) -> FloatArray:
        """Nearest unit points that stand for values."""
        parts = zip(self.dimensions, self._split(unit), strict=True)
        return np.concatenate([dimension.snap(part) for dimension, part in parts], axis=1)

    def _split(self, unit: FloatArray) -> list[FloatArray]:
        ends = np.cumsum([d.width for d in self.dimensions])[:-1]
        return np.split(unit, ends, axis=1)

    def _label(self, j: int) -> str:
        return f":, {j}" if self.names is None else repr(self.names[j])

    def _columns(self, x: Any) -> list[Sequence[Any]]:
        if self.names is None:
            array = as_float_array(x, "X", ndim=2)
            if array.shape[1] != self.n_features:
                reject("X", f"an array of shape (n, {self.n_features})", f"shape {array.shape}")
            if not np.isfinite(array).all():
                reject("X", "finite", float(array[~np.isfinite(array)][0]))
            return list(array.T)
        points = x.to_dict("records") if hasattr(x, "to_dict") else x
        if isinstance(points, Mapping) or not isinstance(points, Sequence | np.ndarray):
            reject("X", "a list of dicts", x, kind=TypeError)
        for point in points:
            if not isinstance(point, Mapping) or set(point) != set(self.names):
                reject("X", f"a list of dicts with keys {list(self.names)}", point)
        return [[point[name] for point in points] for name in self.names]


def make_space(bounds: Any) -> Space:
    """Read the ``bounds`` parameter.

    Parameters
    ----------
    bounds : array-like of shape (d, 2), or mapping
        A box, or names mapped to (low, high), a frozen scipy.stats distribution, or a list of
        choices.

    Returns
    -------
    Space
        The search space.

    Raises
    ------
    ValueError
        For an empty space, ``low >= high``, NaN, or a distribution without a bounded support.
    TypeError
        For an entry of another kind.

    Examples
    --------
    >>> from scipy.stats import loguniform, randint
    >>> space = make_space({"C": loguniform(0.01, 100), "depth": randint(1, 5), "kind": ["a", "b"]})
    >>> space.decode(space.encode([{"C": 1.0, "depth": 4, "kind": "b"}]))
    [{'C': 1.0..., 'depth': 4, 'kind': 'b'}]
    """
    if isinstance(bounds, Mapping):
        if not bounds:
            reject("bounds", "a mapping with at least one variable", bounds)
        names = tuple(str(name) for name in bounds)
        return Space(tuple(_dimension(name, spec) for name, spec in bounds.items()), names)
    box = as_float_array(bounds, "bounds")
    if box.ndim != 2 or box.shape[1] != 2 or not len(box):
        reject("bounds", "an array of shape (d, 2) with d >= 1", f"shape {box.shape}")
    return Space(tuple(_real(j, low, high) for j, (low, high) in enumerate(box)))


def restore_bounds(description: Any) -> Any:
    """The ``bounds`` parameter that `describe_bounds` wrote."""
    if description is None or isinstance(description, list):
        return description
    return {name: _restore_dimension(entry) for name, entry in description.items()}


def _restore_dimension(entry: dict[str, Any]) -> Any:
    import scipy.stats

    if entry["kind"] == "real":
        return (entry["low"], entry["high"])
    if entry["kind"] == "categorical":
        return [choice_from_json(value) for value in entry["choices"]]
    # Only a distribution: scipy.stats holds functions too, one of which runs files as tests.
    family = getattr(scipy.stats, str(entry["name"]), None)
    if not isinstance(family, scipy.stats.rv_continuous | scipy.stats.rv_discrete):
        reject("bounds", "made of distributions of scipy.stats", entry["name"])
    kwds = {str(name): float(value) for name, value in entry["kwds"].items()}
    return family(*(float(value) for value in entry["args"]), **kwds)


def describe_bounds(bounds: Any) -> Any:
    """The ``bounds`` parameter as JSON."""
    if bounds is None:
        return None
    if not isinstance(bounds, Mapping):
        return np.asarray(bounds, dtype=float).tolist()
    dimensions = make_space(bounds).dimensions
    return {str(n): d.describe() for n, d in zip(bounds, dimensions, strict=True)}


def _real(label: Any, low: float, high: float) -> Real:
    low, high = float(low), float(high)  # NumPy's numbers would warn below
    if not (math.isfinite(low) and math.isfinite(high)):
        got = f"low={low:g}, high={high:g} for dimension {label}"
        raise ValueError(f"bounds must be finite; got {got}.")
    if low >= high:
        got = f"low={low:g}, high={high:g} for dimension {label}"
        raise ValueError(f"bounds must have low < high; got {got}.")
    if not (math.isfinite(high - low) and math.isfinite(1 / (high - low))):
        got = f"low={low:g}, high={high:g} for dimension {label}"
        raise ValueError(f"bounds must be apart by a number with an inverse; got {got}.")
    return Real(low, high)


def _dimension(name: str, spec: Any) -> Dimension:
    if hasattr(spec, "dist") and hasattr(spec, "support"):
        return _from_distribution(name, spec)
    if isinstance(spec, tuple) and len(spec) == 2:
        if any(isinstance(end, bool | str) or end is None for end in spec):
            hint = "Choices are given as a list."
            reject(f"bounds[{name!r}]", "two numbers, low and high", spec, hint=hint)
        low, high = as_float_array(spec, f"bounds[{name!r}]")
        return _real(repr(name), low, high)
    if isinstance(spec, list) and spec:
        return Categorical(_distinct(spec))
    accepted = "(low, high), a frozen scipy.stats distribution or a list of choices"
    return reject(f"bounds[{name!r}]", accepted, spec, kind=TypeError)


def _from_distribution(name: str, spec: Any) -> Dimension:
    low, high = spec.support()
    if not (math.isfinite(low) and math.isfinite(high)):
        reject(f"bounds[{name!r}]", "a distribution with a bounded support", f"[{low}, {high}]")
    if hasattr(spec.dist, "pmf"):
        return Integer(int(low), int(high), spec)
    return Continuous(spec)


def spanned_box(X: FloatArray) -> FloatArray:
    """The box spanned by points, widened where a column is constant."""
    low, high = X.min(axis=0), X.max(axis=0)
    flat = ~(high > low + 1e-12 * np.abs(low))
    pad = np.where(flat, 0.5 * np.maximum(1.0, np.abs(low)), 0.0)
    return np.stack([low - pad, high + pad], axis=1)
