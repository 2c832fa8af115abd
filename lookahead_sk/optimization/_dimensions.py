"""The variables of a search space, and the unit coordinates that stand for their values.

A continuous distribution maps by its distribution function, so that ``loguniform`` is searched on a
log scale; a number of a finite set takes the middle of its cell, as wide as it is probable; a
category takes one coordinate per choice, the largest wins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import Words, as_float_array, reject
from lookahead_sk.optimization._choices import (
    ChoiceIndex,
    choice_as_json,
    choice_from_json,
    copied,
    distinct,
    strict_key,
)
from lookahead_sk.optimization._ordered import as_ordered, cell_widths

_SLACK = 1e-9  # relative, of what rounding makes of a value
_LOG_NAMES = ("loguniform", "reciprocal")  # of one distribution in scipy
_LEAST_SHARE = 1e-3  # of the average width of a cell, for values that are next to impossible
_LARGEST_TABLE = 2**20
LARGEST_WHOLE = 2**53  # larger integers are not told apart
_MOST_SHOWN = 20  # values in a message
# Each choice is a coordinate with a length-scale of its own, which are fitted together.
MOST_CHOICES = 250  # of all lists of a space together


class Dimension(Protocol):
    """One variable."""

    @property
    def width(self) -> int:
        """Number of unit coordinates."""

    @property
    def is_discrete(self) -> bool:
        """Whether only some unit coordinates stand for a value."""

    @property
    def n_values(self) -> float:
        """Number of values, infinite for an interval."""

    @property
    def key(self) -> Any:
        """The same for variables that mean the same."""

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """User values to (n, width) unit coordinates, or raise."""

    def encode_beyond(self, values: Sequence[Any], name: str) -> FloatArray:
        """As `encode`, also beyond the bounds on the same scale, or raise where there is none."""

    def decode(self, unit: FloatArray) -> list[Any]:
        """(n, width) unit coordinates to user values."""

    def canonical(self, values: Sequence[Any], name: str) -> list[Any]:
        """Legal user values as `decode` would write them, or raise."""

    def snap(self, unit: FloatArray) -> FloatArray:
        """Nearest unit coordinates that stand for a value."""

    def all_values(self) -> FloatArray:
        """Unit coordinates of all values of a discrete variable, (n_values, width)."""

    def describe(self) -> dict[str, Any]:
        """What `restore_dimension` needs, as JSON."""


def _without_rounding(unit: FloatArray) -> FloatArray:
    """Coordinates, on a side of the box where rounding puts them beside it."""
    is_at_side = np.abs(unit - 0.5) <= 0.5 + 1e-9
    return np.where(is_at_side, np.clip(unit, 0.0, 1.0), unit)


class _Interval:
    """What all continuous variables have in common."""

    low: float
    high: float
    width = 1
    is_discrete = False
    n_values = math.inf

    def canonical(self, values: Sequence[Any], name: str) -> list[float]:
        """See `Dimension`."""
        numbers = as_float_array(values, name)
        # A relative slack: on a log scale what is near the lower end is small.
        width = self.high - self.low
        low = self.low - _SLACK * min(abs(self.low) or width, width)
        high = self.high + _SLACK * min(abs(self.high) or width, width)
        inside = (numbers >= low) & (numbers <= high)
        if not inside.all():
            reject(name, f"inside [{self.low:g}, {self.high:g}]", float(numbers[~inside][0]))
        return [float(v) for v in np.clip(numbers, self.low, self.high)]

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return np.clip(unit, 0.0, 1.0)

    def all_values(self) -> FloatArray:
        """See `Dimension`."""
        raise TypeError("an interval has no list of values")


@dataclass(frozen=True)
class Real(_Interval):
    """An interval, searched linearly."""

    low: float
    high: float

    @property
    def key(self) -> Any:
        """See `Dimension`."""
        return ("real", self.low, self.high)

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = np.array(self.canonical(values, name), dtype=float)
        return np.clip((numbers - self.low) / (self.high - self.low), 0.0, 1.0)[:, None]

    def encode_beyond(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        unit = (as_float_array(values, name) - self.low) / (self.high - self.low)
        return _without_rounding(unit)[:, None]

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        values = self.low + unit[:, 0] * (self.high - self.low)
        return [float(v) for v in np.clip(values, self.low, self.high)]

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "real", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Continuous(_Interval):
    """A frozen continuous distribution of scipy with a bounded support."""

    distribution: Any
    low: float
    high: float

    @property
    def key(self) -> Any:
        """See `Dimension`."""
        d = self.distribution
        arguments = {**dict(enumerate(d.args)), **d.kwds}
        return ("continuous", type(d.dist), d.dist.name, strict_key(arguments))

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = np.array(self.canonical(values, name), dtype=float)
        return np.asarray(self.distribution.cdf(numbers), dtype=float)[:, None]

    def encode_beyond(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers, family = as_float_array(values, name), self.distribution.dist.name
        inside = (numbers >= self.low) & (numbers <= self.high)
        unit = np.asarray(self.distribution.cdf(numbers), dtype=float)
        beyond, low, high = numbers[~inside], self.low, self.high
        is_log = family in _LOG_NAMES
        if len(beyond) and not (family == "uniform" or (is_log and beyond.min() > 0)):
            accepted = f"inside [{low:g}, {high:g}], where the scale of {family} ends"
            reject(name, accepted, float(beyond[0]))
        if is_log:
            beyond, low, high = np.log(beyond), math.log(low), math.log(high)
        unit[~inside] = (beyond - low) / (high - low)
        return unit[:, None]

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        values = self.distribution.ppf(np.clip(unit[:, 0], 0.0, 1.0))
        return [float(v) for v in np.clip(values, self.low, self.high)]

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "continuous", **_describe_distribution(self.distribution)}


class _Cells:
    """What all numbers of a finite set have in common."""

    width = 1
    is_discrete = True

    def canonical(self, values: Sequence[Any], name: str) -> list[Any]:
        """See `Dimension`."""
        return self.decode(self.encode(values, name))

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        raise NotImplementedError

    def encode_beyond(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        return self.encode(values, name)

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Integer(_Cells):
    """The integers from low to high, both included, of one probability."""

    low: int
    high: int

    @property
    def n_values(self) -> int:
        """See `Dimension`."""
        return self.high - self.low + 1

    @property
    def key(self) -> Any:
        """See `Dimension`."""
        return ("integer", self.low, self.high)

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = as_float_array(values, name)
        whole = np.round(numbers)
        is_whole = np.abs(numbers - whole) <= _SLACK * np.maximum(1.0, np.abs(whole))
        legal = is_whole & (whole >= self.low) & (whole <= self.high)
        if not legal.all():
            accepted = f"an integer in [{self.low}, {self.high}]"
            reject(name, accepted, float(numbers[~legal][0]))
        return ((whole - self.low + 0.5) / self.n_values)[:, None]

    def encode_beyond(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = as_float_array(values, name)
        if (numbers != np.round(numbers)).any():
            reject(name, "an integer", float(numbers[numbers != np.round(numbers)][0]))
        return ((numbers - self.low + 0.5) / self.n_values)[:, None]

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        return [self.low + int(v) for v in self._cell(unit[:, 0])]

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return (self._cell(unit) + 0.5) / self.n_values

    def all_values(self) -> FloatArray:
        """See `Dimension`."""
        return (np.arange(self.n_values)[:, None] + 0.5) / self.n_values

    def _cell(self, unit: FloatArray) -> FloatArray:
        return np.clip(np.floor(unit * self.n_values), 0, self.n_values - 1)

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "integer", "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class Lattice(_Cells):
    """A finite set of numbers, each with a probability."""

    values: FloatArray  # (k,), growing
    probabilities: FloatArray  # (k,), positive
    choices: tuple[Any, ...] | None = None  # the values as they were given, for a sequence

    @property
    def n_values(self) -> int:
        """See `Dimension`."""
        return len(self.values)

    @property
    def key(self) -> Any:
        """See `Dimension`."""
        if self.choices is not None:
            return ("ordered", *map(strict_key, self.choices))
        return ("lattice", self.values.tobytes(), self.probabilities.tobytes())

    @cached_property
    def _edges(self) -> FloatArray:
        """Ends of the cells, (k + 1,): none is so narrow that rounding misses it."""
        share = self.probabilities / self.probabilities.sum()
        widths = np.maximum(share, _LEAST_SHARE / len(share))
        return np.concatenate([[0.0], np.cumsum(widths / widths.sum())])

    @cached_property
    def _is_whole(self) -> bool:
        return bool((self.values == np.round(self.values)).all())

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        numbers = as_float_array(values, name)
        after = np.clip(np.searchsorted(self.values, numbers), 1, max(1, len(self.values) - 1))
        before = after - 1
        after = np.minimum(after, len(self.values) - 1)
        is_nearer = np.abs(numbers - self.values[before]) < np.abs(numbers - self.values[after])
        cell = np.where(is_nearer, before, after)
        legal = np.isclose(numbers, self.values[cell], rtol=_SLACK, atol=0.0)
        if not legal.all():
            accepted = _one_of([f"{v:g}" for v in self.values[: _MOST_SHOWN + 1]])
            reject(name, accepted, float(numbers[~legal][0]))
        return self.all_values()[cell]

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        if self.choices is not None:
            return [self.choices[i] for i in self._cell(unit[:, 0])]
        kind = int if self._is_whole else float
        return [kind(v) for v in self.values[self._cell(unit[:, 0])]]

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return self.all_values()[self._cell(unit[:, 0])]

    def all_values(self) -> FloatArray:
        """See `Dimension`."""
        return ((self._edges[:-1] + self._edges[1:]) / 2)[:, None]

    def _cell(self, unit: FloatArray) -> Any:
        return np.searchsorted(self._edges[1:-1], unit, side="right")

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        if self.choices is not None:
            return {"kind": "ordered", "choices": [choice_as_json(c) for c in self.choices]}
        return {
            "kind": "lattice",
            "values": self.values.tolist(),
            "probabilities": self.probabilities.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Categorical:
    """A list of choices, one coordinate per choice."""

    choices: tuple[Any, ...]
    is_discrete: bool = True

    @property
    def width(self) -> int:
        """One coordinate per choice."""
        return len(self.choices)

    @property
    def n_values(self) -> int:
        """See `Dimension`."""
        return len(self.choices)

    @cached_property
    def key(self) -> Any:
        """See `Dimension`."""
        return ("categorical", *map(strict_key, self.choices))

    @cached_property
    def _index(self) -> ChoiceIndex:
        return ChoiceIndex(self.choices)

    def encode(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        unit = np.zeros((len(values), self.width))
        for row, value in enumerate(values):
            place = self._index.find(value)
            if place is None:
                reject(name, _one_of(list(map(repr, self.choices))), value)
            unit[row, place] = 1.0
        return unit

    def encode_beyond(self, values: Sequence[Any], name: str) -> FloatArray:
        """See `Dimension`."""
        return self.encode(values, name)

    def decode(self, unit: FloatArray) -> list[Any]:
        """See `Dimension`."""
        return [copied(self.choices[i]) for i in unit.argmax(axis=1)]

    def canonical(self, values: Sequence[Any], name: str) -> list[Any]:
        """See `Dimension`."""
        return self.decode(self.encode(values, name))

    def snap(self, unit: FloatArray) -> FloatArray:
        """See `Dimension`."""
        return np.eye(self.width)[unit.argmax(axis=1)]

    def all_values(self) -> FloatArray:
        """See `Dimension`."""
        return np.eye(self.width)

    def describe(self) -> dict[str, Any]:
        """See `Dimension`."""
        return {"kind": "categorical", "choices": [choice_as_json(c) for c in self.choices]}


def _one_of(shown: list[str]) -> str:
    more = [", ..."] * (len(shown) > _MOST_SHOWN)
    return "one of " + ", ".join(shown[:_MOST_SHOWN]) + "".join(more)


def _describe_distribution(distribution: Any) -> dict[str, Any]:
    import scipy.stats

    name = distribution.dist.name
    if type(getattr(scipy.stats, str(name), None)) is not type(distribution.dist):
        reject("bounds", "made of distributions of scipy.stats to be saved", name)
    return {
        "name": name,
        "args": [float(a) for a in distribution.args],
        "kwds": {k: float(v) for k, v in distribution.kwds.items()},
    }


def make_real(label: str, low: float, high: float) -> Real:
    """An interval, or raise."""
    low, high = float(low), float(high)  # NumPy's numbers would warn below
    got = f"low={low:g}, high={high:g} for dimension {label}"
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"bounds must be finite; got {got}.")
    if low == high:
        hint = "In a mapping a constant is a list of one choice."
        raise ValueError(f"bounds must have low < high; got {got}. {hint}")
    if low > high:
        raise ValueError(f"bounds must have low < high; got {got}.")
    if not (math.isfinite(high - low) and math.isfinite(1 / (high - low))):
        raise ValueError(f"bounds must be apart by a number with an inverse; got {got}.")
    return Real(low, high)


def make_dimension(name: str, spec: Any) -> Dimension:
    """The variable that an entry of a mapping describes, or raise."""
    label = f"bounds[{name!r}]"
    if hasattr(spec, "rvs") and hasattr(spec, "support"):
        return _from_distribution(label, spec)
    if isinstance(spec, tuple) and len(spec) == 2:
        if any(isinstance(end, bool | np.bool_ | str) or end is None for end in spec):
            hint = "Choices are given as a list."
            reject(label, "two numbers, low and high", spec, hint=hint)
        low, high = as_float_array(spec, label)
        return make_real(repr(name), low, high)
    ordered = as_ordered(spec)
    if ordered is not None:
        return _make_ordered(label, ordered)
    if isinstance(spec, list | range) or (isinstance(spec, np.ndarray) and spec.ndim):
        choices = spec.tolist() if isinstance(spec, np.ndarray) else list(spec)
        if choices:
            return _from_choices(choices)
    accepted = "(low, high), a frozen scipy.stats distribution or a list of choices"
    return reject(label, accepted, spec, kind=TypeError)


def check_size(dimensions: Sequence[Dimension]) -> None:
    """Raise for more choices than can be modelled in bounded time and memory."""
    n_choices = sum(d.width for d in dimensions if isinstance(d, Categorical))
    if n_choices > MOST_CHOICES:
        hint = (
            "Each choice is a coordinate of its own. Numbers are given as a growing list or as "
            "scipy.stats.randint; other choices are described by a few variables."
        )
        reject("bounds", f"lists of at most {MOST_CHOICES} choices together", n_choices, hint=hint)


def _from_choices(spec: list[Any]) -> Categorical:
    choices = distinct(spec)
    return Categorical(tuple(copied(choice) for choice in choices))


def _make_ordered(label: str, choices: list[Any]) -> Lattice:
    if len(choices) > _LARGEST_TABLE:
        hint = "Many integers are scipy.stats.randint, many numbers (low, high)."
        reject(label, f"of at most {_LARGEST_TABLE} numbers", len(choices), hint=hint)
    if max(abs(choices[0]), abs(choices[-1])) > LARGEST_WHOLE:
        reject(label, f"of numbers of at most {LARGEST_WHOLE}", choices[-1])
    values = np.array(choices, dtype=float)
    widths = cell_widths(values)
    return Lattice(values, widths / widths.sum(), tuple(choices))


def _from_distribution(label: str, spec: Any) -> Dimension:
    if not hasattr(spec, "dist"):
        if getattr(spec, "numargs", 1):
            accepted = "a frozen distribution, such as scipy.stats.randint(1, 9)"
            reject(label, accepted, getattr(spec, "name", spec), kind=TypeError)
        spec = spec()
    ends = spec.support()
    if np.ndim(ends[0]) or np.ndim(ends[1]):
        reject(label, "a distribution of one number", Words(f"ends {ends[0]} and {ends[1]}"))
    low, high = float(ends[0]), float(ends[1])
    if math.isnan(low) or math.isnan(high):
        arguments = [*map(str, spec.args), *(f"{k}={v}" for k, v in spec.kwds.items())]
        hint = "randint(low, high) draws from low to high - 1." * (spec.dist.name == "randint")
        accepted = "a distribution whose parameters are legal"
        reject(label, accepted, Words(f"{spec.dist.name}({', '.join(arguments)})"), hint=hint)
    if not (math.isfinite(low) and math.isfinite(high)):
        reject(label, "a distribution with a bounded support", Words(f"[{low:g}, {high:g}]"))
    if not hasattr(spec.dist, "pmf"):
        if low >= high:
            reject(label, "a distribution with low < high", Words(f"[{low:g}, {high:g}]"))
        return Continuous(spec, low, high)
    if max(abs(low), abs(high)) > LARGEST_WHOLE:
        reject(label, f"of integers of at most {LARGEST_WHOLE}, which floats hold", high)
    if spec.dist.name == "randint" and low == round(low):
        return Integer(round(low), round(high))
    return _make_lattice(label, spec, low, high)


def _make_lattice(label: str, spec: Any, low: float, high: float) -> Lattice:
    if hasattr(spec.dist, "xk"):  # rv_discrete(values=...)
        values = np.asarray(spec.dist.xk, dtype=float).ravel()
        values = values + (low - values.min())
        probabilities = np.asarray(spec.dist.pk, dtype=float).ravel()
    else:
        if high - low >= _LARGEST_TABLE:
            reject(
                label,
                f"randint, or of at most {_LARGEST_TABLE} values",
                Words(f"{high - low + 1:g}"),
            )
        values = low + np.arange(round(high - low) + 1)
        probabilities = np.asarray(spec.pmf(values), dtype=float)
    values, place = np.unique(values, return_inverse=True)
    probabilities = np.bincount(place, weights=probabilities).astype(float)
    is_possible = probabilities > 0
    return Lattice(values[is_possible], probabilities[is_possible])


def restore_dimension(entry: dict[str, Any]) -> Any:
    """The entry of a mapping that `Dimension.describe` described."""
    import scipy.stats

    kind = entry["kind"]
    if kind == "real":
        return (entry["low"], entry["high"])
    if kind in ("categorical", "ordered"):
        choices = [choice_from_json(value) for value in entry["choices"]]
        # A list of two has no order, an array or a range of two has.
        return np.array(choices) if kind == "ordered" and len(choices) == 2 else choices
    if kind == "lattice":
        values = as_float_array(entry["values"], "values", ndim=1)
        share = as_float_array(entry["probabilities"], "probabilities", ndim=1)
        return scipy.stats.rv_discrete(values=(values, share / share.sum()))()
    if kind == "integer" and "low" in entry:
        return scipy.stats.randint(int(entry["low"]), int(entry["high"]) + 1)
    # Only a distribution: scipy.stats holds functions too, one of which runs files as tests.
    family = getattr(scipy.stats, str(entry["name"]), None)
    if not isinstance(family, scipy.stats.rv_continuous | scipy.stats.rv_discrete):
        reject("bounds", "made of distributions of scipy.stats", entry["name"])
    kwds = {str(name): float(value) for name, value in entry["kwds"].items()}
    return family(*(float(value) for value in entry["args"]), **kwds)
