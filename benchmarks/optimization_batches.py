"""Batches of eight against eight points in turn: how far apart they lie, and what they find.

Every run is told 20 Sobol points, then asks by EIC for 8 at once, or for 8 one after the other.
``python benchmarks/optimization_batches.py`` prints the table; single runs go to standard error.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from _problems import PROBLEMS, Problem
from scipy.stats import qmc

from lookahead_sk import TwoStepConstrainedBO

NAMES = ["gardner1", "gardner2", "gramacy", "townsend", "spring", "welded_beam", "hartmann6"]
N_TOLD, N_ASKED, N_SEEDS = 20, 8, 10


def best(y: Any) -> float:
    """Best feasible value, infinite while there is none."""
    return float(np.where((y[:, 1:] <= 0).all(axis=1), y[:, 0], np.inf).min())


def run(problem: Problem, seed: int) -> tuple[float, float, float, float]:
    """Least distance in the batch; best value before, after the batch, and after points in turn."""
    low, width = problem.bounds[:, 0], np.diff(problem.bounds, axis=1)[:, 0]
    told = low + width * qmc.Sobol(problem.n_features, seed=seed).random(N_TOLD)
    outputs = problem.evaluate(told)
    batch, in_turn = (
        TwoStepConstrainedBO(
            problem.bounds, problem.n_constraints, acquisition="eic", random_state=seed
        ).tell(told, outputs)
        for _ in range(2)
    )
    points = batch.ask(N_ASKED)
    batch.tell(points, problem.evaluate(points))
    for _ in range(N_ASKED):
        point = in_turn.ask()
        in_turn.tell(point, problem.evaluate(point))
    unit = (points - low) / width
    apart = np.abs(unit[:, None] - unit[None]).max(axis=-1)[np.triu_indices(N_ASKED, 1)].min()
    return float(apart), best(outputs), best(batch.y_), best(in_turn.y_)


def main() -> None:
    """Print the table as CSV."""
    print("problem,least distance,median least distance,before,batch of 8,8 in turn")
    for name in NAMES:
        runs = []
        for seed in range(N_SEEDS):
            runs.append(run(PROBLEMS[name], seed))
            print(name, seed, runs[-1], file=sys.stderr)
        apart, *values = np.array(runs).T
        medians = [f"{v:.4g}" if np.isfinite(v) else "none" for v in map(np.median, values)]
        print(",".join([name, f"{apart.min():.3f}", f"{np.median(apart):.3f}", *medians]))


if __name__ == "__main__":
    main()
