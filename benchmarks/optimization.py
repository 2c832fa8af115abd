"""Query efficiency of constrained Bayesian optimisers, same initial designs, one file of runs.

Run ``python benchmarks/optimization.py --seeds 20`` as often as you like: finished runs are read
from the results file, missing ones are added to it, and the tables are printed from all of them.
``--tables`` runs nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _ours import OURS
from _peers import PEERS
from _problems import PROBLEMS
from _runs import load, missing, run_missing
from _tables import draw_curves, group, print_ablation, print_efficiency, print_gaps, print_paired

DOCS = Path(__file__).resolve().parent.parent / "docs"
MAIN_METHODS = ["two_step", "eic", *PEERS]


def print_tables(results: Path, problems: list[str], image: Path) -> None:
    """All tables of docs/optimization.md, and the curves."""
    runs = group(load(results))
    print_gaps(runs, problems, MAIN_METHODS)
    print_paired(runs, problems, "two_step", "eic")
    print_efficiency(runs, problems, "two_step")
    print_efficiency(runs, problems, "eic")
    print_efficiency(runs, problems, "two_step", ["eic_textbook"])
    print_efficiency(runs, problems, "eic", ["eic_textbook"])
    print_paired(runs, problems, "two_step", "eic_textbook")
    print_ablation(runs, problems, list(OURS), "two_step")
    draw_curves(runs, problems, MAIN_METHODS, image)


def main() -> None:
    """Parse the arguments, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument(
        "--methods", nargs="+", default=MAIN_METHODS, choices=[*OURS, *PEERS], metavar="METHOD"
    )
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to this number - 1")
    parser.add_argument("--budget", type=int, help="evaluations; by default the problem's own")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=DOCS / "results" / "optimization.jsonl")
    parser.add_argument("--image", type=Path, default=DOCS / "images" / "optimization_curves.png")
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    args = parser.parse_args()
    if not args.tables:
        todo = missing(args.results, args.problems, args.methods, range(args.seeds), args.budget)
        factories = {**OURS, **PEERS}
        for i, record in enumerate(run_missing(args.results, todo, factories, args.n_jobs)):
            print(
                f"{i + 1}/{len(todo)} {record['problem']} {record['method']} "
                f"seed {record['seed']}: gap {record['gaps'][-1]:.3g}, "
                f"{sum(record['ask_seconds']):.0f} s",
                flush=True,
            )
    print_tables(args.results, args.problems, args.image)


if __name__ == "__main__":
    main()
