"""What it saves to hand over the constraints that are formulas, instead of learning them.

Each problem is run with and without them; the other constraints are learned in both. BoTorch takes
formulas too (``nonlinear_inequality_constraints``), bayesian-optimization learns them all. Run
``python benchmarks/known_constraints.py`` as often as you like: finished runs are read from the
results file, missing ones are added to it, seed by seed. ``--tables`` only prints the table.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _peers import RAW_SAMPLES, BayesOptSession, QLogEI
from _problems import PROBLEMS, Array, Problem

from lookahead_sk import TwoStepConstrainedBO

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "known_constraints.jsonl"
TARGETS = (0.05, 0.01)  # gaps, in parts of the optimum
BUDGET = 25
STEP = 1e-6  # of differences, in parts of the box
STARTS = 2  # of BoTorch's ascent under formulas, which takes 10 to 30 seconds an ask with eight

Formulas = Callable[[Array], Array]


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


def split(problem: Problem, known: Sequence[int]) -> tuple[Problem, Formulas]:
    """The problem without its known constraints, and these."""
    columns = [j for j in range(1 + problem.n_constraints) if j - 1 not in known]
    learned = replace(
        problem,
        evaluate=lambda x: problem.evaluate(x)[:, columns],
        n_constraints=problem.n_constraints - len(known),
    )
    return learned, lambda x: problem.evaluate(x)[:, [1 + j for j in known]]


def problem_of(name: str) -> Problem:
    """A problem by its name."""
    return PRESSURE_VESSEL if name == "pressure_vessel" else PROBLEMS[name]


class Ours:
    """`TwoStepConstrainedBO` with its own design, with formulas or without."""

    def __init__(self, problem: Problem, seed: int, formulas: Formulas | None) -> None:
        self.optimizer = TwoStepConstrainedBO(
            problem.bounds, problem.n_constraints, known_constraints=formulas, random_state=seed
        )

    def ask(self) -> Array:
        """The next point, (d,)."""
        point: Array = self.optimizer.ask()[0]
        return point

    def tell(self, x: Array, y: Array) -> None:
        """Take outcomes."""
        self.optimizer.tell(x, y)


class AfterDesign:
    """A peer, after random points that meet the formulas, if it has any."""

    def __init__(
        self, session: Any, problem: Problem, seed: int, formulas: Formulas | None
    ) -> None:
        self.session = session
        rng = np.random.default_rng(seed)
        self.design = list(drawn(problem, problem.n_initial, rng, formulas))

    def ask(self) -> Array:
        """The next point, (d,)."""
        return self.design.pop(0) if self.design else self.session.ask()

    def tell(self, x: Array, y: Array) -> None:
        """Take outcomes."""
        self.session.tell(x, y)


class KnownQLogEI(QLogEI):
    """BoTorch's acquisition, maximised where the formulas are met."""

    def __init__(self, problem: Problem, seed: int, formulas: Formulas) -> None:
        super().__init__(problem, seed)
        self.formulas = formulas
        self.rng = np.random.default_rng([seed, 1])

    def _in_cube(self, x: Array) -> Array:
        low, high = self.problem.bounds.T
        return -self.formulas(low + np.atleast_2d(x) * (high - low))

    def maximize(self, acquisition: Any) -> Array:
        """From the best of many feasible points; the point comes back in the problem's units."""
        import torch
        from botorch.optim import optimize_acqf

        low, high = self.problem.bounds.T
        pool = drawn(self.problem, RAW_SAMPLES, self.rng, self.formulas)
        starts = torch.tensor((pool - low) / (high - low)).unsqueeze(1)
        with torch.no_grad():
            order = acquisition(starts).argsort(descending=True)[:STARTS]
        d, n = self.problem.n_features, self._in_cube(pool[:1]).shape[1]
        best, _ = optimize_acqf(
            acquisition,
            torch.stack([torch.zeros(d), torch.ones(d)]).double(),
            q=1,
            num_restarts=STARTS,
            batch_initial_conditions=starts[order],
            nonlinear_inequality_constraints=[
                (differentiable(self._in_cube, j), True) for j in range(n)
            ],
        )
        return low + best[0].numpy() * (high - low)


