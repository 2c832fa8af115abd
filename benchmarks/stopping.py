"""How far from the optimum a run is that stops by ``expected_gain_``.

Each run goes on to its budget; rules are read off afterwards. A rule stops when the expected gain
was below its tolerance at so many asks in a row. ``python benchmarks/stopping.py`` prints the
table; single runs go to standard error.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from _problems import PROBLEMS, Array, Problem

from lookahead_sk import TwoStepConstrainedBO

NAMES = ("gardner1", "gardner1_active", "gardner2", "gramacy", "townsend")
TOLERANCES = (1e-2, 1e-3, 1e-4)
PATIENCES = (1, 3, 5)


def run(problem: Problem, seed: int, budget: int) -> tuple[Array, Array]:
    """Expected gain at each ask, and the gap after the evaluations told before it."""
    optimizer = TwoStepConstrainedBO(problem.bounds, problem.n_constraints, random_state=seed)
    gains, gaps = [], []
    while len(optimizer.y_) < budget:
        x = optimizer.ask()
        if len(optimizer.y_):
            gains.append(optimizer.expected_gain_)
            gaps.append(problem.gaps(optimizer.y_)[-1])
        optimizer.tell(x, problem.evaluate(x))
    return np.array(gains), np.array(gaps)


def stop(gains: Array, tolerance: float, patience: int) -> int | None:
    """Place of the ask at which a rule stops, None if it never does."""
    small = 0
    for i, gain in enumerate(gains):
        small = small + 1 if gain < tolerance else 0
        if small == patience:
            return i
    return None


def row(runs: list[tuple[Array, Array]], tolerance: float, patience: int) -> list[str]:
    """What becomes of a rule: stops, evaluations, gaps, stops that were too early."""
    places = [stop(gains, tolerance, patience) for gains, _ in runs]
    ends = [(i, gaps) for i, (_, gaps) in zip(places, runs, strict=True) if i is not None]
    n_runs = len(runs)
    if not ends:
        return [f"0 of {n_runs}", *["-"] * 4]
    left = np.array([gaps[i] for i, gaps in ends])
    # An early stop: more than the tolerance was missed, and the same run found it later.
    lost = sum(gaps[i] - gaps[-1] > tolerance for i, gaps in ends)
    return [
        f"{len(ends)} of {n_runs}",
        f"{np.median([i + 1 for i, _ in ends]):.0f}",
        f"{np.median(left):.1e}",
        f"{(left > tolerance).sum()} of {len(ends)}",
        f"{lost} of {len(ends)}",
    ]


def main() -> None:
    """Print the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=NAMES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", type=int, default=30)
    arguments = parser.parse_args()
    runs = []
    for name in arguments.problems:
        for seed in range(arguments.seeds):
            start = time.process_time()
            runs.append(run(PROBLEMS[name], seed, arguments.budget))
            gains, gaps = runs[-1]
            seconds = time.process_time() - start
            print(name, seed, *map("{:.1e}/{:.1e}".format, gains, gaps), file=sys.stderr)
            print(f"{seconds:.0f} s", file=sys.stderr, flush=True)
    columns = ["stopped", "evaluations", "median gap", "gap over tolerance", "found more later"]
    print(",".join(["tolerance", "asks in a row", *columns]))
    for tolerance in TOLERANCES:
        for patience in PATIENCES:
            print(",".join([f"{tolerance:g}", str(patience), *row(runs, tolerance, patience)]))


if __name__ == "__main__":
    main()
