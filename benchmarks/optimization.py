"""Query efficiency of constrained Bayesian optimisers, same initial designs, one file of runs.

Run ``python benchmarks/optimization.py --seeds 20`` as often as you like: finished runs are read
from the results file, missing ones are added to it, and the tables are printed from all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _ours import OURS
from _peers import PEERS
from _problems import PROBLEMS
from _runs import missing, run_missing

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "optimization.jsonl"


def main() -> None:
    """Parse the arguments, run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument(
        "--methods", nargs="+", default=["two_step", "eic", *PEERS], choices=[*OURS, *PEERS]
    )
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to this number - 1")
    parser.add_argument("--budget", type=int, help="evaluations; by default the problem's own")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    todo = missing(args.results, args.problems, args.methods, range(args.seeds), args.budget)
    for i, record in enumerate(run_missing(args.results, todo, {**OURS, **PEERS}, args.n_jobs)):
        print(
            f"{i + 1}/{len(todo)} {record['problem']} {record['method']} seed {record['seed']}: "
            f"gap {record['gaps'][-1]:.3g}, {sum(record['ask_seconds']):.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
