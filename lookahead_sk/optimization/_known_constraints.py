r"""Known constraints: those that are formulas, read from what scipy's optimisers take.

======  ===============  =======================================================
symbol  shape            meaning
======  ===============  =======================================================
u       (n, n_unit)      points of the unit cube
g       (n, k)           inequalities in the user's units, met where ``g <= 0``
E, e    (r, n_unit) (r,) equalities of the unit cube, met where ``E u = e``
======  ===============  =======================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import LinearConstraint, NonlinearConstraint

from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk._validation import Words, as_float_array, reject
from lookahead_sk.optimization._dimensions import Categorical, Real
from lookahead_sk.optimization._space import Space

NAME = "known_constraints"
# An equality holds to this share of the largest sum that its row can take.
EQUALITY_TOLERANCE = 1e-9
# What a told point may miss a constraint by, as for scipy's SLSQP: logs round.
TOLD_TOLERANCE = 1e-6
_STEP = 1e-6  # of central differences, in parts of the box


@dataclass(frozen=True)
class _Inequalities:
    """Values (n, k) of points in the user's units, met where <= 0, and the unit of each."""

    values: Callable[[Any], FloatArray]
    scale: FloatArray  # (k,) or (1,)


@dataclass(frozen=True)
class _Equalities:
    """Rows ``A x = b`` of numbers in the user's units."""

    matrix: FloatArray  # (r, d)
    target: FloatArray  # (r,)
    scale: FloatArray  # (r,)


@dataclass(frozen=True)
class KnownConstraints:
    """What the parameter ``known_constraints`` means in a search space."""

    space: Space
    inequalities: tuple[_Inequalities, ...]
    equalities: tuple[_Equalities, ...]

    def values(self, unit: FloatArray) -> FloatArray:
        """Inequalities g of unit points, (n, k); infinite where they cannot be computed."""
        return self._values(self.space.decode(unit), len(unit))

    def slopes(self, unit: FloatArray, columns: BoolArray) -> FloatArray:
        """Derivatives of g by some coordinates (f of them) of one point (n_unit,), (k, f)."""
        steps = np.eye(len(unit))[columns] * _STEP
        low, high = (np.clip(unit + sign * steps, 0.0, 1.0) for sign in (-1, 1))
        width = (high - low)[:, columns].sum(axis=1)
        after, before = np.split(self.values(np.concatenate([high, low])), 2)
        return np.nan_to_num((after - before).T / width, posinf=0.0, neginf=0.0)

    def is_met(self, unit: FloatArray) -> BoolArray:
        """Which unit points meet all constraints, (n,)."""
        points = self.space.decode(unit)
        holds = (self._values(points, len(unit)) <= 0).all(axis=1)
        return np.asarray(holds & self._holds_equally(points, EQUALITY_TOLERANCE))

    def is_met_by_told(self, points: Any) -> BoolArray:
        """Which points in the user's units meet all constraints but for rounding, (n,)."""
        n, holds = len(points), np.ones(len(points), dtype=bool)
        for group in self.inequalities if n else ():
            holds &= (_checked(group, points, n) <= TOLD_TOLERANCE * group.scale).all(axis=1)
        return np.asarray(holds & self._holds_equally(points, TOLD_TOLERANCE))

    def unit_equalities(self) -> tuple[FloatArray, FloatArray]:
        """The equalities of the unit cube, E (r, n_unit) and e (r,), rows of length one."""
        if not self.equalities:
            return np.empty((0, self.space.n_unit)), np.empty(0)
        rows, targets = [], []
        for group in self.equalities:
            row = np.zeros((len(group.matrix), self.space.n_unit))
            target, place = group.target.copy(), 0
            for j, dimension in enumerate(self.space.dimensions):
                if isinstance(dimension, Real):
                    target -= group.matrix[:, j] * dimension.low
                    row[:, place] = group.matrix[:, j] * (dimension.high - dimension.low)
                place += dimension.width
            length = np.linalg.norm(row, axis=1)
            rows.append(row / length[:, None])
            targets.append(target / length)
        return np.concatenate(rows), np.concatenate(targets)

    def _values(self, points: Any, n: int) -> FloatArray:
        if not n or not self.inequalities:
            return np.empty((n, 0))
        return np.concatenate([_checked(group, points, n) for group in self.inequalities], axis=1)

    def _holds_equally(self, points: Any, tolerance: float) -> BoolArray:
        holds = np.ones(len(points), dtype=bool)
        for group in self.equalities if len(points) else ():
            away = np.abs(_as_numbers(self.space, points) @ group.matrix.T - group.target)
            holds &= (away <= tolerance * group.scale).all(axis=1)
        return holds


