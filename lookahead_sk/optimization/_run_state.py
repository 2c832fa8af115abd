"""The state of a run: what was evaluated, what is pending, and the seeds of what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self, get_args

import numpy as np

from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk._validation import Words, as_float_array, check_choice, check_int, reject
from lookahead_sk.optimization._choices import choice_as_json, choice_from_json
from lookahead_sk.optimization._dimensions import Real
from lookahead_sk.optimization._kernel_conversion import kernels_to_try
from lookahead_sk.optimization._known_constraints import KnownConstraints
from lookahead_sk.optimization._map_fit import FitStart
from lookahead_sk.optimization._space import Space
from lookahead_sk.optimization._transforms import Kind
from lookahead_sk.optimization._trust_region import ExploitStep, TrustRegion

# In parts of the box: a told point this close to a pending one is that one, rounded.
_ROUNDED = 0.025
# And this close if its last decimals agree.
_COARSELY_ROUNDED = 0.1
_SLACK = 1e-9  # of a point on a side of the box
# An exploit step pays if it gains so much, in parts of the distance from the median to the best.
_PAYS = 1e-5
# And so much where polish is worth nothing.
_PAYS_COARSELY = 0.05
_LARGEST_DESIGN = 2**20  # Sobol points are drawn from the first one on
_LARGEST_OUTPUT = 1e150  # squares of larger ones overflow


@dataclass(frozen=True)
class RunState:
    """All that an optimiser knows of its run; saving it saves the run.

    Methods return a new state. Arrays are never written to, so that states may share them.
    """

    space: Space
    seed: int  # of the design and of every search
    told: Any  # (n, d) evaluated points in the user's units, or a list of dicts
    unit: FloatArray  # (n, n_unit), the same points in the unit cube
    outputs: FloatArray  # (n, 1 + m), objective first; NaN is what a failed evaluation did not give
    pending: FloatArray  # (p, n_unit), points asked for and not told yet
    n_asked: int = 0  # asks so far
    n_designed: int = 0  # points drawn from the Sobol sequence of the design
    plan_pending: bool = False  # the next ask is the second step of a plan
    trust_region: TrustRegion = field(default_factory=TrustRegion)  # of exploit steps
    starts: Sequence[FitStart] = ()  # of the fit to the present data
    next_starts: Sequence[FitStart] = ()  # of the next fit, once there has been an ask
    known: KnownConstraints | None = None  # as the parameter says at the moment, not saved

    @classmethod
    def empty(cls, space: Space, n_constraints: int, seed: int) -> Self:
        """The state before the first ask or tell."""
        told: Any = [] if space.names is not None else np.empty((0, space.n_features))
        nowhere = np.empty((0, space.n_unit))
        return cls(space, seed, told, nowhere, np.empty((0, 1 + n_constraints)), nowhere)

    @property
    def n_constraints(self) -> int:
        """Number of constraints m."""
        return self.outputs.shape[1] - 1

    @property
    def has_data(self) -> bool:
        """Whether any evaluation succeeded."""
        return bool((~np.isnan(self.outputs).any(axis=1)).any())

    @cached_property
    def is_feasible(self) -> BoolArray:
        """Which evaluated points are feasible, (n,)."""
        return np.asarray(feasible_rows(self.outputs) & self.is_permitted)

    @cached_property
    def is_permitted(self) -> BoolArray:
        """Which evaluated points are inside the bounds and meet the known constraints, (n,)."""
        # Bounds may have been narrowed.
        inside = np.asarray(np.abs(self.unit - 0.5).max(axis=1, initial=0.0) <= 0.5 + _SLACK)
        return inside if self.known is None else inside & self.known.is_met_by_told(self.told)

    @property
    def best_index(self) -> int | None:
        """Row of the best feasible point, None while there is none."""
        if not self.is_feasible.any():
            return None
        return int(np.where(self.is_feasible, self.outputs[:, 0], np.inf).argmin())

    @property
    def repeats_agree(self) -> bool | None:
        """Whether all evaluations of one point gave the same; None while none was repeated."""
        _, group = np.unique(self.unit.round(12), axis=0, return_inverse=True)
        order = np.argsort(group, kind="stable")
        is_repeat = np.diff(group[order]) == 0
        if not is_repeat.any():
            return None
        before, after = self.outputs[order][:-1], self.outputs[order][1:]
        is_same = (before == after) | (np.isnan(before) & np.isnan(after))
        return bool(is_same[is_repeat].all())

    def with_asked(self, unit: FloatArray) -> Self:
        """After an ask for these points: they are pending."""
        return replace(self.with_pending(unit), n_asked=self.n_asked + 1)

    def with_pending(self, unit: FloatArray) -> Self:
        """Wait for these points too."""
        return replace(self, pending=np.concatenate([self.pending, unit]))

    def without_pending(self, X: Any = None) -> Self:
        """Wait for no point, or not for these of the pending ones in the user's units, or raise."""
        if X is None:
            return replace(self, pending=self.pending[:0])
        pending = self.pending
        for place, point in zip(self.space.encode(X), self.space.canonical(X), strict=True):
            left = _without_told(self.space, pending, place, point)
            if len(left) == len(pending):
                reject("X", "points that are pending", point)
            pending = left
        return replace(self, pending=pending)

    def with_space(self, space: Space) -> Self:
        """The same run in a space of other bounds, with all its data, or raise.

        Points outside of the new bounds teach the model, and are not feasible. Those that are
        pending there are given up. What was learned of scales and steps is learned anew.
        """
        pending = self.space.decode(self.pending)
        unit = space.encode_beyond(pending) if len(pending) else np.empty((0, space.n_unit))
        inside = ((unit >= 0) & (unit <= 1)).all(axis=1)
        told = self.told
        return replace(
            self,
            space=space,
            unit=space.encode_beyond(told) if len(told) else np.empty((0, space.n_unit)),
            pending=space.snap(unit[inside]),
            trust_region=TrustRegion(),
            starts=(),
            next_starts=(),
        )

    def with_told(self, X: Any, unit: FloatArray, outputs: FloatArray) -> Self:
        """Add evaluated points and their outputs.

        Parameters
        ----------
        X : array-like of shape (q, d), list of dict, or DataFrame
            The points in the user's units; copied.
        unit : ndarray of shape (q, n_unit)
            The same points in the unit cube.
        outputs : ndarray of shape (q, 1 + m)
            Their outputs.

        Returns
        -------
        RunState
            The new state; told points are no longer pending.
        """
        points = self.space.canonical(X)
        told: Any = [*self.told, *points]
        if self.space.names is None:
            told = np.concatenate([self.told, points])
        pending = self.pending
        for place, point in zip(unit, points, strict=True):
            pending = _without_told(self.space, pending, place, point)
        state = replace(
            self,
            told=told,
            unit=np.concatenate([self.unit, unit]),
            outputs=np.concatenate([self.outputs, outputs]),
            pending=pending,
            starts=self.next_starts or self.starts,
            next_starts=(),
        )
        return state.with_exploit_step_judged()

    def exploit_region(self, is_exact: bool) -> TrustRegion:
        """The trust region around the best point, in parts of the box.

        Under noise it is all of the box, and the local model is left aside: the best value is luck
        there, and success says nothing of the model.
        """
        region = self.trust_region
        if not is_exact or self.best_index is None:
            return replace(region, radius=1.0, is_local=False)
        return replace(region, radius=region.around(self.unit[self.best_index]))

    def with_exploit_step(
        self, step: ExploitStep, expected: FloatArray, *, is_exact: bool, is_coarse: bool
    ) -> Self:
        """After an exploit step with its expected outputs, while there is a feasible point."""
        if self.best_index is None:
            return self
        centre, before = self.unit[self.best_index], self.outputs[self.best_index]
        region = self.trust_region.awaiting(step, centre, before, expected, is_exact=is_exact)
        return replace(self, trust_region=replace(region, is_coarse=is_coarse))

    def with_exploit_step_judged(self) -> Self:
        """After the outcome of an exploit step, if it is there; another one may follow."""
        region = self.trust_region
        if region.point is None or region.is_among(self.pending) or self.best_index is None:
            return self
        best = float(self.outputs[self.best_index, 0])
        typical = float(np.nanmedian(self.outputs[:, 0]))
        region, goes_on = region.judged(
            region.outcome(self.unit, self.outputs),
            best,
            self.unit[self.best_index],
            (_PAYS_COARSELY if region.is_coarse else _PAYS) * abs(typical - best),
        )
        return replace(self, trust_region=region, plan_pending=self.plan_pending or goes_on)

    def to_json(self, *, with_box: bool) -> dict[str, Any]:
        """The run as JSON; the box is only needed where the parameter ``bounds`` is None."""
        if self.space.names is None:
            told = self.told.tolist()
        else:
            told = [{k: choice_as_json(v) for k, v in point.items()} for point in self.told]
        return {
            "box": _box_of(self.space) if with_box else None,
            "seed": self.seed,
            "n_asked": self.n_asked,
            "n_designed": self.n_designed,
            "plan_pending": self.plan_pending,
            "trust_region": self.trust_region.to_json(),
            "X": told,
            "y": self.outputs.tolist(),
            "pending": self.pending.tolist(),
            "starts": describe_starts(self.starts),
            "next_starts": describe_starts(self.next_starts),
        }

    @classmethod
    def from_json(
        cls, content: dict[str, Any], space: Space, n_constraints: int, kernel: Any
    ) -> Self:
        """The run that `to_json` described, or raise.

        Parameters
        ----------
        content : dict
            What `to_json` returned.
        space : Space
            The search space.
        n_constraints : int
            Number of constraints m.
        kernel : scikit-learn kernel or None
            The parameter ``kernel``, which the starts of fits must suit.

        Returns
        -------
        RunState
            The state.
        """
        state = cls.empty(space, n_constraints, check_int(content["seed"], "seed", 0, 2**31))
        told = content["X"]
        if space.names is not None:
            told = [{name: choice_from_json(v) for name, v in point.items()} for point in told]
        else:
            told = as_float_array(told, "X").reshape(-1, space.n_features)
        outputs = as_float_array(content["y"], "y").reshape(-1, 1 + n_constraints)
        outputs = check_outputs(outputs, len(told), n_constraints)
        unit = space.encode_beyond(told) if len(told) else state.unit
        if not np.isfinite(unit).all():
            reject("X", "finite", told)
        state = replace(state, told=told, unit=unit, outputs=outputs)
        pending = as_float_array(content["pending"], "pending").reshape(-1, space.n_unit)
        if not ((pending >= 0) & (pending <= 1)).all():
            reject("pending", "inside the unit cube", pending)
        plan_pending = check_choice(content["plan_pending"], "plan_pending", (True, False))
        starts, next_starts = (
            restore_starts(content[name], name, kernels_to_try(kernel, space.n_unit), n_constraints)
            for name in ("starts", "next_starts")
        )
        return replace(
            state,
            pending=pending,
            n_asked=check_int(content["n_asked"], "n_asked", 0),
            n_designed=check_int(content["n_designed"], "n_designed", 0, _LARGEST_DESIGN),
            plan_pending=bool(plan_pending),
            trust_region=TrustRegion.from_json(
                content["trust_region"], space.n_unit, 1 + n_constraints
            ),
            starts=starts,
            next_starts=next_starts,
        )


