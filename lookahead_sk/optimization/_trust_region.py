"""The trust region of exploit steps: it grows and shrinks with their success.

Source: Conn, Gould and Toint, "Trust-region methods", 2000, algorithm 6.1.1, where success is that
the step has improved the best feasible value.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import as_float_array, check_float, reject

_SMALLEST, _LARGEST = 1e-6, 1.0  # radii, in parts of the box
_SAME = 1e-6
_GROWTH, _SHRINKAGE = 4.0, 0.5  # of the radius, in steps


@dataclass(frozen=True)
class TrustRegion:
    """Radius around the best point, and the exploit step whose outcome will change it."""

    radius: float = _LARGEST  # in parts of the box
    centre: tuple[float, ...] | None = None  # the best point after the last exploit step
    point: tuple[float, ...] | None = None  # of the last exploit step, until it is told
    best: float = 0.0  # the best objective before it

    def around(self, centre: FloatArray) -> float:
        """The radius around the best point, which reaches to where it was before."""
        if self.centre is None:
            return self.radius
        return min(_LARGEST, max(self.radius, _distance(centre, self.centre)))

    def awaiting(self, point: FloatArray, centre: FloatArray, best: float) -> Self:
        """After an exploit step from the best point, whose objective is given."""
        place, begin = (tuple(float(v) for v in x) for x in (point, centre))
        return replace(self, radius=self.around(centre), centre=begin, point=place, best=best)

    def is_among(self, pending: FloatArray) -> bool:
        """Whether the exploit step is one of the points (p, d) that are not told yet."""
        if self.point is None or not len(pending):
            return False
        return bool((np.abs(pending - np.array(self.point)).max(axis=1) < _SAME).any())

    def judged(self, best: float, centre: FloatArray) -> Self:
        """The region after the step was told, given the best objective now and where it is."""
        if self.point is None or self.centre is None:
            return self
        step = _distance(self.point, self.centre)
        if best < self.best:
            radius = min(_LARGEST, max(self.radius, _GROWTH * step))
        else:
            radius = max(_SMALLEST, _SHRINKAGE * min(self.radius, step))
        place = tuple(float(v) for v in centre)
        return replace(self, radius=radius, centre=place, point=None)

    def to_json(self) -> dict[str, Any]:
        """The region as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any, n_unit: int) -> Self:
        """The region that `to_json` described, or raise."""
        radius = check_float(content["radius"], "radius", _SMALLEST, _LARGEST)
        best = check_float(content["best"], "best")
        centre, point = (
            _restore_point(content[name], name, n_unit) for name in ("centre", "point")
        )
        return cls(radius, centre, point, best)


def _distance(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def _restore_point(values: Any, name: str, n_unit: int) -> tuple[float, ...] | None:
    if values is None:
        return None
    point = as_float_array(values, name, ndim=1)
    if len(point) != n_unit or not ((point >= 0) & (point <= 1)).all():
        reject(name, f"{n_unit} numbers from 0 to 1", values)
    return tuple(point.tolist())