def _checked(group: _Inequalities, points: Any, n: int) -> FloatArray:
    return np.nan_to_num(group.values(points), nan=np.inf, posinf=np.inf, neginf=-np.inf)


def read_known_constraints(given: Any, space: Space) -> KnownConstraints | None:
    """Read the parameter ``known_constraints``.

    Parameters
    ----------
    given : LinearConstraint, NonlinearConstraint, callable, a list of these, or None
        The parameter.
    space : Space
        The search space.

    Returns
    -------
    KnownConstraints or None
        The constraints; None for none.

    Raises
    ------
    ValueError
        For a shape that does not fit, or an equality that is not linear.
    TypeError
        For a constraint of another kind.
    """
    if given is None:
        return None
    several = isinstance(given, list | tuple)
    inequalities: list[_Inequalities] = []
    equalities: list[_Equalities] = []
    for i, constraint in enumerate(given if several else [given]):
        label = f"{NAME}[{i}]" if several else NAME
        if len(space.name_sets) > 1 and not callable(constraint):
            accepted = "a callable on a list of dicts where bounds is a list of mappings"
            reject(label, accepted, constraint, kind=TypeError)
        if isinstance(constraint, LinearConstraint):
            _read_linear(constraint, space, label, inequalities, equalities)
        elif isinstance(constraint, NonlinearConstraint):
            inequalities.append(_read_nonlinear(constraint, space, label))
        elif callable(constraint):
            inequalities.append(_read_callable(constraint, label))
        else:
            accepted = "a LinearConstraint, a NonlinearConstraint, a callable, or a list of these"
            reject(label, accepted, constraint, kind=TypeError)
    if not (inequalities or equalities):
        return None
    return KnownConstraints(space, tuple(inequalities), tuple(equalities))


def _read_callable(function: Callable[[Any], Any], label: str) -> _Inequalities:
    def values(points: Any) -> FloatArray:
        found, n = as_float_array(function(points), label), len(points)
        if found.ndim not in (1, 2) or len(found) != n:
            accepted = f"a callable that returns shape ({n},) or ({n}, k) for {n} points"
            hint = "It gets all points at once: one row, or one dict, a point."
            reject(label, accepted, Words(f"shape {found.shape}"), hint=hint)
        return found.reshape(n, -1)

    return _Inequalities(values, np.ones(1))


def _read_nonlinear(constraint: NonlinearConstraint, space: Space, label: str) -> _Inequalities:
    low, high = (as_float_array(side, label).ravel() for side in (constraint.lb, constraint.ub))
    if (low == high).any():
        hint = "Equalities are rows of a LinearConstraint with lb == ub."
        reject(label, "an inequality, lb < ub, where it is not linear", low[0], hint=hint)

    def values(points: Any) -> FloatArray:
        rows = [np.atleast_1d(constraint.fun(x)) for x in _as_numbers(space, points, label)]
        found = as_float_array(rows, label)
        if found.ndim != 2 or (len(low) > 1 and len(low) != found.shape[1]):
            accepted = f"of {len(low)} values a point, as lb and ub are"
            reject(label, accepted, Words(f"shape {found.shape[1:]}"))
        return _both_sides(found, low, high)

    return _Inequalities(values, np.ones(1))


