r"""The part of the search space that may be asked for: known constraints, fixed variables.

Points in it are found by rejection where it is large. Where it is small a random walk stays inside:
hit-and-run, whose steps go along a chord that shrinks towards where it began while they would
leave the region.

Source: Smith, "Efficient Monte Carlo procedures for generating points uniformly distributed over
bounded regions", Operations Research 32, 1984; the shrinking chord of Neal, "Slice sampling",
Annals of Statistics 31, 2003.

======  =============  =========================================================
symbol  shape          meaning
======  =============  =========================================================
u       (n, n_unit)    points of the unit cube
E, e    see `KnownConstraints`
fixed   (n_unit,)      coordinates that are held, NaN where they are free
inner   (k, n_unit)    some points of the region
======  =============  =========================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk.optimization._known_constraints import KnownConstraints
from lookahead_sk.optimization._space import Space

_N_PROJECTIONS, _NEGLIGIBLE = 200, 1e-14
_SAME_VALUE = 1e-9  # in the unit cube
_N_CHAINS, _N_SHRINKS = 128, 40  # of the walk, and of a chord
_N_FRACTIONS = 8  # of a segment that are tried at once
N_ROUNDS = 10  # of pulling back: to 1e-9 of the way
_MARGIN = 1e-9  # by which a solver keeps from a constraint, in parts of the box


@dataclass(frozen=True)
class Region:
    """The points that known constraints and fixed coordinates leave."""

    space: Space
    known: KnownConstraints | None = None
    fixed: FloatArray | None = None
    inner: FloatArray = field(default_factory=lambda: np.empty((0, 0)))

    def is_free(self, unit: FloatArray) -> BoolArray:
        """Which coordinates of points (..., n_unit) may move freely, of that shape."""
        free = self.space.is_free(unit)
        return free if self.fixed is None else free & np.isnan(self.fixed)

    def snap(self, unit: FloatArray) -> FloatArray:
        """Nearest unit points that stand for values, with the fixed ones."""
        if self.fixed is not None:
            unit = np.where(np.isnan(self.fixed), unit, self.fixed)
        return self.space.snap(unit)

    def is_allowed(self, unit: FloatArray) -> BoolArray:
        """Which snapped points meet the known constraints, (n,)."""
        inside = np.asarray(((unit >= 0) & (unit <= 1)).all(axis=1))
        if self.known is not None:
            inside[inside] = self.known.is_met(unit[inside])
        return inside

    def contains(self, unit: FloatArray) -> BoolArray:
        """Which points of the unit cube meet the constraints and have the fixed values, (n,)."""
        if self.fixed is None:
            return self.is_allowed(unit)
        return np.asarray(self.is_allowed(unit) & self.has_fixed(unit))

    def has_fixed(self, unit: FloatArray) -> BoolArray:
        """Which points have the fixed values, (n,)."""
        if self.fixed is None:
            return np.ones(len(unit), dtype=bool)
        return np.asarray((np.abs(unit - self.snap(unit)) < _SAME_VALUE).all(axis=1))

    def all_points(self) -> FloatArray | None:
        """Every point of the region of a finite space; None for a space that is not small."""
        points = self.space.all_points()
        if points is None:
            return None
        if self.fixed is not None:
            points = np.unique(self.snap(points), axis=0)
        return points[self.is_allowed(points)]

    @property
    def n_values(self) -> float:
        """Number of points, or of those of the space where that is not small."""
        if self.known is None and self.fixed is None:
            return self.space.n_values
        points = self.all_points()
        return self.space.n_values if points is None else float(len(points))

    @cached_property
    def equalities(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """E and e of the free coordinates with the pseudo-inverse of E."""
        if self.known is None:
            return np.empty((0, self.space.n_unit)), np.empty(0), np.empty((self.space.n_unit, 0))
        rows, target = self.known.unit_equalities()
        if self.fixed is not None:
            target = target - rows @ np.nan_to_num(self.fixed)
            rows = rows * np.isnan(self.fixed)
        return rows, target, np.asarray(np.linalg.pinv(rows, rcond=1e-10), dtype=float)

    def project(self, unit: FloatArray) -> FloatArray:
        """Snapped points that meet the equalities inside the box, where projections find them."""
        rows, target, inverse = self.equalities
        unit = self.snap(unit)
        for _ in range(_N_PROJECTIONS if len(rows) else 0):
            change = (unit @ rows.T - target) @ inverse.T
            if np.abs(change).max(initial=0.0) < _NEGLIGIBLE:
                break
            unit = self.snap(unit - change)
        return unit

    def filled(self, unit: FloatArray, n: int, seed: int) -> FloatArray:
        """Those of the points (k, n_unit) that are allowed, and others so that there are n."""
        if self.known is None:
            return unit
        unit = self.project(unit)
        kept = unit[self.is_allowed(unit)]
        if len(kept) >= n:
            return kept
        everywhere = self.all_points()
        more = self._walk(n - len(kept), seed) if everywhere is None else everywhere
        return np.concatenate([kept, more])

    def pulled_back(
        self, unit: FloatArray, start: FloatArray, n_rounds: int = N_ROUNDS
    ) -> FloatArray:
        """Points as far as the region reaches on the way from allowed starts, both (n, n_unit).

        Each round finds the end eight times as exactly.
        """
        unit = self.project(unit)
        if self.known is None or not len(unit):
            return unit
        low, width = np.zeros(len(unit)), 1.0
        for _ in range(n_rounds):
            steps = width * np.arange(1, _N_FRACTIONS + 1)[:, None] / _N_FRACTIONS
            share = np.minimum(low + steps, 1.0)  # (8, n)
            points = start + share[..., None] * (unit - start)
            points = np.where(share[..., None] == 1.0, unit, points)
            allowed = self.is_allowed(points.reshape(-1, points.shape[-1])).reshape(share.shape)
            n_steps = _N_FRACTIONS - allowed[::-1].argmax(axis=0)  # the farthest that is allowed
            low = np.where(allowed.any(axis=0), share[n_steps - 1, np.arange(len(low))], low)
            if (low == 1.0).all():
                break
            width /= _N_FRACTIONS
        back = np.where(low[:, None] == 1.0, unit, start + low[:, None] * (unit - start))
        return np.where(self.is_allowed(back)[:, None], back, start)

    def solver_constraints(self, start: FloatArray) -> list[dict[str, Any]]:
        """The known constraints for scipy's SLSQP over the free coordinates of a point."""
        if self.known is None:
            return []
        known, free = self.known, self.is_free(start)

        def whole(z: FloatArray) -> FloatArray:
            point = start.copy()
            point[free] = np.clip(z, 0.0, 1.0)
            return point

        slopes = known.slopes(start, free)
        # Where a slope vanishes the value itself is the unit.
        values = np.nan_to_num(known.values(start[None])[0], posinf=1.0, neginf=1.0)
        length = np.linalg.norm(slopes, axis=1)
        scale = np.where(length > 0, length, np.maximum(np.abs(values), 1e-12))
        found: list[dict[str, Any]] = []
        if len(scale):
            found.append(
                {
                    "type": "ineq",
                    "fun": lambda z: (
                        -np.clip(known.values(whole(z)[None])[0] / scale, -1e6, 1e6) - _MARGIN
                    ),
                    "jac": lambda z: -known.slopes(whole(z), free) / scale[:, None],
                }
            )
        rows, target, _ = self.equalities
        if len(rows):
            rows, target = rows[:, free], target - rows[:, ~free] @ start[~free]
            found.append({"type": "eq", "fun": lambda z: rows @ z - target, "jac": lambda z: rows})
        return found

    def _walk(self, n: int, seed: int) -> FloatArray:
        """Points of the region by hit-and-run from its inner points, (n, n_unit)."""
        rng = np.random.default_rng(seed)
        n_chains = min(n, _N_CHAINS)
        x = self.inner[rng.integers(len(self.inner), size=n_chains)]
        n_kept = -(-n // n_chains)
        burn_in = 2 * self.space.n_unit
        kept = []
        for step in range(burn_in + n_kept):
            x = self._hit_and_run(x, rng)
            if step >= burn_in:
                kept.append(x)
        return np.concatenate(kept)[:n]

    def _hit_and_run(self, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        """One step of every chain (c, n_unit)."""
        rows, _, inverse = self.equalities
        direction = rng.standard_normal(x.shape)
        # A difference of two points is long where the region is.
        pair = x[rng.integers(len(x), size=len(x))] - x[rng.integers(len(x), size=len(x))]
        along = rng.random(len(x)) < 0.5
        is_long = along & (np.abs(pair).max(axis=1) > 1e-9)
        direction = np.where(is_long[:, None], pair, direction)
        if self.fixed is not None:
            direction = direction * np.isnan(self.fixed)
        direction = direction - (direction @ rows.T) @ inverse.T
        low, high = _chord(x, direction)
        x = x.copy()
        done = np.zeros(len(x), dtype=bool)
        for _ in range(_N_SHRINKS):
            t = rng.uniform(low, high)
            left = np.flatnonzero(~done)
            trial = self.snap(x[left] + t[left, None] * direction[left])
            allowed = self.is_allowed(trial)
            x[left[allowed]] = trial[allowed]
            done[left[allowed]] = True
            if done.all():
                break
            low, high = np.where(t < 0, t, low), np.where(t < 0, high, t)
        return x


def _chord(x: FloatArray, direction: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ends t of ``x + t direction`` inside the unit cube, (c,) each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        to_zero, to_one = -x / direction, (1 - x) / direction
    still = direction == 0
    low = np.where(still, -np.inf, np.minimum(to_zero, to_one)).max(axis=1)
    high = np.where(still, np.inf, np.maximum(to_zero, to_one)).min(axis=1)
    return np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
