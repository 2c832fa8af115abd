"""What an optimiser has evaluated, what it waits for, and the seeds of what comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Self, get_args

import numpy as np
from sklearn.utils import check_random_state

from lookahead_sk._validation import as_float_array, check_choice, check_int, reject
from lookahead_sk.optimization._fit import FitStart
from lookahead_sk.optimization._lift import kernels_to_try
from lookahead_sk.optimization._space import (
    Array,
    Real,
    Space,
    choice_as_json,
    choice_from_json,
    make_space,
)
from lookahead_sk.optimization._surrogate import Surrogate
from lookahead_sk.optimization._transforms import Kind

# A told point this close to a pending one, in parts of the box, is that one, rounded.
_SAME_POINT = 2e-3
_LARGEST_DESIGN = 2**20  # Sobol points are drawn from the first one on
_FLAGS = (True, False)


class HistoryMixin:
    """The state of `TwoStepConstrainedBO`: all of it, so that saving it saves the run."""

    bounds: Any
    n_constraints: int
    random_state: Any
    space_: Space
    seed_: int
    _told: Any
    _unit: Array
    _outputs: Array
    _pending: Array
    _n_asked: int
    _n_designed: int
    _owes_second_step: bool
    _starts: Sequence[FitStart]  # of the fit to the present data
    _next_starts: Sequence[FitStart]  # of the next one, once there has been an ask
    _surrogate: Surrogate | None
    kernel: Any
    _check_outputs: Callable[[Any, int], Array]

    @property
    def X_(self) -> Any:
        """Evaluated points."""
        return self._told if hasattr(self, "_told") else np.empty((0, 0))

    @property
    def y_(self) -> Array:
        """Outputs of the evaluated points, (n, 1 + m)."""
        empty = np.empty((0, 1 + self.n_constraints))
        return self._outputs if hasattr(self, "_outputs") else empty

    @property
    def pending_(self) -> Any:
        """Points asked for and not told yet."""
        if not hasattr(self, "space_"):
            return np.empty((0, 0))
        return self.space_.decode(self._pending)

    @property
    def is_feasible_(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which evaluated points are feasible."""
        y = self.y_
        return np.asarray(~np.isnan(y).any(axis=1) & (y[:, 1:] <= 0).all(axis=1))

    @property
    def best_x_(self) -> Any:
        """Best feasible point, None while there is none."""
        index = self._best_index()
        return None if index is None else self._told[index]

    @property
    def best_y_(self) -> float:
        """Objective of the best feasible point, NaN while there is none."""
        index = self._best_index()
        return float("nan") if index is None else float(self.y_[index, 0])

    def _best_index(self) -> int | None:
        feasible = self.is_feasible_
        if not feasible.any():
            return None
        return int(np.where(feasible, self.y_[:, 0], np.inf).argmin())

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is an evaluation to learn from."""
        return bool((~np.isnan(self.y_).any(axis=1)).any())

    def add_pending(self, X: Any) -> Self:
        """Wait for points that someone else asked for, as for points of one's own.

        Parameters
        ----------
        X : array-like of shape (q, d) or list of dict
            Points inside the bounds.

        Returns
        -------
        Self
            The optimiser.
        """
        space = self.space_ if hasattr(self, "space_") else make_space(self.bounds)
        unit = space.encode(X)
        if not hasattr(self, "space_"):
            self._reset(space)
        self._pending = np.concatenate([self._pending, unit])
        return self

    def forget_pending(self) -> Self:
        """Drop the points asked for and not told: nobody evaluates them any more.

        Returns
        -------
        Self
            The optimiser.
        """
        if hasattr(self, "_pending"):
            self._pending = self._pending[:0]
        return self

    def _reset(self, space: Space, seed: int | None = None) -> None:
        self.space_ = space
        self.n_features_in_ = space.n_features
        draw = check_random_state(self.random_state).randint
        self.seed_ = int(draw(2**31 - 1)) if seed is None else seed
        self._told = [] if space.names is not None else np.empty((0, space.n_features))
        self._unit = np.empty((0, space.n_unit))
        self._outputs = np.empty((0, 1 + self.n_constraints))
        self._pending = np.empty((0, space.n_unit))
        self._n_asked = self._n_designed = 0
        self._owes_second_step = False
        self._starts = self._next_starts = ()
        self._surrogate = None

    def _as_told(self, X: Any) -> Any:
        """Points in the user's units as they are kept: an array, or a list of own dicts."""
        if self.space_.names is None:
            return as_float_array(X, "X")
        points = X.to_dict("records") if hasattr(X, "to_dict") else X
        return [dict(point) for point in points]

    def _append(self, told: Any, unit: Array, outputs: Array) -> None:
        if self.space_.names is not None:
            all_told: Any = [*self._told, *told]
        else:
            all_told = np.concatenate([self._told, told])
        all_unit = np.concatenate([self._unit, unit])
        self._outputs = np.concatenate([self._outputs, outputs])
        self._told, self._unit = all_told, all_unit
        if self._next_starts:
            self._starts, self._next_starts = self._next_starts, ()
        for point in unit:
            self._settle(point)
        self._surrogate = None

    def _settle(self, point: Array) -> None:
        """Strike a told point off the pending ones, also if it was rounded on its way."""
        if not len(self._pending):
            return
        distance = np.abs(self._pending - point).max(axis=1)
        nearest = int(distance.argmin())
        if distance[nearest] < _SAME_POINT:
            self._pending = np.delete(self._pending, nearest, axis=0)

    def _state(self) -> dict[str, Any] | None:
        """The run as JSON, None before the first ask or tell."""
        if not hasattr(self, "space_"):
            return None
        if self.space_.names is None:
            told = self._told.tolist()
        else:
            told = [{k: choice_as_json(v) for k, v in point.items()} for point in self._told]
        return {
            "box": None if self.bounds is not None else _box_of(self.space_),
            "seed": self.seed_,
            "n_asked": self._n_asked,
            "n_designed": self._n_designed,
            "owes_second_step": self._owes_second_step,
            "X": told,
            "y": self._outputs.tolist(),
            "pending": self._pending.tolist(),
            "starts": [_describe_start(start) for start in self._starts],
            "next_starts": [_describe_start(start) for start in self._next_starts],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over a run that `_state` described."""
        space = make_space(self.bounds if state["box"] is None else state["box"])
        self._reset(space, seed=check_int(state["seed"], "seed", 0, 2**31))
        told = state["X"]
        if space.names is not None:
            told = [{name: choice_from_json(v) for name, v in point.items()} for point in told]
        else:
            told = as_float_array(told, "X").reshape(-1, space.n_features)
        outputs = as_float_array(state["y"], "y").reshape(-1, 1 + self.n_constraints)
        self._append(told, space.encode(told), self._check_outputs(outputs, len(told)))
        pending = as_float_array(state["pending"], "pending").reshape(-1, space.n_unit)
        if not ((pending >= 0) & (pending <= 1)).all():
            reject("pending", "inside the unit cube", pending)
        self._pending = pending
        self._n_asked = check_int(state["n_asked"], "n_asked", 0)
        self._n_designed = check_int(state["n_designed"], "n_designed", 0, _LARGEST_DESIGN)
        self._owes_second_step = bool(check_choice(state["owes_second_step"], "plan", _FLAGS))
        kernels = kernels_to_try(self.kernel, space.n_unit)
        n_starts = (0, 1 + self.n_constraints, 2 + self.n_constraints)  # the last for "it runs"
        for name in ("starts", "next_starts"):
            starts = [_restore_start(start, kernels) for start in state[name]]
            if len(starts) not in n_starts:
                reject(name, "none, or one for every output", state[name])
            setattr(self, f"_{name}", starts)


def _describe_start(start: FitStart) -> dict[str, Any]:
    return {**asdict(start), "theta": start.theta.tolist()}


def _restore_start(description: Any, kernels: Sequence[Any]) -> FitStart:
    """What `_describe_start` described, or raise."""
    place = check_int(description["kernel"], "kernel of a start", 0, len(kernels) - 1)
    kind = check_choice(description["kind"], "transform of a start", (*get_args(Kind), None))
    n = check_int(description["n"], "n of a start", 0)
    theta = as_float_array(description["theta"], "theta of a start", ndim=1)
    if len(theta) != len(kernels[place].theta) or not np.isfinite(theta).all():
        reject("theta of a start", f"{len(kernels[place].theta)} finite numbers", theta)
    return FitStart(theta, kind, place, n)


def _box_of(space: Space) -> list[list[float]]:
    return [[d.low, d.high] for d in space.dimensions if isinstance(d, Real)]
