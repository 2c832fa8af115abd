"""Tables and curves from the file of finished runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _problems import PROBLEMS, Array
from scipy.stats import wilcoxon

Runs = dict[tuple[str, str], dict[int, dict[str, Any]]]
FLOOR = 1e-7  # gaps below are rounding
PEER_NAMES = ("botorch_qlogei", "botorch_logcei", "optuna_gp", "bayes_opt", "random")


def group(records: Sequence[dict[str, Any]]) -> Runs:
    """Runs by (problem, method), then by seed; the last of repeated ones counts."""
    runs: Runs = defaultdict(dict)
    for record in records:
        if record["budget"] >= PROBLEMS[record["problem"]].budget:
            runs[record["problem"], record["method"]][record["seed"]] = record
    return runs


def gap_curves(runs: Runs, problem: str, methods: Sequence[str]) -> dict[str, Array]:
    """Gaps (seeds, budget) of each method on the seeds that all of them have."""
    have = [set(runs[problem, m]) for m in methods]
    seeds = sorted(set.intersection(*have)) if have else []
    budget = PROBLEMS[problem].budget
    return {
        m: np.array([runs[problem, m][s]["gaps"][:budget] for s in seeds]).reshape(-1, budget)
        for m in methods
    }


def present(runs: Runs, problem: str, methods: Sequence[str]) -> list[str]:
    """Methods with runs on a problem, without those that would halve the common seeds."""
    counts = {m: len(runs.get((problem, m), {})) for m in methods}
    least = max(1, max(counts.values(), default=0) / 2)
    return [m for m in methods if counts[m] >= least]


def _checkpoints(budget: int) -> list[int]:
    return [round(budget * share) for share in (0.25, 0.5, 0.75, 1.0)]


def print_gaps(runs: Runs, problems: Sequence[str], methods: Sequence[str]) -> None:
    """Median and quartiles of the gap at four budgets."""
    print("\n| problem | method | seeds | 25 % | 50 % | 75 % | 100 % of the budget | s/ask |")
    print("|---|---|---|---|---|---|---|---|")
    for problem in problems:
        names = present(runs, problem, methods)
        curves = gap_curves(runs, problem, names)
        for name in names:
            gaps = curves[name]
            if not len(gaps):
                continue
            cells = []
            for n in _checkpoints(gaps.shape[1]):
                low, middle, high = np.quantile(gaps[:, n - 1], [0.25, 0.5, 0.75])
                cells.append(f"{middle:.2g} [{low:.1g}, {high:.1g}]")
            asks = [np.mean(r["ask_seconds"]) for r in runs[problem, name].values()]
            row = " | ".join([problem, name, str(len(gaps)), *cells, f"{np.median(asks):.2f}"])
            print(f"| {row} |")


def evaluations_to(median: Array, gap: float) -> float:
    """First evaluation at which a median curve is at or below a gap; inf if it never is."""
    reached = np.flatnonzero(median <= gap)
    return float(reached[0] + 1) if len(reached) else np.inf


def print_efficiency(
    runs: Runs, problems: Sequence[str], ours: str, rivals: Sequence[str] = PEER_NAMES
) -> None:
    """Evaluations to the best rival's final median gap, over the budget."""
    print(f"\n| problem | seeds | best rival | its final median gap | {ours} needs | / budget |")
    print("|---|---|---|---|---|---|")
    shares = []
    for problem in problems:
        # Random search is cheap and has runs where others have none: it alone is no rival.
        peers = present(runs, problem, [name for name in rivals if name != "random"])
        if not peers or not present(runs, problem, [ours]):
            continue
        peers += [name for name in rivals if name == "random" and (problem, name) in runs]
        curves = gap_curves(runs, problem, [ours, *peers])
        if not len(curves[ours]):
            continue
        final = {p: float(np.median(curves[p][:, -1])) for p in peers}
        best = min(final, key=lambda p: final[p])
        needs = evaluations_to(np.median(curves[ours], axis=0), final[best])
        shares.append(needs / PROBLEMS[problem].budget)
        count = "more" if np.isinf(needs) else f"{needs:.0f}"
        print(
            f"| {problem} | {len(curves[ours])} | {best} | {final[best]:.2g} | {count} | "
            f"{shares[-1]:.2f} |"
        )
    if shares:
        print(f"| median | | | | | {np.median(shares):.2f} |")


