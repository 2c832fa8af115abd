"""Our own methods, and constrained expected improvement as it is commonly written."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from _problems import Array, Problem
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization import SearchOptions
from lookahead_sk.optimization._kernel_conversion import default_kernel
from lookahead_sk.optimization._problem import make_problem
from lookahead_sk.optimization._run_state import RunState
from lookahead_sk.optimization._surrogate import fit_surrogate


class OurSession:
    """The estimator, with the initial design told instead of asked."""

    plan_pending: bool | None = None  # as the optimiser says

    def __init__(
        self, problem: Problem, seed: int, kind: Any = TwoStepConstrainedBO, **parameters: Any
    ) -> None:
        tells_remaining = parameters.pop("remaining", False)
        self.left = problem.budget - problem.n_initial if tells_remaining else None
        self.optimizer = kind(
            problem.bounds, problem.n_constraints, n_initial=1, random_state=seed, **parameters
        )

    def tell(self, x: Array, y: Array) -> None:
        """Tell the optimiser."""
        self.optimizer.tell(x, y)

    def ask(self) -> Array:
        """Ask the optimiser."""
        point = self.optimizer.ask(remaining=self.left, plan_pending=self.plan_pending)[0]
        if self.left is not None:
            self.left = max(1, self.left - 1)
        return point


class AlwaysTwoStep(OurSession):
    """Begins a plan at every ask instead of carrying one out."""

    plan_pending = False


class AblatedBO(TwoStepConstrainedBO):
    """The estimator with options of the search that are none of its parameters."""

    changes: Mapping[str, Any] = MappingProxyType({})

    def get_search_options(self) -> SearchOptions:
        """Apply the changes."""
        return replace(super().get_search_options(), **self.changes)


class OtherOptions(OurSession):
    """Options of the search that are no parameters of the estimator."""

    def __init__(self, problem: Problem, seed: int, **changes: Any) -> None:
        super().__init__(problem, seed, kind=AblatedBO)
        self.optimizer.changes = changes


def search_problem(optimizer: TwoStepConstrainedBO) -> Any:
    """What the search for the first ask after one tell maximises."""
    X, y, space = optimizer.X_, optimizer.y_, optimizer.space_
    state = RunState.empty(space, optimizer.n_constraints, optimizer.seed_)
    state = state.with_told(X, space.encode(X), y)
    return make_problem(state, fit_surrogate(state.unit, y, optimizer.kernel))


def _matern(problem: Problem, seed: int, **parameters: Any) -> OurSession:
    """Matern 5/2 for every output instead of the smoothness with more evidence."""
    return OurSession(problem, seed, kernel=default_kernel(problem.n_features), **parameters)


class TextbookEIC:
    """EIC as commonly written: raw outputs standardised, maximum likelihood, no log space.

    The product EI times PF is maximised from the best of 256 uniform points by L-BFGS-B with finite
    differences, 8 starts; while nothing is feasible the incumbent is infinite and PF alone counts.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.rng = problem, np.random.default_rng(seed)
        self.x = np.empty((0, problem.n_features))
        self.y = np.empty((0, 1 + problem.n_constraints))

    def tell(self, x: Array, y: Array) -> None:
        """Append the data."""
        low, high = self.problem.bounds.T
        self.x = np.concatenate([self.x, (x - low) / (high - low)])
        self.y = np.concatenate([self.y, y])

    def _fit(self, y: Array) -> GaussianProcessRegressor:
        d = self.x.shape[1]
        kernel = sk.ConstantKernel() * sk.Matern(np.ones(d), (1e-2, 1e2), nu=2.5)
        model = GaussianProcessRegressor(kernel, alpha=1e-6, normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(self.x, y)

    def ask(self) -> Array:
        """Fit and maximise."""
        models = [self._fit(column) for column in self.y.T]
        feasible = (self.y[:, 1:] <= 0).all(axis=1)
        best = self.y[feasible, 0].min() if feasible.any() else None

        def eic(points: Array) -> Array:
            value = np.ones(len(points))
            for j, model in enumerate(models):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    mean, std = model.predict(points, return_std=True)
                std = np.maximum(std, 1e-12)
                if j > 0:
                    value = value * norm.cdf(-mean / std)
                elif best is not None:
                    z = (best - mean) / std
                    value = value * std * (z * norm.cdf(z) + norm.pdf(z))
            return value

        d = self.x.shape[1]
        pool = self.rng.random((256, d))
        starts = pool[np.argsort(-eic(pool))[:8]]
        found = [
            minimize(lambda u: -eic(u[None])[0], x, bounds=[(0, 1)] * d, method="L-BFGS-B")
            for x in starts
        ]
        unit = min(found, key=lambda r: r.fun).x
        low, high = self.problem.bounds.T
        return low + np.clip(unit, 0, 1) * (high - low)


def _ours(**parameters: Any) -> Callable[[Problem, int], OurSession]:
    return functools.partial(OurSession, **parameters)


OURS: dict[str, Callable[[Problem, int], Any]] = {
    "two_step": _ours(),
    # The second step of a plan is EIC's; where EIC's own point was the first, a new plan begins.
    "two_step_no_exploit": _ours(exploit=False),
    # Leaves EIC also for points at which nothing can be gained at once.
    "two_step_any_plan": functools.partial(OtherOptions, plan_min_eic_share=0.0),
    "two_step_always": AlwaysTwoStep,
    "two_step_lr": _ours(gradient_estimator="likelihood_ratio"),
    "two_step_remaining": _ours(remaining=True),
    "two_step_raw": _ours(output_transform="none"),
    "eic": _ours(acquisition="eic"),
    # Exploits at every other ask as two_step does, without looking ahead: no challenger passes.
    "eic_no_exploit": _ours(acquisition="eic", exploit=False),
    "eic_matern": functools.partial(_matern, acquisition="eic"),
    "eic_raw": _ours(acquisition="eic", output_transform="none"),
    "eic_log_tail": _ours(acquisition="eic", output_transform="log_tail"),
    "eic_bilog": _ours(acquisition="eic", output_transform="bilog"),
    "eic_copula": _ours(acquisition="eic", output_transform="copula"),
    "eic_textbook": TextbookEIC,
}
