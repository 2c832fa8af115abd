"""What a user would pick instead, each with its own defaults, behind one ask and tell.

All peers get the same initial design; points travel in the problem's units, and only BoTorch, whose
documentation asks for it, sees the unit cube.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
from _problems import Array, Problem

RESTARTS, RAW_SAMPLES = 8, 256


class Session(Protocol):
    """One run of one method on one problem."""

    def tell(self, x: Array, y: Array) -> None:
        """Take (n, d) points and their (n, 1 + m) outputs."""

    def ask(self) -> Array:
        """Return the next point, (d,)."""


class RandomSession:
    """Uniform points."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.problem = problem

    def tell(self, x: Array, y: Array) -> None:
        """Nothing to learn."""

    def ask(self) -> Array:
        """Draw one point."""
        low, high = self.problem.bounds.T
        return self.rng.uniform(low, high)


class BoTorchSession:
    """SingleTaskGP an output, then a constrained acquisition by ``optimize_acqf``."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed = problem, seed
        self.x = np.empty((0, problem.n_features))
        self.y = np.empty((0, 1 + problem.n_constraints))

    def tell(self, x: Array, y: Array) -> None:
        """Append the data."""
        low, high = self.problem.bounds.T
        self.x = np.concatenate([self.x, (x - low) / (high - low)])
        self.y = np.concatenate([self.y, y])

    def fit(self) -> Any:
        """Fit one model an output with BoTorch's defaults."""
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from gpytorch.mlls import SumMarginalLogLikelihood

        x, y = torch.tensor(self.x), torch.tensor(self.y)
        model = ModelListGP(*[SingleTaskGP(x, y[:, j : j + 1]) for j in range(y.shape[1])])
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        return model

    def maximize(self, acquisition: Any) -> Array:
        """Maximise over the unit cube; the point comes back in the problem's units."""
        import torch
        from botorch.optim import optimize_acqf

        d = self.problem.n_features
        cube = torch.stack([torch.zeros(d), torch.ones(d)]).double()
        best, _ = optimize_acqf(
            acquisition, cube, q=1, num_restarts=RESTARTS, raw_samples=RAW_SAMPLES
        )
        low, high = self.problem.bounds.T
        return low + best[0].numpy() * (high - low)

    def ask(self) -> Array:
        """Fit and maximise."""
        import torch

        torch.manual_seed(1000 * self.seed + len(self.x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.maximize(self.acquisition(self.fit()))

    def acquisition(self, model: Any) -> Any:
        """Return the acquisition function of the fitted model."""
        raise NotImplementedError


class QLogEI(BoTorchSession):
    """``qLogExpectedImprovement`` with ``constraints``."""

    def acquisition(self, model: Any) -> Any:
        """Build the acquisition; the incumbent is BoTorch's own while nothing is feasible."""
        import torch
        from botorch.acquisition.logei import qLogExpectedImprovement
        from botorch.acquisition.objective import GenericMCObjective
        from botorch.acquisition.utils import compute_best_feasible_objective

        y = torch.tensor(self.y)
        objective = GenericMCObjective(lambda samples, X=None: -samples[..., 0])
        constraints = [
            lambda samples, i=i: samples[..., i] for i in range(1, 1 + self.problem.n_constraints)
        ]
        best = compute_best_feasible_objective(
            samples=y,
            obj=-y[:, 0],
            constraints=constraints,
            model=model,
            objective=objective,
            X_baseline=torch.tensor(self.x),
        )
        return qLogExpectedImprovement(
            model, best_f=best, objective=objective, constraints=constraints
        )


class LogCEI(BoTorchSession):
    """``LogConstrainedExpectedImprovement``, and ``LogProbabilityOfFeasibility`` before."""

    def acquisition(self, model: Any) -> Any:
        """Build the acquisition."""
        from botorch.acquisition.analytic import (
            LogConstrainedExpectedImprovement,
            LogProbabilityOfFeasibility,
        )

        limits = dict.fromkeys(range(1, 1 + self.problem.n_constraints), (None, 0.0))
        feasible = (self.y[:, 1:] <= 0).all(axis=1)
        if not feasible.any():
            return LogProbabilityOfFeasibility(model, limits)
        best = float(self.y[feasible, 0].min())
        return LogConstrainedExpectedImprovement(
            model, best, objective_index=0, constraints=limits, maximize=False
        )


class OptunaSession:
    """``GPSampler``; its random start-up trials are replaced by the common initial design."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import optuna

        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=problem.n_initial)
        self.study = optuna.create_study(sampler=sampler)
        self.problem = problem
        self.trial: Any = None

    def _suggest(self) -> Array:
        self.trial = self.study.ask()
        bounds = enumerate(self.problem.bounds)
        return np.array([self.trial.suggest_float(f"x{i}", *pair) for i, pair in bounds])

    def tell(self, x: Array, y: Array) -> None:
        """Finish the asked trial, or enqueue and finish points of the initial design."""
        for point, row in zip(x, y, strict=True):
            if self.trial is None:
                self.study.enqueue_trial({f"x{i}": float(v) for i, v in enumerate(point)})
                self._suggest()
            for i, value in enumerate(row[1:]):
                self.trial.set_constraint(f"c{i}", float(value))
            self.study.tell(self.trial, float(row[0]))
            self.trial = None

    def ask(self) -> Array:
        """Ask the study."""
        return self._suggest()


class BayesOptSession:
    """``bayesian-optimization``: expected improvement times probability of feasibility."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from bayes_opt import BayesianOptimization
        from scipy.optimize import NonlinearConstraint

        self.problem = problem
        self.rng = np.random.default_rng(seed)
        names = [f"x{i:02d}" for i in range(problem.n_features)]
        m = problem.n_constraints
        limit = (-np.inf, 0.0) if m == 1 else (np.full(m, -np.inf), np.zeros(m))
        self.optimizer = BayesianOptimization(
            f=None,
            pbounds={n: tuple(b) for n, b in zip(names, problem.bounds, strict=True)},
            constraint=NonlinearConstraint(lambda **_: 0.0, *limit),
            random_state=seed,
            verbose=0,
            allow_duplicate_points=True,
        )
        self.names = names

    def tell(self, x: Array, y: Array) -> None:
        """Register the points; the package maximises."""
        for point, row in zip(x, y, strict=True):
            values = float(row[1]) if len(row) == 2 else row[1:]
            params = dict(zip(self.names, map(float, point), strict=True))
            self.optimizer.register(params, target=-float(row[0]), constraint_value=values)

    def ask(self) -> Array:
        """Suggest; the package raises while nothing is feasible: then draw at random."""
        from bayes_opt.exception import NoValidPointRegisteredError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                suggestion = self.optimizer.suggest()
            except NoValidPointRegisteredError:
                return self.rng.uniform(*self.problem.bounds.T)
        return np.array([suggestion[name] for name in self.names])


PEERS: dict[str, type] = {
    "random": RandomSession,
    "botorch_qlogei": QLogEI,
    "botorch_logcei": LogCEI,
    "optuna_gp": OptunaSession,
    "bayes_opt": BayesOptSession,
}
