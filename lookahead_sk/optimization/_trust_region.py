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


@dataclass(frozen=True)
class TrustRegion:
    """Radius around the best point, and the exploit step whose outcome will change it."""

    radius: float = _LARGEST  # in parts of the box
    point: tuple[float, ...] | None = None  # of the last exploit step, until it is told
    step: float = 0.0  # its distance from the best point
    best: float = 0.0  # the best objective before it

    def awaiting(self, point: FloatArray, centre: FloatArray, best: float) -> Self:
        """After an exploit step from the best point, whose objective is given."""
        step = float(np.abs(point - centre).max())
        return replace(self, point=tuple(point.tolist()), step=step, best=best)

    def is_among(self, pending: FloatArray) -> bool:
        """Whether the exploit step is one of the points (p, d) that are not told yet."""
        if self.point is None or not len(pending):
            return False
        return bool((np.abs(pending - np.array(self.point)).max(axis=1) < _SAME).any())

    def judged(self, best: float) -> Self:
        """The region after the step was told, given the best objective now."""
        if best < self.best:
            radius = min(_LARGEST, max(self.radius, 2 * self.step))
        else:
            radius = max(_SMALLEST, 0.5 * min(self.radius, self.step))
        return replace(self, radius=radius, point=None)

    def to_json(self) -> dict[str, Any]:
        """The region as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any, n_unit: int) -> Self:
        """The region that `to_json` described, or raise."""
        radius = check_float(content["radius"], "radius", _SMALLEST, _LARGEST)
        step, best = (check_float(content[name], name) for name in ("step", "best"))
        point = content["point"]
        if point is not None:
            values = as_float_array(point, "point of an exploit step", ndim=1)
            if len(values) != n_unit or not ((values >= 0) & (values <= 1)).all():
                reject("point of an exploit step", f"{n_unit} numbers from 0 to 1", point)
            point = tuple(values.tolist())
        return cls(radius, point, step, best)
