"""The trust region of exploit steps: it grows and shrinks with their success.

Source: Conn, Gould and Toint, "Trust-region methods", 2000, algorithm 6.1.1. A step is a success if
it has improved the best feasible value, or if its model foresaw what it did to the objective and to
the constraints that are nearly active: then a step that has missed the boundary was right to be so
long.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import as_float_array, check_choice, check_float, reject

_SMALLEST, _LARGEST = 1e-8, 1.0  # radii, in parts of the box
_SAME = 1e-9
_SHRINKAGE = 0.5  # of the radius, in steps
_GROWTH, _GROWTH_FORESEEN = 4.0, 2.0  # after a better point, and after one that was only foreseen
_ERROR = 0.3  # of the foreseen change, up to which a step was foreseen


@dataclass(frozen=True)
class ExploitStep:
    """What an exploit step goes for."""

    point: FloatArray  # (d,)
    expected: FloatArray | None  # (J,), outputs expected there, if the local model expects them
    is_local: bool  # whether that is the local model, not the Gaussian processes


@dataclass(frozen=True)
class TrustRegion:
    """Radius around the best point, and the exploit step whose outcome will change it."""

    radius: float = _LARGEST  # in parts of the box
    centre: tuple[float, ...] | None = None  # the best point after the last exploit step
    point: tuple[float, ...] | None = None  # of the last exploit step, until it is told
    before: tuple[float, ...] = ()  # outputs of the best point before it
    expected: tuple[float, ...] = ()  # outputs that its model expected
    is_local: bool = False  # whether the local model is the one to try first
    is_retry: bool = False  # whether another failure ends the plan
    is_coarse: bool = False  # whether small gains are worth no further step

    def around(self, centre: FloatArray) -> float:
        """The radius around the best point, which reaches to where it was before."""
        if self.centre is None:
            return self.radius
        return min(_LARGEST, max(self.radius, _distance(centre, self.centre)))

    def awaiting(
        self,
        step: ExploitStep,
        centre: FloatArray,
        before: FloatArray,
        expected: FloatArray,
        *,
        is_exact: bool,
    ) -> Self:
        """After an exploit step from the best point: outputs there, and those expected."""
        place, begin = _as_tuple(step.point), _as_tuple(centre)
        return replace(
            self,
            radius=self.around(centre),
            centre=begin,
            point=place,
            before=_as_tuple(before),
            expected=_as_tuple(expected),
            is_local=step.is_local,
            is_retry=self.is_retry or not is_exact,
        )

    def is_among(self, pending: FloatArray) -> bool:
        """Whether the exploit step is one of the points (p, d) that are not told yet."""
        if self.point is None or not len(pending):
            return False
        return bool((np.abs(pending - np.array(self.point)).max(axis=1) < _SAME).any())

    def outcome(self, unit: FloatArray, outputs: FloatArray) -> FloatArray | None:
        """Outputs (J,) of the step among evaluations (n, d) and (n, J), None if it is not there."""
        if self.point is None or not len(unit):
            return None
        away = np.abs(unit - np.array(self.point)).max(axis=1)
        return outputs[away.argmin()] if away.min() < _SAME else None

    def judged(
        self, outcome: FloatArray | None, best: float, centre: FloatArray, least_gain: float
    ) -> tuple[Self, bool]:
        """The region after the step was told, and whether another step is to follow.

        Parameters
        ----------
        outcome : ndarray of shape (J,) or None
            Outputs of the step; None if it was never told, NaN if the evaluation failed.
        best : float
            The best objective now.
        centre : ndarray of shape (d,)
            Where it is.
        least_gain : float
            A step that gains more pays, and is followed by another one. One that does not is
            followed by one of the other model, unless its evaluation failed; after two in a row
            no step follows.

        Returns
        -------
        region : TrustRegion
            The new region.
        goes_on : bool
            Whether another step is to follow.
        """
        if self.point is None or self.centre is None:
            return self, False
        step = _distance(self.point, self.centre)
        is_known = outcome is not None and not np.isnan(outcome).any()
        if best < self.before[0]:
            radius = min(_LARGEST, max(self.radius, _GROWTH * step))
        elif outcome is not None and is_known and self._has_foreseen(outcome):
            radius = min(_LARGEST, max(self.radius, _GROWTH_FORESEEN * step))
        else:
            radius = max(_SMALLEST, _SHRINKAGE * min(self.radius, step))
        has_paid = self.before[0] - best > least_gain
        is_retry = is_known and not has_paid and not self.is_retry
        region = replace(
            self,
            radius=radius,
            centre=_as_tuple(centre),
            point=None,
            is_local=self.is_local if has_paid else not self.is_local,
            is_retry=is_retry,
        )
        return region, has_paid or is_retry

    def _has_foreseen(self, outcome: FloatArray) -> bool:
        """Whether the model was right about the objective and what was or became active."""
        expected, before = np.array(self.expected), np.array(self.before)
        change = np.abs(expected - before)
        matters = (expected + change > 0) | (outcome > 0)
        matters[0] = True
        return bool((np.abs(outcome - expected) <= _ERROR * change)[matters].all())

    def to_json(self) -> dict[str, Any]:
        """The region as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any, n_unit: int, n_outputs: int) -> Self:
        """The region that `to_json` described, or raise."""
        radius = check_float(content["radius"], "radius", _SMALLEST, _LARGEST)
        centre, point = (
            _restore_point(content[name], name, n_unit) for name in ("centre", "point")
        )
        before, expected = (
            _restore_outputs(content[name], name, n_outputs, point is not None)
            for name in ("before", "expected")
        )
        flags = (
            bool(check_choice(content[name], name, (True, False)))
            for name in ("is_local", "is_retry", "is_coarse")
        )
        return cls(radius, centre, point, before, expected, *flags)


def _as_tuple(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _distance(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def _restore_point(values: Any, name: str, n_unit: int) -> tuple[float, ...] | None:
    if values is None:
        return None
    point = as_float_array(values, name, ndim=1)
    if len(point) != n_unit or not ((point >= 0) & (point <= 1)).all():
        reject(name, f"{n_unit} numbers from 0 to 1", values)
    return tuple(point.tolist())


def _restore_outputs(values: Any, name: str, n: int, is_needed: bool) -> tuple[float, ...]:
    outputs = as_float_array(values, name, ndim=1)
    if len(outputs) not in ((n,) if is_needed else (0, n)) or not np.isfinite(outputs).all():
        reject(name, f"{n} finite numbers", values)
    return tuple(outputs.tolist())
