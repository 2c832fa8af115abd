"""Seconds an ask against BoTorch, growth with the data, and variance per second of gradients.

CPU seconds of one thread (``time.process_time``), so that other jobs on the machine count less; the
median of ``--repeats`` runs. Problem: a smooth synthetic objective with m smooth constraints.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _ours import search_problem
from _peers import LogCEI, QLogEI, Session
from _problems import Array, Problem

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization import SearchOptions, _gradient
from lookahead_sk.optimization._acquisition import log_eic_at, log_feasibility
from lookahead_sk.optimization._maximize import maximize_eic, second_step_candidates
from lookahead_sk.optimization._normal import sobol_uniform
from lookahead_sk.optimization._posterior import moments


def make_problem(d: int, m: int, seed: int = 0) -> Problem:
    """A sum of sines with m constraints of the same kind, on the unit cube."""
    rng = np.random.default_rng(seed)
    weights, phases = rng.uniform(1, 4, (1 + m, d)), rng.uniform(0, 6, (1 + m, d))

    def evaluate(x: Array) -> Array:
        waves = np.sin(weights * x[:, None] + phases).sum(-1)
        waves[:, 1:] -= 0.5
        return waves

    bounds = np.tile([0.0, 1.0], (d, 1))
    return Problem("speed", "", evaluate, bounds, m, np.zeros(d), 0.0, 1.0, 100)


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return statistics.median(times)


def our_optimizer(problem: Problem, n: int, **parameters: object) -> TwoStepConstrainedBO:
    """An optimiser that was told n points."""
    x = np.random.default_rng(1).random((n, problem.n_features))
    session = OurSession(problem, **parameters)
    session.tell(x, problem.evaluate(x))
    return session.optimizer


class OurSession:
    """Ours behind the peers' interface; every ask begins a plan, the more expensive step."""

    def __init__(self, problem: Problem, **parameters: Any) -> None:
        self.optimizer = TwoStepConstrainedBO(
            problem.bounds, problem.n_constraints, random_state=0, n_initial=1, **parameters
        )

    def tell(self, x: Array, y: Array) -> None:
        """Pass on."""
        self.optimizer.tell(x, y)

    def ask(self) -> Array:
        """One point."""
        return self.optimizer.ask(plan_pending=False)[0]


SESSIONS: dict[str, Callable[[Problem], Session]] = {
    "BoTorch qLogEI": lambda problem: QLogEI(problem, 0),
    "BoTorch LogCEI": lambda problem: LogCEI(problem, 0),
    "two_step, stratified": OurSession,
    "two_step, likelihood_ratio": lambda problem: OurSession(
        problem, gradient_estimator="likelihood_ratio"
    ),
    "eic": lambda problem: OurSession(problem, acquisition="eic"),
}


def asks(name: str, d: int, m: int, n: int, repeats: int) -> tuple[float, float]:
    """CPU seconds of the first ask after n points, and the median of those that follow."""
    problem = make_problem(d, m)
    session = SESSIONS[name](problem)
    x = np.random.default_rng(1).random((n, d))
    times = []
    for _ in range(1 + repeats):
        session.tell(x, problem.evaluate(x))
        start = time.process_time()
        x = session.ask()[None]
        times.append(time.process_time() - start)
    return times[0], statistics.median(times[1:])


def table_of_asks(repeats: int) -> None:
    """Fit + acquisition, ours and BoTorch's, and the ratio."""
    print("| d | m | n | method | fit + acquisition, s | / BoTorch qLogEI | first ask, s |")
    print("|---|---|---|---|---|---|---|")
    for d, m, n in ((2, 1, 30), (6, 2, 60)):
        rows = {name: asks(name, d, m, n, repeats) for name in SESSIONS}
        for name, (first, value) in rows.items():
            ratio = value / rows["BoTorch qLogEI"][1]
            print(
                f"| {d} | {m} | {n} | {name} | {value:.2f} | {ratio:.2f} | {first:.2f} |",
                flush=True,
            )


