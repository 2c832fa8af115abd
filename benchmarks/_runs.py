"""One run of a method on a problem, and the file that collects the finished runs."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _peers import Session
from _problems import Array, Problem
from _suites import get_problem
from joblib import Parallel, delayed
from scipy.stats import qmc

Factory = Callable[[Problem, int], Session]


def initial_design(problem: Problem, seed: int) -> Array:
    """Return the scrambled Sobol points that every method starts from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the number of points is no power of two
        unit = qmc.Sobol(problem.n_features, rng=1000 + seed).random(problem.n_initial)
    low, high = problem.bounds.T
    return low + unit * (high - low)


def run(problem_name: str, method: str, factory: Factory, seed: int, budget: int) -> dict[str, Any]:
    """Run one method to the end of its budget."""
    import torch

    torch.set_num_threads(1)
    problem = get_problem(problem_name)
    session = factory(problem, seed)
    x = initial_design(problem, seed)
    y = problem.evaluate(x)
    session.tell(x, y)
    seconds = []
    while len(y) < budget:
        start = time.process_time()  # CPU seconds: other jobs may share the machine
        point = session.ask()
        seconds.append(time.process_time() - start)
        value = problem.evaluate(point[None])
        session.tell(point[None], value)
        y = np.concatenate([y, value])
    if hasattr(session, "close"):
        session.close()
    return {
        "problem": problem_name,
        "method": method,
        "seed": seed,
        "budget": budget,
        "n_initial": problem.n_initial,
        "gaps": [float(f"{gap:.5g}") for gap in problem.gaps(y)],
        "first_feasible": int(np.argmax((y[:, 1:] <= 0).all(1)))
        if problem.gaps(y)[-1] < problem.f_worst - problem.f_best
        else None,
        "ask_seconds": [float(f"{s:.3g}") for s in seconds],
    }


def load(path: Path) -> list[dict[str, Any]]:
    """Read all finished runs of a results file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def missing(
    path: Path,
    problems: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int],
    budget: int | None,
) -> list[tuple[str, str, int, int]]:
    """List the runs that are not in the file, seed by seed so that every problem gets few first."""
    done = {(r["problem"], r["method"], r["seed"]): r["budget"] for r in load(path)}
    wanted = [
        (problem, method, seed, budget or get_problem(problem).budget)
        for seed in seeds
        for problem in problems
        for method in methods
    ]
    return [key for key in wanted if done.get(key[:3], 0) < key[3]]


def run_missing(
    path: Path, todo: list[tuple[str, str, int, int]], factories: dict[str, Factory], n_jobs: int
) -> Iterator[dict[str, Any]]:
    """Run in parallel and append each run to the file as soon as it is finished."""
    jobs = (
        delayed(run)(problem, method, factories[method], seed, budget)
        for problem, method, seed, budget in todo
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    for record in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs):
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        yield record
