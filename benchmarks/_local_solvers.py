"""scipy's derivative-free local solvers behind ask and tell, from the best point of the design."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

import numpy as np
from _problems import Array, Problem

_RADIUS = 0.15  # of the box, the first trust region
_SMALLEST_RADIUS = 1e-9


class _Stop(Exception):
    """The run has ended."""


class LocalSolverSession:
    """A solver in a thread of its own that waits for the outputs of its points.

    It works in the unit cube, with every output divided by its largest magnitude in the design. A
    solver that has converged repeats its best point.
    """

    def __init__(self, problem: Problem, seed: int, method: str = "COBYQA") -> None:
        self.problem, self.method = problem, method
        self.low, self.width = problem.bounds[:, 0], np.ptp(problem.bounds, axis=1)
        self.points: Queue[Array | None] = Queue()
        self.outputs: Queue[Array | None] = Queue()
        self.thread: threading.Thread | None = None
        self.known: dict[bytes, Array] = {}
        self.best = np.zeros(problem.n_features)

    def tell(self, x: Array, y: Array) -> None:
        """Start from the design, or hand the outputs to the solver."""
        if self.thread is not None:
            self.outputs.put(y[0] / self.scale)
            return
        self.scale = np.maximum(np.abs(y).max(axis=0), 1e-12)
        violation = np.maximum(y[:, 1:] / self.scale[1:], 0.0).max(axis=1, initial=0.0)
        start = (x[np.lexsort((y[:, 0], violation))[0]] - self.low) / self.width
        self.thread = threading.Thread(target=self._run, args=(start,), daemon=True)
        self.thread.start()

    def ask(self) -> Array:
        """The solver's next point."""
        point = self.points.get()
        if point is None:  # converged
            self.points.put(None)
            return self.best
        self.best = self.low + np.clip(point, 0, 1) * self.width
        return self.best

    def close(self) -> None:
        """End the thread."""
        self.outputs.put(None)

    def _outputs_at(self, point: Array) -> Array:
        key = point.tobytes()
        if key not in self.known:
            self.points.put(point.copy())
            outputs = self.outputs.get()
            if outputs is None:
                raise _Stop
            self.known[key] = outputs
        return self.known[key]

    def _run(self, start: Array) -> None:
        try:
            self._minimize(start)
        except _Stop:
            return
        self.points.put(None)

    def _minimize(self, start: Array) -> None:
        from scipy.optimize import Bounds, NonlinearConstraint, minimize

        constraint = NonlinearConstraint(lambda u: self._outputs_at(u)[1:], -np.inf, 0.0)
        common: dict[str, Any] = {
            "bounds": Bounds(np.zeros(len(start)), np.ones(len(start))),
            "constraints": [constraint] if self.problem.n_constraints else [],
        }
        options = {
            "COBYQA": {"initial_tr_radius": _RADIUS, "final_tr_radius": _SMALLEST_RADIUS},
            "COBYLA": {"rhobeg": _RADIUS, "tol": _SMALLEST_RADIUS},
        }[self.method]
        minimize(
            lambda u: float(self._outputs_at(u)[0]),
            start,
            method=self.method,
            options={"maxiter": 10_000, **options},
            **common,
        )


LOCAL_SOLVERS: dict[str, Callable[[Problem, int], LocalSolverSession]] = {
    method.lower(): functools.partial(LocalSolverSession, method=method)
    for method in ("COBYQA", "COBYLA")
}