def _read_linear(
    constraint: LinearConstraint,
    space: Space,
    label: str,
    inequalities: list[_Inequalities],
    equalities: list[_Equalities],
) -> None:
    given = constraint.A
    given = given.toarray() if hasattr(given, "toarray") else given
    matrix = np.atleast_2d(as_float_array(given, f"{label}.A"))
    if matrix.shape[1] != space.n_features or not np.isfinite(matrix).all():
        accepted = f"a matrix of finite numbers with {space.n_features} columns, one a variable"
        reject(f"{label}.A", accepted, Words(f"shape {matrix.shape}"))
    low, high = (
        np.broadcast_to(as_float_array(side, label), len(matrix))
        for side in (constraint.lb, constraint.ub)
    )
    largest = np.abs(matrix) @ _magnitudes(space, label)
    is_equal = low == high
    if is_equal.any():
        _check_equalities(matrix[is_equal], space, label)
        rows, target = matrix[is_equal], low[is_equal]
        equalities.append(_Equalities(rows, target, largest[is_equal] + np.abs(target)))
    rest = ~is_equal
    if rest.any():
        matrix, low, high = matrix[rest], low[rest], high[rest]

        def values(points: Any) -> FloatArray:
            return _both_sides(_as_numbers(space, points) @ matrix.T, low, high)

        scale = np.ones_like(largest[rest]) * np.maximum(largest[rest], np.finfo(float).tiny)
        sides = [scale[np.isfinite(side)] for side in (high, low)]
        inequalities.append(_Inequalities(values, np.concatenate(sides)))


def _both_sides(found: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Values <= 0 where found is between low and high, without the open sides."""
    low, high = (np.broadcast_to(side, found.shape[1]) for side in (low, high))
    is_above, is_below = np.isfinite(high), np.isfinite(low)
    over = found[:, is_above] - high[is_above]
    return np.concatenate([over, low[is_below] - found[:, is_below]], axis=1)


def _check_equalities(matrix: FloatArray, space: Space, label: str) -> None:
    for j, dimension in enumerate(space.dimensions):
        if matrix[:, j].any() and not isinstance(dimension, Real):
            hint = "Other variables cannot keep a sum: solve the equality for one of them."
            accepted = "an equality only of variables given as (low, high)"
            name = j if space.names is None else space.names[j]
            reject(label, accepted, Words(f"one of variable {name!r}"), hint=hint)
    if not matrix.any(axis=1).all():
        reject(f"{label}.A", "without rows of zeros where lb == ub", matrix.tolist())


def _magnitudes(space: Space, label: str) -> FloatArray:
    """The largest absolute value of every variable, (d,), or raise where one is no number."""
    ends = np.array([0.0, 1.0])[:, None]
    found = []
    for j, dimension in enumerate(space.dimensions):
        if isinstance(dimension, Categorical):
            _refuse_choices(space, j, label)
        found.append(max(abs(float(v)) for v in dimension.decode(ends)))
    return np.array(found)


def _refuse_choices(space: Space, j: int, label: str) -> None:
    hint = "A callable on a list of dicts can use choices."
    name = "" if space.names is None else space.names[j]
    reject(label, "a callable where variables are choices", Words(f"variable {name!r}"), hint=hint)


def _as_numbers(space: Space, points: Any, label: str = NAME) -> FloatArray:
    """Points in the user's units as an array (n, d), variables in the order of the space."""
    if space.names is None:
        return np.asarray(points, dtype=float)
    for j, dimension in enumerate(space.dimensions):
        if isinstance(dimension, Categorical):
            _refuse_choices(space, j, label)
    names: Sequence[str] = space.names
    rows = [[float(point[name]) for name in names] for point in points]
    return np.array(rows, dtype=float).reshape(len(points), len(names))