def table_of_sizes(repeats: int) -> None:
    """The same by data and dimension: seconds of every method, and our plan against the better."""
    names = ["BoTorch qLogEI", "BoTorch LogCEI", "two_step, stratified", "eic"]
    print(f"\n| d | n | {' | '.join(names)} | two_step / faster BoTorch |")
    print("|---" * (3 + len(names)) + "|")
    for d in (2, 6, 20):
        for n in (50, 100, 200, 400):
            values = [asks(name, d, 2, n, repeats)[1] for name in names]
            cells = " | ".join(f"{value:.2f}" for value in values)
            print(f"| {d} | {n} | {cells} | {values[2] / min(values[:2]):.2f} |", flush=True)


def table_of_growth(repeats: int) -> None:
    """Acquisition without the fit for growing n."""
    print("\n| n | acquisition, s | growth since the row above, exponent of n |\n|---|---|---|")
    problem, last = make_problem(6, 2), None
    for n in (50, 100, 200, 400):
        optimizer = our_optimizer(problem, n)
        optimizer.predict(optimizer.X_[:1])  # fits the surrogate

        def ask(o: TwoStepConstrainedBO = optimizer) -> None:
            o.forget_pending().ask(plan_pending=False)

        value = seconds(ask, repeats)
        growth = "" if last is None else f"{np.log2(value / last):.2f}"
        print(f"| {n} | {value:.2f} | {growth} |", flush=True)
        last = value


def large_case() -> None:
    """n = 400, d = 10, m = 4 on two threads: wall seconds and peak memory."""
    torch.set_num_threads(2)
    optimizer = our_optimizer(make_problem(10, 4), 400)
    start, cpu = time.perf_counter(), time.process_time()
    optimizer.ask()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nn = 400, d = 10, m = 4: {wall:.1f} s wall, {cpu:.1f} s CPU, peak {peak:.2f} GB")
    torch.set_num_threads(1)


def table_of_variance(repeats: int) -> None:
    """Standard deviation of the gradient and variance times seconds, N = 64 fantasies."""
    print("\n| q | estimator | s.d. (norm) | ms a gradient | variance x seconds | bias, z |")
    print("|---|---|---|---|---|---|")
    problem = search_problem(our_optimizer(make_problem(2, 2), 12))
    optima, _ = maximize_eic(problem, SearchOptions(), 0)
    candidates = second_step_candidates(problem, optima, SearchOptions(), 0)
    pool = sobol_uniform(512, 2, 4)
    at = moments(problem.posterior, pool)
    chance = torch.exp(log_feasibility(at.mean[1:], at.variance[1:].sqrt()))
    # Where feasibility is uncertain and matters the pathwise gradient is biased.
    worth = log_eic_at(at, problem.incumbent).where((chance > 0.2) & (chance < 0.8), -torch.inf)
    uncertain = pool[worth.argsort(descending=True)]
    for q in (1, 2):
        batch = uncertain[:q].unsqueeze(0)
        estimators = {
            "likelihood ratio": _gradient.likelihood_ratio,
            "stratified": _gradient.stratified,
            "pathwise (biased)": _gradient.pathwise,
        }
        draws, times = {}, {}
        for name, estimator in estimators.items():
            start = time.process_time()
            gradients = []
            for scramble in range(100 * repeats):
                u = sobol_uniform(64, 3 * q, scramble).reshape(64, 3, q)
                _, g = estimator(problem.posterior, batch, candidates, u, problem.incumbent)
                gradients.append(g.flatten())
            times[name] = (time.process_time() - start) / len(gradients)
            draws[name] = torch.stack(gradients)
        reference = draws["stratified"].mean(0)
        for name, values in draws.items():
            spread = values.std(0)
            error = spread / len(values) ** 0.5 + 1e-12
            z = ((values.mean(0) - reference) / error).abs().max()
            variance = float(spread.square().sum())
            print(
                f"| {q} | {name} | {variance**0.5:.4f} | {1e3 * times[name]:.1f} | "
                f"{variance * times[name]:.2e} | {z:.1f} |"
            )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table_of_asks(args.repeats)
    table_of_sizes(min(3, args.repeats))
    table_of_growth(args.repeats)
    table_of_variance(args.repeats)
    large_case()


if __name__ == "__main__":
    main()