def differentiable(function: Callable[[Array], Array], column: int) -> Callable[[Any], Any]:
    """A column of a function of numpy arrays for torch, by central differences."""
    import torch

    class Formula(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.tensor(function(x.detach().numpy())[0, column])

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (x,) = ctx.saved_tensors
            steps = STEP * np.eye(len(x))
            values = [function(x.numpy() + sign * steps)[:, column] for sign in (1, -1)]
            return gradient * torch.tensor((values[0] - values[1]) / (2 * STEP))

    return Formula.apply


def drawn(problem: Problem, n: int, rng: Any, formulas: Formulas | None) -> Array:
    """Uniform points (n, d), those that meet the formulas."""
    kept: list[Array] = []
    while len(kept) < n:
        x = rng.uniform(*problem.bounds.T, size=(4096, problem.n_features))
        kept += list(x if formulas is None else x[(formulas(x) <= 0).all(axis=1)])
    return np.array(kept[:n])


def session(method: str, name: str, seed: int) -> tuple[Any, Problem, Formulas]:
    """A run of a method, the problem that it sees, and the formulas."""
    learned, formulas = split(problem_of(name), KNOWN[name])
    if method == "two_step, known":
        return Ours(learned, seed, formulas), learned, formulas
    if method == "BoTorch qLogEI, known":
        made = KnownQLogEI(learned, seed, formulas)
        return AfterDesign(made, learned, seed, formulas), learned, formulas
    whole = problem_of(name)
    if method == "two_step, learned":
        return Ours(whole, seed, None), whole, formulas
    peer = QLogEI if method == "BoTorch qLogEI, learned" else BayesOptSession
    return AfterDesign(peer(whole, seed), whole, seed, None), whole, formulas


METHODS = (
    "two_step, known",
    "two_step, learned",
    "BoTorch qLogEI, known",
    "BoTorch qLogEI, learned",
    "bayesian-optimization, learned",
)


def run(method: str, name: str, seed: int) -> dict[str, Any]:
    """Gaps of the best point so far, in parts of the optimum, after each evaluation."""
    start = time.process_time()
    asked, problem, formulas = session(method, name, seed)
    points: list[Array] = []
    while len(points) < BUDGET:
        x = asked.ask()
        asked.tell(x[None], problem.evaluate(x[None]))
        points.append(x)
    whole, x = problem_of(name), np.array(points)
    gaps = whole.gaps(whole.evaluate(x)) / abs(whole.f_best)
    return {
        "problem": name,
        "method": method,
        "seed": seed,
        "gaps": [float(f"{gap:.4g}") for gap in gaps],
        "violations": int((formulas(x) > 1e-9 * (1 + abs(whole.f_best))).any(axis=1).sum()),
        "seconds": round(time.process_time() - start, 1),
    }


def needed(gaps: Any, target: float) -> float:
    """Evaluations until a gap is reached, infinite if it is not."""
    reached = np.flatnonzero(np.asarray(gaps) <= target)
    return float(reached[0] + 1) if len(reached) else math.inf


def shown(values: list[float]) -> str:
    """Median of the numbers of evaluations."""
    median = float(np.median(values))
    return f"{median:g}" if math.isfinite(median) else f"over {BUDGET}"


def load(path: Path) -> list[dict[str, Any]]:
    """Finished runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_table(runs: list[dict[str, Any]]) -> None:
    """Evaluations to the targets, and what was evaluated in vain, of the seeds of all methods."""
    head = ["problem", "known", "method", "seeds", *(f"to {target:.0%}" for target in TARGETS)]
    head += [f"gap after {BUDGET}", "broke a formula"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for name, known in KNOWN.items():
        for method in METHODS:
            found = [r for r in runs if (r["problem"], r["method"]) == (name, method)]
            if not found:
                continue
            row = [
                name,
                f"{len(known)} of {problem_of(name).n_constraints}",
                method,
                str(len(found)),
            ]
            row += [shown([needed(r["gaps"], target) for r in found]) for target in TARGETS]
            row.append(f"{np.median([r['gaps'][-1] for r in found]):.1e}")
            row.append(f"{np.mean([r['violations'] for r in found]):.1f} of {BUDGET}")
            print("| " + " | ".join(row) + " |")


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", nargs="+", choices=list(KNOWN), default=list(KNOWN))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    args = parser.parse_args()
    done = {(r["problem"], r["method"], r["seed"]) for r in load(args.results)}
    todo = [(m, p, s) for s in range(args.seeds) for p in args.problems for m in args.methods]
    for method, name, seed in [] if args.tables else todo:
        if (name, method, seed) in done:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = run(method, name, seed)
        with args.results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{name}, {method}, {seed}: {record['gaps'][-1]}, {record['seconds']} s", flush=True)
    print_table(load(args.results))


if __name__ == "__main__":
    main()
