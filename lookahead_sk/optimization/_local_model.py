r"""A quadratic model of all outputs near the best point, for the last digits.

It interpolates the nearest evaluations, in the user's units (by weighted least squares where there
are a few more than it has coefficients), and of all quadratics that do it has the smallest
coefficients, those of squares being dearer than those of slopes:

.. math:: \min_{g, H} \|g\|^2 + \tfrac{1}{4\epsilon} \|H\|_F^2 \quad\text{s.t.}\quad
          y_b + g^T z_i + \tfrac12 z_i^T H z_i = y_i

in the scaled variable z = (x - x_b) / r: the minimum-norm models of derivative-free solvers (Powell
2004, "Least Frobenius norm updating of quadratic models that satisfy interpolation conditions").
One singular value decomposition serves all outputs. A Gaussian process of the whole box knows
differences only to some 1e-7 of its range; this model knows them to rounding.

==========  ==============  =========================================
symbol      shape           meaning
==========  ==============  =========================================
J = 1 + m                   outputs, objective first
k                           nearest points besides the best one
z           (d,)            step from the best point, in radii
g           (J, d)          slopes at the best point
H           (J, d, d)       second derivatives
==========  ==============  =========================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize

from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk.optimization._region import Region

_SQUARES = 1e-3  # eps: what a coefficient of a square may be, beside one of a slope
# A step leaves this share of the slack of the best point: less often infeasible, and 1.3 digits.
_SLACK_LEFT = 0.05
_ROUNDING = 1e-10  # of the change of an output in a step
_AT_SIDE = 1e-12  # of the box
_NEGLIGIBLE = 1e-9  # a gain, in parts of the distance from the median to the best


def onto_sides(unit: FloatArray) -> FloatArray:
    """Points inside the unit cube; what only rounding keeps from a side is on it."""
    inside = np.clip(unit, 0.0, 1.0)
    near = np.round(inside)
    result: FloatArray = np.where(np.abs(inside - near) < _AT_SIDE, near, inside)
    return result


@dataclass(frozen=True)
class Evaluated:
    """Evaluations that are exact, and which of them is the best."""

    unit: FloatArray  # (n, d)
    outputs: FloatArray  # (n, J), the user's units
    best: int  # row of the best feasible point


@dataclass(frozen=True)
class LocalModel:
    """The quadratic of every output around the best point."""

    centre: FloatArray  # (d,)
    radius: float
    base: FloatArray  # (J,), outputs of the best point
    least_gain: float  # what an improvement must be, to be one
    slope: FloatArray  # g
    curvature: FloatArray  # H

    @classmethod
    def fit(cls, data: Evaluated, radius: float) -> Self | None:
        """The model of d more points than determine a quadratic; None without another point."""
        unit, centre = data.unit, data.unit[data.best]
        base = data.outputs[data.best]
        d = unit.shape[1]
        rows = np.flatnonzero(~np.isnan(data.outputs).any(axis=1))
        distance = np.linalg.norm(unit[rows] - centre, axis=1)
        nearest = rows[np.argsort(distance, kind="stable")][: (d + 1) * (d + 2) // 2 + d]
        nearest = nearest[(unit[nearest] != centre).any(axis=1)]
        if not len(nearest):
            return None
        z = (unit[nearest] - centre) / radius
        i, j = np.triu_indices(d)
        root = np.sqrt(_SQUARES * np.where(i == j, 1.0, 2.0))
        terms = np.concatenate([z, root * z[:, i] * z[:, j]], axis=1)
        # Rows of one size, so that far points do not hide the near ones.
        size = np.linalg.norm(terms, axis=1, keepdims=True)
        change = (data.outputs[nearest] - base) / size
        found = np.linalg.lstsq(terms / size, change, rcond=None)[0].T  # (J, d + d (d + 1) / 2)
        curvature = np.zeros((len(base), d, d))
        curvature[:, i, j] = root * found[:, d:]
        curvature += curvature.swapaxes(1, 2)
        typical = float(np.nanmedian(data.outputs[:, 0]))
        least_gain = _NEGLIGIBLE * abs(typical - base[0])
        return cls(centre, radius, base, least_gain, found[:, :d], curvature)

    def values(self, z: FloatArray) -> FloatArray:
        """Outputs at a step (d,), (J,)."""
        result: FloatArray = self.base + (self.slope + 0.5 * self.curvature @ z) @ z
        return result

    def slopes(self, z: FloatArray) -> FloatArray:
        """Derivatives at a step (d,), (J, d)."""
        result: FloatArray = self.slope + self.curvature @ z
        return result

    def expect(self, unit: FloatArray) -> FloatArray:
        """Outputs at a point (d,) of the unit cube, (J,)."""
        return self.values((unit - self.centre) / self.radius)

    def minimize(self, is_free: BoolArray, region: Region | None) -> FloatArray:
        """The best feasible step within the radius, by the model: a point (d,) of the unit cube."""
        centre, radius = self.centre[is_free], self.radius
        low, high = np.maximum(-1, -centre / radius), np.minimum(1, (1 - centre) / radius)

        def step(v: FloatArray) -> FloatArray:
            z = np.zeros(len(self.centre))
            z[is_free] = v
            return z

        scale = self._scale(is_free)
        left = _SLACK_LEFT * self.base[1:] / scale[1:]
        constraint: dict[str, Any] = {
            "type": "ineq",
            "fun": lambda v: left - self.values(step(v))[1:] / scale[1:],
            "jac": lambda v: -self.slopes(step(v))[1:, is_free] / scale[1:, None],
        }
        result = minimize(
            lambda v: self.values(step(v))[0] / scale[0],
            np.zeros(len(centre)),
            jac=lambda v: self.slopes(step(v))[0, is_free] / scale[0],
            bounds=np.stack([low, high], axis=1),
            constraints=[constraint] * (len(scale) > 1) + self._known(is_free, region),
            method="SLSQP",
            options={"maxiter": 100, "ftol": 1e-14},
        )
        end = np.clip(np.nan_to_num(result.x), low, high)
        return onto_sides(self.centre + radius * step(end))

    def _scale(self, is_free: BoolArray) -> FloatArray:
        """What makes the outputs comparable, (J,): their slopes, or else what is there."""
        slopes = np.linalg.norm(self.slope[:, is_free], axis=1)
        curvature = np.linalg.norm(self.curvature, axis=(1, 2))
        others = np.maximum(1e-6 * curvature, 1e-12 * np.abs(self.base))
        scale: FloatArray = np.maximum(np.maximum(slopes, others), np.finfo(float).tiny)
        return scale

    def _known(self, is_free: BoolArray, region: Region | None) -> list[dict[str, Any]]:
        """Known constraints, of the unit cube, as constraints of the step."""
        if region is None:
            return []
        centre, radius = self.centre[is_free], self.radius
        return [
            {
                "type": each["type"],
                "fun": lambda v, fun=each["fun"]: fun(centre + radius * v) / radius,
                "jac": lambda v, jac=each["jac"]: jac(centre + radius * v),
            }
            for each in region.solver_constraints(self.centre)
        ]

    def promises(self, unit: FloatArray) -> bool:
        """Whether a point (d,) of the unit cube is feasible and better than the best, by it."""
        expected = self.expect(unit)
        rounding = _ROUNDING * np.abs(expected - self.base)
        gain = self.base[0] - expected[0]
        return bool(gain > self.least_gain and (expected[1:] <= rounding[1:]).all())
