"""Best feasible score of searches under limits on real data, one file of runs.

Run ``python benchmarks/search.py --seeds 10`` as often as you like: finished runs are read from
the results file, missing ones are added to it, and the tables are printed from all of them.
``--tables`` runs nothing. Every method evaluates on the same folds; the seed is that of the search.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _search_methods import METHODS
from _search_problems import PROBLEMS, SearchProblem
from scipy.stats import rankdata, t

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "search.jsonl"
MAIN = ["constrained", "randomized", "optuna_gp", "optuna_tpe"]
RACING = ["constrained", "constrained_racing"]
BUDGET, STEPS = 30, (20, 30)

Curves = dict[tuple[str, str, int], dict[str, Any]]


def load(path: Path) -> Curves:
    """Finished runs by problem, method and seed."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return {(r["problem"], r["method"], r["seed"]): r for r in lines}


def run_missing(
    path: Path,
    problems: Mapping[str, SearchProblem],
    methods: Mapping[str, Any],
    n_seeds: int,
    budget: int,
) -> None:
    """Run what is not in the file, seed by seed, and append each run as soon as it is finished."""
    done = load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(n_seeds):
        for problem in problems:
            for method in methods:
                if (problem, method, seed) in done:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # convergence of single candidates
                    best, overhead, fits = methods[method](problems[problem], seed, budget)
                record = {
                    "problem": problem,
                    "method": method,
                    "seed": seed,
                    "best": best,
                    "overhead_seconds": round(overhead / budget, 4),  # CPU, per evaluation
                    "fits": fits,
                }
                with path.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(f"{problem} {method} seed {seed}: {best[-1]}, {overhead:.1f} s", flush=True)


def common_seeds(runs: Curves, problem: str, methods: list[str]) -> list[int]:
    """Seeds for which every method has a run."""
    found = [{s for p, m, s in runs if (p, m) == (problem, method)} for method in methods]
    return sorted(set.intersection(*found))


def scores_at(runs: Curves, problem: str, methods: list[str], step: int) -> Any:
    """Best feasible score, (seeds, methods), -inf while nothing is feasible."""
    table = [
        [runs[problem, method, seed]["best"][step - 1] for method in methods]
        for seed in common_seeds(runs, problem, methods)
    ]
    return np.array([[-np.inf if v is None else v for v in row] for row in table], dtype=float)


def _cell(values: Any, ranks: Any) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], method="nearest")
    return f"{middle:.4f} ({low:.4f} to {high:.4f}), rank {np.median(ranks):g}"


def print_tables(runs: Curves, problems: list[str], methods: list[str]) -> None:
    """Medians with quartiles and median ranks, ranks over all problems, and overhead."""
    methods = [m for m in methods if any(key[1] == m for key in runs)]
    print("\nBest feasible score, median (quartiles), and median rank among the methods\n")
    print("| problem | seeds | evaluations | " + " | ".join(methods) + " |")
    print("|---" * (3 + len(methods)) + "|")
    pooled: dict[int, list[Any]] = {step: [] for step in STEPS}
    for problem in problems:
        for step in STEPS:
            scores = scores_at(runs, problem, methods, step)
            if not len(scores):
                continue
            ranks = rankdata(-scores, axis=1)
            pooled[step].append(ranks)
            cells = [_cell(s, r) for s, r in zip(scores.T, ranks.T, strict=True)]
            print(f"| {problem} | {len(scores)} | {step} | " + " | ".join(cells) + " |")
    print("\n| all problems | " + " | ".join(methods) + " |")
    print("|---" * (1 + len(methods)) + "|")
    for step, parts in pooled.items():
        if parts:
            ranks = np.concatenate(parts)
            pairs = zip(np.median(ranks, axis=0), ranks.mean(axis=0), strict=True)
            cells = [f"{middle:g} (mean {mean:.2f})" for middle, mean in pairs]
            print(f"| median rank after {step} | " + " | ".join(cells) + " |")
    cells = [
        f"{np.median([r['overhead_seconds'] for key, r in runs.items() if key[1] == m]):.2f}"
        for m in methods
    ]
    print("| overhead, CPU s an evaluation | " + " | ".join(cells) + " |")


def _interval(values: Any) -> str:
    """Mean with the 95 % interval of Student's t."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.4f} ({values.mean() - half:+.4f} to {values.mean() + half:+.4f})"


def print_racing(runs: Curves, problems: list[str]) -> None:
    """Best feasible scores with racing minus those without, and the share of fits."""
    head = "mean (95 % interval) | median | better, worse | share of fits"
    print("\nBest feasible score with racing minus that without, same seeds\n")
    print(f"| problem | seeds | candidates | {head} |")
    print("|---" * 7 + "|")
    all_shares: dict[int, list[float]] = {step: [] for step in STEPS}
    for problem in problems:
        for step in STEPS:
            scores = scores_at(runs, problem, RACING, step)
            shares = [
                runs[problem, RACING[1], s]["fits"][step - 1]
                / runs[problem, RACING[0], s]["fits"][step - 1]
                for s in common_seeds(runs, problem, RACING)
            ]
            all_shares[step].append(float(np.mean(shares)))
            both = scores[np.isfinite(scores).all(axis=1)]  # both found a feasible one
            gap = both[:, 1] - both[:, 0]
            counts = f"{(gap > 0).sum()}, {(gap < 0).sum()}"
            cells = [_interval(gap), f"{np.median(gap):+.4f}", counts, f"{np.mean(shares):.2f}"]
            print(f"| {problem} | {len(gap)} | {step} | " + " | ".join(cells) + " |")
    for step, parts in all_shares.items():
        print(f"| all | | {step} | | | | {np.mean(parts):.2f} |")


def main() -> None:
    """Parse the arguments, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=MAIN, choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to this number - 1")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    args = parser.parse_args()
    if not args.tables:
        problems = {name: PROBLEMS[name] for name in args.problems}
        methods = {name: METHODS[name] for name in args.methods}
        run_missing(args.results, problems, methods, args.seeds, BUDGET)
    runs = load(args.results)
    print_tables(runs, args.problems, args.methods)
    if all(any(key[1] == method for key in runs) for method in RACING):
        print_racing(runs, args.problems)


if __name__ == "__main__":
    main()
