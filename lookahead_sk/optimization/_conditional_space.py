r"""A search space of branches: which variables a point has depends on its branch.

The unit cube has a coordinate for each branch, of which the largest wins, and one for every
variable of any branch. A variable of several branches is one coordinate where it means the same in
them, and constants need none. What a point does not have is held in the middle of the cube, so that
points of a branch differ in their own variables only, and a stationary process of the whole cube is
one of each branch; what the branches have in common it learns from all of them.

Source of the imputation: Hutter, Hoos and Leyton-Brown, "Sequential model-based optimization for
general algorithm configuration", LION 2011, section 4.1.

======  =============  ==========================================================
symbol  shape          meaning
======  =============  ==========================================================
u       (n, n_unit)    points of the unit cube: B coordinates of branches first
B                      number of branches
======  =============  ==========================================================
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk._validation import reject
from lookahead_sk.optimization._choices import copied
from lookahead_sk.optimization._dimensions import (
    Categorical,
    Dimension,
    check_size,
    make_dimension,
)
from lookahead_sk.optimization._plain_space import MOST_NUMBERS, Space, half_unit, read_points

IntArray = np.ndarray[Any, np.dtype[np.intp]]
_FEW = 1000  # values that are compared one by one


@dataclass(frozen=True)
class Branch:
    """Variables that occur together."""

    names: tuple[str, ...]  # of its points, in the order of the user
    constants: Mapping[str, Dimension]
    places: Mapping[str, int]  # of the other variables among the dimensions of the space

    def takes(self, point: Mapping[str, Any]) -> bool:
        """Whether a point has these variables, and the constants their values."""
        if set(point) != set(self.names):
            return False
        return all(is_legal(d, point[name], name) for name, d in self.constants.items())


@dataclass(frozen=True)
class ConditionalSpace(Space):
    """Branches and all their variables; ``dimensions`` are those that are no constants."""

    branches: tuple[Branch, ...] = ()
    open_branches: tuple[int, ...] = ()  # where points may be: others are left out of an ask

    @property
    def n_features(self) -> int:
        """Number of variables, the choice of the branch included."""
        return 1 + len(self.dimensions)

    @property
    def n_unit(self) -> int:
        """Number of unit coordinates."""
        return len(self.branches) + super().n_unit

    @property
    def key(self) -> Any:
        """The same for spaces that mean the same."""
        branches = [
            (b.names, *((n, d.key) for n, d in b.constants.items()), *b.places.items())
            for b in self.branches
        ]
        return tuple(branches), tuple(dimension.key for dimension in self.dimensions)

    @property
    def name_sets(self) -> tuple[tuple[str, ...], ...]:
        """The names that a point may have, one tuple a branch."""
        return tuple(branch.names for branch in self.branches)

    @property
    def layout(self) -> Any:
        """The same for spaces whose points have the same variables."""
        return self.name_sets

    @property
    def variables(self) -> list[tuple[str, Dimension]]:
        """Named variables, constants too."""
        return [
            pair
            for branch in self.branches
            for pair in (
                *branch.constants.items(),
                *((name, self.dimensions[j]) for name, j in branch.places.items()),
            )
        ]

    @property
    def n_branches(self) -> int:
        """Number of branches that points may be in."""
        return len(self.open_branches)

    @property
    def n_values(self) -> float:
        """Number of points, infinite where a variable is continuous."""
        return sum(self._n_values_of(b) for b in self.open_branches)

    def _n_values_of(self, b: int) -> float:
        sizes = [float(self.dimensions[j].n_values) for j in self.branches[b].places.values()]
        return math.prod(sizes)

    @cached_property
    def is_continuous(self) -> BoolArray:
        """Which unit coordinates may move freely where they are used, (n_unit,)."""
        return np.concatenate([np.zeros(len(self.branches), dtype=bool), super().is_continuous])

    @cached_property
    def _slices(self) -> list[slice]:
        ends = len(self.branches) + np.cumsum([0, *(d.width for d in self.dimensions)])
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]

    @cached_property
    def _is_used(self) -> BoolArray:
        """Which unit coordinates the points of each branch have, (B, n_unit)."""
        used = np.zeros((len(self.branches), self.n_unit), dtype=bool)
        used[:, : len(self.branches)] = True
        for b, branch in enumerate(self.branches):
            for j in branch.places.values():
                used[b, self._slices[j]] = True
        return used

    @cached_property
    def _middle(self) -> FloatArray:
        """Coordinates of variables that a point does not have, (n_unit,)."""
        parts = [np.full(d.width, 1 / max(2, d.width)) for d in self.dimensions]
        return np.concatenate([np.zeros(len(self.branches)), *parts])

    def branch_of(self, unit: FloatArray) -> IntArray:
        """Branches of unit points (..., n_unit), (...)."""
        only = np.array(self.open_branches)
        return np.asarray(only[unit[..., only].argmax(axis=-1)])

    def is_free(self, unit: FloatArray) -> BoolArray:
        """Which coordinates of unit points (..., n_unit) may move freely, of that shape."""
        return np.asarray(self.is_continuous & self._is_used[self.branch_of(unit)])

    def shares_branch(self, unit: FloatArray, point: FloatArray) -> BoolArray:
        """Which unit points (n, n_unit) have the variables of one (n_unit,), (n,)."""
        return np.asarray(self.branch_of(unit) == self.branch_of(point))

    def dealt(self, unit: FloatArray) -> FloatArray:
        """Unit points of a design (n, n_unit), as many in each branch but for one.

        Of as many points in a row as there are branches, that with the smallest first coordinate
        is put into the first branch, and so on.
        """
        size, unit = self.n_branches, unit.copy()
        for begin in range(0, len(unit), size):
            order = unit[begin : begin + size, 0].argsort(kind="stable").argsort(kind="stable")
            rows = np.array(self.open_branches)[order]
            unit[begin : begin + size, : len(self.branches)] = np.eye(len(self.branches))[rows]
        return unit

    def encode(self, x: Any) -> FloatArray:
        """User points to (n, n_unit), or raise for a point outside the space."""
        return self._encode(x, lambda d, values, label: d.encode(values, label))

    def encode_beyond(self, x: Any) -> FloatArray:
        """User points to (n, n_unit) on the same scale outside of the bounds too, or raise."""
        return self._encode(x, lambda d, values, label: d.encode_beyond(values, label))

    def _encode(self, x: Any, encode: Callable[..., FloatArray]) -> FloatArray:
        points = self._points(x)
        place = self._branches_of(points)
        unit = np.tile(self._middle, (len(points), 1))
        unit[np.arange(len(points)), place] = 1.0
        for rows, j, name in self._columns_by_branch(place):
            values = [points[i][name] for i in rows]
            unit[rows, self._slices[j]] = encode(self.dimensions[j], values, f"X[{name!r}]")
        return unit

    def canonical(self, x: Any) -> Any:
        """User points as `decode` would write them, or raise for a point outside the space."""
        points = self._points(x)
        place = self._branches_of(points)
        found = self._begin(place)
        for rows, j, name in self._columns_by_branch(place):
            values = [points[i][name] for i in rows]
            values = self.dimensions[j].canonical(values, f"X[{name!r}]")
            for i, value in zip(rows, values, strict=True):
                found[i][name] = value
        return found

    def decode(self, unit: FloatArray) -> Any:
        """(n, n_unit) to a list of dicts, each with the variables of its branch."""
        place = self.branch_of(unit) if len(unit) else np.zeros(0, dtype=np.intp)
        found = self._begin(place)
        for rows, j, name in self._columns_by_branch(place):
            values = self.dimensions[j].decode(unit[rows, self._slices[j]])
            for i, value in zip(rows, values, strict=True):
                found[i][name] = value
        return found

    def _begin(self, place: IntArray) -> list[dict[str, Any]]:
        """Points (n,) with their constants, and room for the rest in the order of the user."""
        nothing = np.zeros((1, 1))
        starts = [
            {n: b.constants[n].decode(nothing)[0] if n in b.constants else None for n in b.names}
            for b in self.branches
        ]
        return [{name: copied(value) for name, value in starts[b].items()} for b in place]

    def _columns_by_branch(self, place: IntArray) -> list[tuple[IntArray, int, str]]:
        """Rows that have a variable, its place among the dimensions, and its name."""
        return [
            (np.flatnonzero(place == b), j, name)
            for b in np.unique(place)
            for name, j in self.branches[b].places.items()
        ]

    def snap(self, unit: FloatArray) -> FloatArray:
        """Nearest unit points that stand for values."""
        if not len(unit):
            return unit
        place = self.branch_of(unit)
        found = np.tile(self._middle, (len(unit), 1))
        found[np.arange(len(unit)), place] = 1.0
        for rows, j, _ in self._columns_by_branch(place):
            found[rows, self._slices[j]] = self.dimensions[j].snap(unit[rows, self._slices[j]])
        return found

    def all_points(self) -> FloatArray | None:
        """Every point of a finite space, (c, n_unit); None for a space that is not small."""
        if self.n_values * self.n_unit > MOST_NUMBERS:
            return None
        return np.concatenate([self._all_points_of(b) for b in self.open_branches])

    def _all_points_of(self, b: int) -> FloatArray:
        places = list(self.branches[b].places.values())
        columns = [self.dimensions[j].all_values() for j in places]
        n = round(self._n_values_of(b))
        index = np.indices([len(column) for column in columns]).reshape(len(columns), n)
        unit = np.tile(self._middle, (n, 1))
        unit[:, b] = 1.0
        for j, column, i in zip(places, columns, index, strict=True):
            unit[:, self._slices[j]] = column[i]
        return unit

    def is_rounded(self, unit: FloatArray, point: Any) -> BoolArray:
        """Which unit points (n, n_unit) a user may have rounded to a point, (n,)."""
        (b,) = self._branches_of([point])
        is_it = np.asarray(self.branch_of(unit) == b)
        for name, j in self.branches[b].places.items():
            if not self.dimensions[j].is_discrete:
                values = np.array(self.dimensions[j].decode(unit[:, self._slices[j]]))
                is_it &= np.abs(values - point[name]) <= half_unit(point[name])
        return is_it

    def holding(self, values: Mapping[Any, Any]) -> Space:
        """The space of the branches that have these variables with these values, or raise."""
        names = list(self.names or ())
        for name in values:
            if name not in names:
                reject("fixed", f"a dict of names among {names} and values", name)
        taken = [b for b in self.open_branches if self._has(b, values)]
        if not taken:
            reject("fixed", "values that one dict of bounds takes together", dict(values))
        return replace(self, open_branches=tuple(taken))

    def _has(self, b: int, values: Mapping[Any, Any]) -> bool:
        branch = self.branches[b]
        return all(
            name in branch.names and is_legal(self._dimension_of(branch, name), value, name)
            for name, value in values.items()
        )

    def _dimension_of(self, branch: Branch, name: str) -> Dimension:
        constant = branch.constants.get(name)
        return self.dimensions[branch.places[name]] if constant is None else constant

    def encode_fixed(self, values: Mapping[Any, Any]) -> FloatArray:
        """Values of some variables of the open branches to (n_unit,): NaN where there is none."""
        held = np.full(self.n_unit, np.nan)
        only = self.open_branches
        if len(only) == 1 and set(self.branches[only[0]].places) <= set(values):
            reject("fixed", "such that a variable is left to choose", dict(values))
        for b in only:
            for name, j in self.branches[b].places.items():
                if name in values:
                    label = f"fixed[{name!r}]"
                    (held[self._slices[j]],) = self.dimensions[j].encode([values[name]], label)
        return held

    def _points(self, x: Any) -> list[Mapping[str, Any]]:
        """Points as dicts of what they have: a table has missing values where they have nothing."""
        points = read_points(x)
        if points and hasattr(x, "columns"):
            return [self._without_missing(point) for point in points]
        return points

    def _without_missing(self, point: Mapping[str, Any]) -> Mapping[str, Any]:
        for b, branch in enumerate(self.branches):
            rest = [value for name, value in point.items() if name not in branch.names]
            if all(map(_is_missing, rest)):
                own = {name: point[name] for name in branch.names if name in point}
                if len(own) == len(branch.names) and self._has(b, own):
                    return own
        return {name: value for name, value in point.items() if not _is_missing(value)}

    def _branches_of(self, points: Sequence[Mapping[str, Any]]) -> IntArray:
        """The branch of each point, or raise for a point of none."""
        return np.array([self._branch_of_point(point) for point in points], dtype=np.intp)

    def _branch_of_point(self, point: Mapping[str, Any]) -> int:
        taking = [b for b, branch in enumerate(self.branches) if branch.takes(point)]
        if not taking:
            keys = " or ".join(str(list(names)) for names in dict.fromkeys(self.name_sets))
            accepted = f"a list of dicts with keys {keys}"
            is_key_set = any(set(point) == set(names) for names in self.name_sets)
            hint = "No branch of the space has these values together." if is_key_set else ""
            reject("X", accepted, dict(point), hint=hint)
        if len(taking) > 1:
            legal = [b for b in taking if self._has(b, point)]
            taking = legal or taking
        return taking[0]


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or value is np.ma.masked
        or type(value).__name__ == "NAType"
        or (isinstance(value, float | np.floating) and math.isnan(value))
    )


def is_legal(dimension: Dimension, value: Any, name: str) -> bool:
    """Whether a variable may have a value."""
    try:
        dimension.encode([value], name)
    except (TypeError, ValueError):
        return False
    return True


def check_names(bounds: Mapping[Any, Any]) -> None:
    """Raise for a mapping whose names are no strings."""
    for name in bounds:
        if not isinstance(name, str):
            reject("bounds", "a mapping with names that are strings", name, kind=TypeError)


def make_conditional_space(bounds: Sequence[Mapping[str, Any]]) -> ConditionalSpace:
    """The space of several mappings, or raise.

    Parameters
    ----------
    bounds : sequence of mapping
        Two or more mappings as `make_space` takes one; an empty mapping is a point without
        variables.

    Returns
    -------
    ConditionalSpace
        The search space.

    Raises
    ------
    ValueError
        If an entry is not legal, or a point belongs to two mappings.
    TypeError
        For an entry of another kind.

    Examples
    --------
    >>> space = make_conditional_space([{"k": ["rbf"], "gamma": (0, 4)}, {"k": ["linear"]}])
    >>> space.encode([{"k": "rbf", "gamma": 1.0}, {"k": "linear"}])
    array([[1.  , 0.  , 0.25],
           [0.  , 1.  , 0.5 ]])
    """
    places: dict[Any, int] = {}
    dimensions: list[Dimension] = []
    branches = []
    for mapping in bounds:
        check_names(mapping)
        constants, own = {}, {}
        for name, spec in mapping.items():
            dimension = make_dimension(name, spec)
            if isinstance(dimension, Categorical) and dimension.n_values == 1:
                constants[name] = dimension
                continue
            own[name] = places.setdefault((name, dimension.key), len(dimensions))
            dimensions += [dimension] * (own[name] == len(dimensions))
        branches.append(Branch(tuple(mapping), constants, own))
    names = tuple(dict.fromkeys(name for mapping in bounds for name in mapping))
    every = tuple(range(len(branches)))
    check_size([Categorical(every), *dimensions])  # a branch takes a coordinate as a choice does
    space = ConditionalSpace(tuple(dimensions), names, tuple(branches), every)
    for a, b in itertools.combinations(every, 2):
        is_same_set = set(space.name_sets[a]) == set(space.name_sets[b])
        if is_same_set and all(_overlap(space, a, b, name) for name in space.name_sets[a]):
            hint = "Otherwise a result could be told to either of them."
            accepted = "a list of mappings no two of which have a point in common"
            reject("bounds", accepted, bounds[b], hint=hint)
    return space


def _overlap(space: ConditionalSpace, a: int, b: int, name: str) -> bool:
    """Whether a variable has values in common in two branches."""
    first, second = (space._dimension_of(space.branches[x], name) for x in (a, b))
    if first.key == second.key:
        return True
    for one, other in ((first, second), (second, first)):
        if one.is_discrete and (isinstance(one, Categorical) or one.n_values <= _FEW):
            return any(is_legal(other, v, name) for v in one.decode(one.all_values()))
    ends = [d.decode(np.array([[0.0], [1.0]])) for d in (first, second)]
    return bool(max(low for low, _ in ends) < min(high for _, high in ends))