def feasible_rows(outputs: FloatArray) -> BoolArray:
    """Which rows (n, 1 + m) are evaluations that succeeded and meet all constraints, (n,)."""
    return np.asarray(~np.isnan(outputs).any(axis=1) & (outputs[:, 1:] <= 0).all(axis=1))


def check_outputs(y: Any, n: int, n_constraints: int) -> FloatArray:
    """Outputs of n points as an array of shape (n, 1 + m), or raise."""
    outputs = as_float_array(y, "y")
    if outputs.ndim == 1 and n_constraints == 0:
        outputs = outputs[:, None]
    wanted = (n, 1 + n_constraints)
    if outputs.shape != wanted:
        hint = "Objective first, then one column a constraint."
        reject("y", f"an array of shape {wanted}", Words(f"shape {outputs.shape}"), hint=hint)
    if np.isinf(outputs).any():
        raise ValueError("y must be finite or NaN; got infinity.")
    if (np.abs(outputs) > _LARGEST_OUTPUT).any():
        largest = float(outputs.flat[np.nanargmax(np.abs(outputs))])
        hint = "A failed evaluation is a row of NaN."
        reject("y", f"no larger than {_LARGEST_OUTPUT:g} in magnitude", largest, hint=hint)
    return outputs


def _without_told(space: Space, pending: FloatArray, unit: FloatArray, point: Any) -> FloatArray:
    """Pending points less the one that was told, even if it was rounded in between."""
    if not len(pending):
        return pending
    distance = space.distance(pending, unit)
    is_it = distance < _ROUNDED
    if not is_it.any():
        is_it = (distance < _COARSELY_ROUNDED) & space.is_rounded(pending, point)
    if not is_it.any():
        return pending
    return np.delete(pending, int(np.where(is_it, distance, np.inf).argmin()), axis=0)