def print_paired(runs: Runs, problems: Sequence[str], first: str, second: str) -> None:
    """Comparison (a): log10 of the ratio of gaps, paired by seed, and Wilcoxon's p."""
    print(f"\n| problem | seeds | log10({first} / {second}): 25 % | 50 % | 75 % | 100 % |")
    print("|---|---|---|---|---|---|")
    pooled: dict[int, list[float]] = defaultdict(list)
    for problem in problems:
        if not all((problem, method) in runs for method in (first, second)):
            continue
        curves = gap_curves(runs, problem, [first, second])
        if not len(curves[first]):
            continue
        cells = []
        for k, n in enumerate(_checkpoints(curves[first].shape[1])):
            pair = [np.log10(np.maximum(curves[m][:, n - 1], FLOOR)) for m in (first, second)]
            difference = pair[0] - pair[1]
            pooled[k].extend(difference)
            cells.append(_paired_cell(difference))
        print(f"| {problem} | {len(curves[first])} | " + " | ".join(cells) + " |")
    if pooled:
        cells = [_paired_cell(np.array(values)) for _, values in sorted(pooled.items())]
        print(f"| all | {len(pooled[0])} | " + " | ".join(cells) + " |")


def _paired_cell(difference: Array) -> str:
    if not np.any(np.abs(difference) > 1e-12):
        return "0"
    if len(difference) < 5:  # no p below 0.1 is possible
        return f"{difference.mean():+.2f}"
    return f"{difference.mean():+.2f} (p {wilcoxon(difference).pvalue:.2g})"


def print_ablation(runs: Runs, problems: Sequence[str], methods: Sequence[str], base: str) -> None:
    """Mean log10 gap relative to a base at half and at all of the budget, common seeds."""
    print(f"\n| method | runs | mean log10(gap / {base}), half the budget | all of it |")
    print("|---|---|---|---|")
    for method in methods:
        half, full = [], []
        for problem in problems:
            if not all((problem, one) in runs for one in (method, base)):
                continue
            curves = gap_curves(runs, problem, [method, base])
            logs = [np.log10(np.maximum(curves[m], FLOOR)) for m in (method, base)]
            difference = logs[0] - logs[1]
            half.extend(difference[:, difference.shape[1] // 2 - 1])
            full.extend(difference[:, -1])
        if half:
            error = [np.std(v, ddof=1) / np.sqrt(len(v)) for v in (half, full)]
            print(
                f"| {method} | {len(half)} | {np.mean(half):+.2f} ± {error[0]:.2f} | "
                f"{np.mean(full):+.2f} ± {error[1]:.2f} |"
            )


def draw_curves(runs: Runs, problems: Sequence[str], methods: Sequence[str], path: Path) -> None:
    """Median gap against evaluations, one panel a problem, quartiles of the first method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    problems = [problem for problem in problems if present(runs, problem, methods)]
    columns = 4
    rows = -(-len(problems) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(14, 3.1 * rows), squeeze=False)
    colors = dict(zip(methods, plt.get_cmap("tab10").colors, strict=False))
    for axis, problem in zip(axes.flat, problems, strict=False):
        names = present(runs, problem, methods)
        curves = gap_curves(runs, problem, names)
        for name in names:
            gaps = np.maximum(curves[name], FLOOR)
            if not len(gaps):
                continue
            steps = np.arange(1, gaps.shape[1] + 1)
            width = 2.2 if name == methods[0] else 1.2
            axis.plot(steps, np.median(gaps, axis=0), color=colors[name], lw=width, label=name)
            if name == methods[0]:
                low, high = np.quantile(gaps, [0.25, 0.75], axis=0)
                axis.fill_between(steps, low, high, color=colors[name], alpha=0.15, lw=0)
        axis.axvline(PROBLEMS[problem].n_initial, color="0.8", lw=1, zorder=0)
        axis.set(yscale="log", title=f"{problem}, seeds: {len(curves[names[0]])}")
    for axis in axes.flat[len(problems) :]:
        axis.axis("off")
    handles = [plt.Line2D([], [], color=colors[m], label=m) for m in methods]
    figure.legend(handles=handles, loc="lower right", ncol=2, frameon=False)
    figure.supxlabel("evaluations (grey line: the common initial design ends)")
    figure.supylabel("median gap of the best feasible value")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)
