"""Query efficiency on problems that nobody here chose: COCO's bbob-constrained.

Run ``python benchmarks/suites.py --dimensions 2 5 --instances 3 4`` as often as you like: finished
runs are read from the results file, missing ones are added to it. ``--tables`` runs nothing.

Every method starts from the same Sobol design. The targets are 10^-1 to 10^-6, in half decades, of
the gap that the design leaves; a runtime profile is the share of all (problem, target) pairs that
are reached after t evaluations (More and Wild, "Benchmarking derivative-free optimization
algorithms", 2009). Infeasible points count as nothing.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _local_solvers import LOCAL_SOLVERS
from _ours import OURS
from _peers import PEERS
from _problems import Array
from _runs import load, missing, run_missing
from _suites import BUDGETS, OBJECTIVES, coco_names, objective_of

DOCS = Path(__file__).resolve().parent.parent / "docs"
SHOWN = ["two_step", *LOCAL_SOLVERS, "random"]  # in the tables, in this order
METHODS = {**OURS, **PEERS, **LOCAL_SOLVERS}
TARGETS = 10.0 ** -np.arange(1, 6.01, 0.5)
_TIED = 1.05  # final gaps up to so many times the best are ties

Record = dict[str, Any]
Runs = dict[str, dict[str, Record]]  # by method, then by problem


def relative_gaps(record: Record, reference: float) -> Array:
    """Gaps after each evaluation past the design, in parts of the gap that the design left."""
    return np.array(record["gaps"][record["n_initial"] :]) / reference


def relative_curves(runs: Runs, methods: Sequence[str], names: Sequence[str]) -> dict[str, Array]:
    """Relative gaps of every method, (problems, evaluations past the design)."""
    references = [_reference(runs[methods[0]][name]) for name in names]
    return {
        m: np.array([relative_gaps(runs[m][n], g) for n, g in zip(names, references, strict=True)])
        for m in methods
    }


def profile(gaps: Array) -> Array:
    """Share of the (problem, target) pairs reached after each evaluation past the design."""
    return (gaps[..., None] <= TARGETS).mean(axis=(0, 2))


def common_problems(runs: Runs, methods: Sequence[str]) -> list[str]:
    """Problems that all methods were run on."""
    return sorted(set.intersection(*(set(runs[m]) for m in methods)))


def grouped(records: Sequence[Record], dimension: int) -> Runs:
    """Runs of one dimension."""
    runs: Runs = defaultdict(dict)
    for record in records:
        if f"_d{dimension:02d}_" in record["problem"]:
            runs[record["method"]][record["problem"]] = record
    return runs


def print_profiles(runs: Runs, methods: Sequence[str]) -> None:
    """Heights and area of every method's profile, and how often it is best at the end."""
    names = common_problems(runs, methods)
    gaps = relative_curves(runs, methods, names)
    curves = {m: profile(gaps[m]) for m in methods}
    final = np.array([gaps[m][:, -1] for m in methods]).clip(TARGETS[-1])
    is_best = final <= _TIED * final.min(axis=0)
    print(f"\n{len(names)} problems")
    print("\n| method | 1/2 | 3/4 | end | area | best or tied at the end | s an ask |")
    print("|---|---|---|---|---|---|---|")
    first = runs[methods[0]][names[0]]
    for row, m in enumerate(methods):
        heights = [
            curves[m][round(first["budget"] * share) - first["n_initial"] - 1]
            for share in (0.5, 0.75, 1.0)
        ]
        seconds = np.mean([np.mean(runs[m][n]["ask_seconds"]) for n in names])
        cells = [*heights, curves[m].mean()]
        shown = " | ".join(f"{cell:.3f}" for cell in cells)
        print(f"| {m} | {shown} | {is_best[row].mean():.0%} | {seconds:.2f} |")


def print_areas(runs: Runs, methods: Sequence[str]) -> None:
    """Area of the profile by objective."""
    names = common_problems(runs, methods)
    print("\n| objective | " + " | ".join(methods) + " |")
    print("|---" * (1 + len(methods)) + "|")
    for objective in OBJECTIVES:
        own = [n for n in names if objective_of(n) == objective]
        if own:
            areas = [profile(gaps).mean() for gaps in relative_curves(runs, methods, own).values()]
            print(f"| {objective} | " + " | ".join(f"{area:.3f}" for area in areas) + " |")


def _reference(record: Record) -> float:
    """The gap that the design left."""
    return max(record["gaps"][record["n_initial"] - 1], np.finfo(float).tiny)


def draw(records: Sequence[Record], methods: Sequence[str], image: Path) -> None:
    """Runtime profiles, a panel for each dimension."""
    import matplotlib.pyplot as plt

    dimensions = [d for d in BUDGETS if any(f"_d{d:02d}_" in r["problem"] for r in records)]
    figure, axes = plt.subplots(
        1, len(dimensions), figsize=(4.5 * len(dimensions), 3.4), squeeze=False, sharey=True
    )
    for axis, dimension in zip(axes[0], dimensions, strict=True):
        runs = grouped(records, dimension)
        present = [m for m in methods if runs[m]]
        names = common_problems(runs, present)
        n_initial = runs[present[0]][names[0]]["n_initial"]
        for m, gaps in relative_curves(runs, present, names).items():
            curve = profile(gaps)
            axis.step(n_initial + 1 + np.arange(len(curve)), curve, where="post", label=m)
        axis.set(title=f"d = {dimension}, {len(names)} problems", xlabel="evaluations")
    axes[0, 0].set_ylabel("share of targets reached")
    axes[0, -1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(image, dpi=150)


def main() -> None:
    """Parse the arguments, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimensions", nargs="+", type=int, default=[2, 5], choices=list(BUDGETS))
    parser.add_argument("--instances", nargs="+", type=int, default=[3, 4])
    parser.add_argument("--constraint-kinds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=SHOWN)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=DOCS / "results" / "suites.jsonl")
    parser.add_argument("--image", type=Path, default=DOCS / "images" / "suites.png")
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    args = parser.parse_args()
    kinds, instances = tuple(args.constraint_kinds), tuple(args.instances)
    names = [n for d in args.dimensions for n in coco_names(d, instances, kinds)]
    if not args.tables:
        todo = missing(args.results, names, args.methods, [1], None)
        for record in run_missing(args.results, todo, METHODS, args.n_jobs):
            print(record["problem"], record["method"], record["gaps"][-1], flush=True)
    records = [r for r in load(args.results) if r["problem"] in set(names)]
    for dimension in args.dimensions:
        runs = grouped(records, dimension)
        methods = [m for m in args.methods if runs[m]]
        if methods:
            print_profiles(runs, methods)
            print_areas(runs, methods)
    if records:
        draw(records, args.methods, args.image)


if __name__ == "__main__":
    main()
