"""What it saves to hand over the constraints that are formulas, instead of learning them.

Each problem is run twice, with and without ``known_constraints``; the other constraints are learned
in both. ``python benchmarks/known_constraints.py`` prints the table; single runs go to standard
error.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from _problems import PROBLEMS, Array, Problem

from lookahead_sk import TwoStepConstrainedBO

TARGETS = (0.05, 0.01)  # gaps, in parts of the optimum


def _pressure_vessel(x: Array) -> Array:
    shell, head, radius, length = x.T
    cost = 0.6224 * shell * radius * length + 1.7781 * head * radius**2
    cost = cost + 3.1661 * shell**2 * length + 19.84 * shell**2 * radius
    volume = math.pi * radius**2 * length + 4 / 3 * math.pi * radius**3
    constraints = [0.0193 * radius - shell, 0.00954 * radius - head, 1_296_000 - volume]
    return np.stack([cost, *constraints], axis=1)


PRESSURE_VESSEL = Problem(
    "pressure_vessel",
    "Kannan and Kramer 1994, thicknesses continuous",
    _pressure_vessel,
    np.array([(0.0625, 6.1875), (0.0625, 6.1875), (10.0, 200.0), (10.0, 200.0)]),
    3,
    np.array([0.7781686, 0.3846492, 40.3196187, 200.0]),
    5885.3328,
    1e6,
    40,
)
# Columns of the constraints that an engineer has as formulas: geometry and cost, no mechanics.
KNOWN: dict[str, Sequence[int]] = {
    "speed_reducer": [6, 7, 8, 9, 10],
    "welded_beam": [2, 3],
    "pressure_vessel": [0, 1],
    "spring": [3],
}


def split(problem: Problem, known: Sequence[int]) -> tuple[Problem, Callable[[Array], Array]]:
    """The problem without its known constraints, and these."""
    columns = [j for j in range(1 + problem.n_constraints) if j - 1 not in known]
    learned = replace(
        problem,
        evaluate=lambda x: problem.evaluate(x)[:, columns],
        n_constraints=problem.n_constraints - len(known),
    )
    return learned, lambda x: problem.evaluate(x)[:, [1 + j for j in known]]


def run(problem: Problem, known: Sequence[int], seed: int, budget: int) -> Array:
    """Gaps of the best point so far, in parts of the optimum, after each evaluation."""
    learned, formulas = split(problem, known)
    optimizer = TwoStepConstrainedBO(
        problem.bounds,
        learned.n_constraints,
        known_constraints=formulas if known else None,
        random_state=seed,
    )
    while len(optimizer.y_) < budget:
        x = optimizer.ask()
        if known and (formulas(x) > 0).any():
            raise RuntimeError(f"{x} violates a known constraint")
        optimizer.tell(x, learned.evaluate(x))
    return problem.gaps(problem.evaluate(optimizer.X_)) / abs(problem.f_best)


def needed(gaps: Array, target: float) -> float:
    """Evaluations until a gap is reached, infinite if it is not."""
    reached = np.flatnonzero(gaps <= target)
    return float(reached[0] + 1) if len(reached) else math.inf


def shown(values: list[float], budget: int) -> str:
    """Median of the numbers of evaluations."""
    median = float(np.median(values))
    return f"{median:.0f}" if math.isfinite(median) else f"over {budget}"


def main() -> None:
    """Print the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=25)
    arguments = parser.parse_args()
    n, budget = arguments.seeds, arguments.budget
    columns = [f"{how} to {target:.0%}" for target in TARGETS for how in ("learned", "known")]
    print(",".join(["problem", "known of", *columns, "gap learned", "gap known"]))
    for name, known in KNOWN.items():
        problem = PRESSURE_VESSEL if name == "pressure_vessel" else PROBLEMS[name]
        curves: dict[bool, list[Array]] = {False: [], True: []}
        for seed in range(n):
            for is_known in curves:
                start = time.process_time()
                gaps = run(problem, known if is_known else [], seed, budget)
                curves[is_known].append(gaps)
                seconds = time.process_time() - start
                print(name, seed, is_known, gaps[-1], f"{seconds:.0f} s", file=sys.stderr)
        row = [name, f"{len(known)} of {problem.n_constraints}"]
        for target in TARGETS:
            row += [shown([needed(g, target) for g in c], budget) for c in curves.values()]
        row += [f"{np.median([g[-1] for g in c]):.1e}" for c in curves.values()]
        print(",".join(row), flush=True)


if __name__ == "__main__":
    main()
