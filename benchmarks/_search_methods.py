"""Searches under limits, each as its users run it, with the same evaluations and the same folds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from _search_problems import SearchProblem
from sklearn.base import clone
from sklearn.model_selection import RandomizedSearchCV, cross_validate

from lookahead_sk import ConstrainedSearchCV


class Outcome(NamedTuple):
    """What a search found, and what it cost."""

    best: list[float | None]  # best feasible score after each candidate
    overhead: float  # CPU seconds beyond the evaluations
    fits: list[int]  # fits after each candidate


class Clock:
    """CPU seconds spent in evaluations."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        start = time.process_time()
        yield
        self.seconds += time.process_time() - start


def best_so_far(objective: Any, is_feasible: Any) -> list[float | None]:
    """Best feasible score after each evaluation, None while there is none."""
    curve = np.maximum.accumulate(np.where(is_feasible, objective, -np.inf))
    return [None if np.isinf(v) else round(float(v), 6) for v in curve]


def _inside(problem: SearchProblem, values: Callable[[str], Any]) -> Any:
    """Whether all limits are met; values are arrays or numbers by metric."""
    inside: Any = True
    for name, (low, high) in problem.limits.items():
        value = values(name)
        if low is not None:
            inside = inside & (value >= low)
        if high is not None:
            inside = inside & (value <= high)
    return inside


def _timed(kind: Any, clock: Clock) -> Any:
    """A search class whose evaluations run by the clock."""

    class Timed(kind):  # type: ignore[misc]
        def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
            def evaluate(*args: Any, **options: Any) -> Any:
                with clock.running():
                    return evaluate_candidates(*args, **options)

            super()._run_search(evaluate, callback_ctx=callback_ctx)

    return Timed


def _search(kind: Any, problem: SearchProblem, seed: int, budget: int, **options: Any) -> Outcome:
    clock = Clock()
    common = {"n_iter": budget, "scoring": dict(problem.scoring), "cv": problem.cv}
    search = _timed(kind, clock)(
        problem.estimator,
        problem.space,
        refit=False,
        random_state=seed,
        **common,
        **options,
    )
    start = time.process_time()
    results = search.fit(*problem.load(return_X_y=True)).cv_results_
    overhead = time.process_time() - start - clock.seconds
    n_splits = problem.cv.get_n_splits()
    fits = np.asarray(results.get("n_splits_evaluated", np.full(budget, n_splits)))
    feasible = _inside(problem, lambda name: results[f"mean_test_{name}"]) & (fits == n_splits)
    best = best_so_far(results[f"mean_test_{problem.objective}"], feasible)
    return Outcome(best, overhead, np.cumsum(fits).tolist())


def constrained(acquisition: str, *, racing: bool = False) -> Any:
    """Ours."""

    def run(problem: SearchProblem, seed: int, budget: int) -> Outcome:
        limits = dict(problem.limits)
        return _search(
            ConstrainedSearchCV,
            problem,
            seed,
            budget,
            objective=problem.objective,
            constraints=limits,
            acquisition=acquisition,
            racing=racing,
        )

    return run


def randomized(problem: SearchProblem, seed: int, budget: int) -> Outcome:
    """RandomizedSearchCV, the best candidate inside the limits afterwards."""
    return _search(RandomizedSearchCV, problem, seed, budget)


def _suggest(trial: Any, space: Any) -> dict[str, Any]:
    """A point of scipy's distributions by Optuna's."""
    if isinstance(space, list):
        branches = [str(i) for i in range(len(space))]
        return _suggest(trial, space[int(trial.suggest_categorical("branch", branches))])
    point = {}
    for name, spec in space.items():
        if isinstance(spec, list) and len(spec) == 1:
            point[name] = clone(spec[0], safe=False)
            continue
        if isinstance(spec, list):
            point[name] = trial.suggest_categorical(name, spec)
            continue
        low, high = spec.support()
        if hasattr(spec.dist, "pmf"):
            point[name] = trial.suggest_int(name, int(low), int(high))
        else:
            is_log = spec.dist.name in ("loguniform", "reciprocal")
            point[name] = trial.suggest_float(name, float(low), float(high), log=is_log)
    return point


def optuna_study(make_sampler: Callable[[Any, int], Any]) -> Any:
    """A study with one of Optuna's samplers, limits by ``set_constraint``."""

    def run(problem: SearchProblem, seed: int, budget: int) -> Outcome:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        clock, data = Clock(), problem.load(return_X_y=True)
        objective, feasible = [], []

        def evaluate(trial: Any) -> float:
            point = _suggest(trial, problem.space)
            with clock.running():
                model = clone(problem.estimator).set_params(**point)
                scores = cross_validate(model, *data, scoring=dict(problem.scoring), cv=problem.cv)
            mean = {name: float(scores[f"test_{name}"].mean()) for name in problem.scoring}
            for name, (low, high) in problem.limits.items():
                if high is not None:
                    trial.set_constraint(f"{name}_high", mean[name] - high)
                if low is not None:
                    trial.set_constraint(f"{name}_low", low - mean[name])
            objective.append(mean[problem.objective])
            feasible.append(bool(_inside(problem, mean.__getitem__)))
            return mean[problem.objective]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.process_time()
            study = optuna.create_study(direction="maximize", sampler=make_sampler(optuna, seed))
            study.optimize(evaluate, n_trials=budget)
        overhead = time.process_time() - start - clock.seconds
        fits = np.arange(1, budget + 1) * problem.cv.get_n_splits()
        best = best_so_far(np.array(objective), np.array(feasible))
        return Outcome(best, overhead, fits.tolist())

    return run


METHODS: dict[str, Callable[[SearchProblem, int, int], Outcome]] = {
    "constrained": constrained("two_step"),
    "randomized": randomized,
    "optuna_gp": optuna_study(lambda optuna, seed: optuna.samplers.GPSampler(seed=seed)),
    "optuna_tpe": optuna_study(lambda optuna, seed: optuna.samplers.TPESampler(seed=seed)),
    "constrained_eic": constrained("eic"),
    "constrained_racing": constrained("two_step", racing=True),
    "optuna_gp_5": optuna_study(
        lambda optuna, seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=5)
    ),
}
