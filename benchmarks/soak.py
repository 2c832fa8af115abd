"""A long run on every benchmark problem: no warning, no climb of memory, every point legal.

Run ``python benchmarks/soak.py`` for all problems, or name some; ``--acquisition two_step`` plans
two evaluations ahead. Memory is the resident set of the problem's own process, after the first
fifth and at the end, and of a fresh process that loads the saved optimiser and asks once: what 500
evaluations need is no leak.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _problems import PROBLEMS

from lookahead_sk import TwoStepConstrainedBO

CLIMB = 100.0  # MB that caches may take; a leak of every evaluation takes more


def resident() -> float:
    """MB of this process."""
    return float(psutil.Process().memory_info().rss / 2**20)


def ask_once(path: Path) -> float:
    """MB of a process that has loaded an optimiser and asked once."""
    TwoStepConstrainedBO.load(path).ask()
    return resident()


def in_own_process(function: Any, *arguments: Any) -> Any:
    """What a function returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def soak(name: str, n: int, acquisition: str, seed: int) -> str:
    """One row of the table."""
    problem = PROBLEMS[name]
    optimizer = TwoStepConstrainedBO(
        problem.bounds, problem.n_constraints, acquisition=acquisition, random_state=seed
    )
    low, high = problem.bounds.T
    start, early, n_outside = time.perf_counter(), 0.0, 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(n):
            X = optimizer.ask()
            n_outside += int(not ((low <= X) & (high >= X)).all())
            optimizer.tell(X, problem.evaluate(X))
            if i == n // 5:
                early = resident()
    late, seconds = resident(), time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        optimizer.save(Path(folder) / "optimizer.json")
        fresh = in_own_process(ask_once, Path(folder) / "optimizer.json")
    gap = problem.gaps(optimizer.y_)[-1]
    cells = [
        problem.name,
        str(n),
        f"{seconds:.0f}",
        str(len(caught)),
        str(n_outside),
        str(n - len(np.unique(optimizer.X_, axis=0))),
        f"{early:.0f}",
        f"{late:.0f}",
        f"{fresh:.0f}",
        f"{gap:.2g}",
        "yes" if not caught and not n_outside and late - fresh < CLIMB else "NO",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Parse the arguments, print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS), metavar="PROBLEM")
    parser.add_argument("--acquisition", default="eic", choices=["eic", "two_step"])
    parser.add_argument("--n", type=int, default=500, help="evaluations of each problem")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    heads = ["problem", "evaluations", "seconds", "warnings", "outside", "repeated",
             "MB early", "MB late", "MB fresh", "gap", "passed"]  # fmt: skip
    print("| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads), sep="\n", flush=True)
    for name in args.problems:
        print(in_own_process(soak, name, args.n, args.acquisition, args.seed), flush=True)


if __name__ == "__main__":
    main()