def _box_of(space: Space) -> list[list[float]]:
    return [[d.low, d.high] for d in space.dimensions if isinstance(d, Real)]


def describe_starts(starts: Sequence[FitStart]) -> list[dict[str, Any]]:
    """Starts of a fit as JSON."""
    return [{**asdict(start), "theta": start.theta.tolist()} for start in starts]


def restore_starts(
    description: Any, name: str, kernels: Sequence[Any], n_constraints: int
) -> list[FitStart]:
    """The starts that `describe_starts` described, or raise."""
    starts = [_restore_start(start, kernels) for start in description]
    n_outputs = 1 + n_constraints
    if len(starts) not in (0, n_outputs, n_outputs + 1):  # the last for "it runs"
        reject(name, "none, or one for every output", description)
    return starts


def _restore_start(description: Any, kernels: Sequence[Any]) -> FitStart:
    """One of those that `describe_starts` described, or raise."""
    place = check_int(description["kernel"], "kernel of a start", 0, len(kernels) - 1)
    kind = check_choice(description["kind"], "transform of a start", (*get_args(Kind), None))
    n = check_int(description["n"], "n of a start", 0)
    is_noisy = check_choice(description["is_noisy"], "is_noisy of a start", (True, False))
    theta = as_float_array(description["theta"], "theta of a start", ndim=1)
    if len(theta) != len(kernels[place].theta) or not np.isfinite(theta).all():
        reject("theta of a start", f"{len(kernels[place].theta)} finite numbers", theta)
    return FitStart(theta, kind, place, n, bool(is_noisy))
