"""What one look at an answer buys, and at which price: cascades on the seven benchmarks.

Run ``LOOKAHEAD_SK_DATA=folder python benchmarks/routing_cascade.py --output docs/results/data``.
One seed, five folds stratified by benchmark, predictions of all folds pooled. A model's price is
its size in billions of parameters. Thresholds meet a mean number of calls, or a mean cost, on the
held-out prompts; scores are not looked at for that.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from _embeddings import CachedEncoder
from _routing_tables import LOOKAHEAD, TABLES
from sklearn.model_selection import StratifiedKFold

from lookahead_sk import LookaheadRouter
from lookahead_sk.metrics import paired_bootstrap
from lookahead_sk.routing import CascadeRouter
from lookahead_sk.routing._costs._chain import Chain, threshold_for_budget

RESULTS = Path(__file__).resolve().parent / "results"
PRICES = np.array([34.0, 20.0, 14.0, 8.0, 7.0])  # Yi, internlm, Phi-3, Llama, Qwen-Coder
CALLS = (1.1, 1.2, 1.5, 2.0)
WEIGHTS = (0.0, 0.002, 0.005)  # of a billion of parameters


def pooled(chains: list[Chain], rows: list[Any]) -> Chain:
    """Chains of all folds, in the order of the prompts."""
    order = np.argsort(np.concatenate(rows))
    return Chain(*(np.concatenate(parts)[order] for parts in zip(*chains, strict=True)))


def main() -> None:
    """Fit five times, follow the chains, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    data, encoder = TABLES[LOOKAHEAD](arguments.folder), CachedEncoder(RESULTS)
    assert data.responses is not None
    assert data.response_chars is not None
    lengths = data.response_chars.astype(float)
    chains: dict[float, list[Chain]] = {weight: [] for weight in WEIGHTS}
    everything, best = np.zeros((2, len(data.scores)), dtype=int)
    held_out: list[Any] = []
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(data.prompts, data.benchmark):
        prompts = [data.prompts[i] for i in test]
        cascade = CascadeRouter(LookaheadRouter(encoder, costs=PRICES, random_state=0))
        cascade.fit(
            [data.prompts[i] for i in train],
            data.scores[train],
            responses=data.responses[train],
            response_lengths=lengths[train],
        )
        answers = data.responses[test], lengths[test]
        for weight in WEIGHTS:
            cascade.router_.set_params(cost_weight=weight)
            chains[weight].append(cascade._chain(prompts, *answers))
        everything[test] = cascade.predict_quality(prompts, *answers).argmax(axis=1)
        best[test] = data.scores[train].mean(axis=0).argmax()
        held_out.append(test)
        print(f"fold {len(held_out)} of 5", flush=True)
    rows = table(data, {w: pooled(c, held_out) for w, c in chains.items()}, everything, best)
    print("\n".join(" | ".join(row) for row in rows))
    if arguments.output is not None:
        with (arguments.output / "routing_cascade.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def table(data: Any, chains: dict[float, Chain], everything: Any, best: Any) -> list[Any]:
    """Rows of the table."""
    found = [("cost weight", "calls", "mean cost", "macro score", "micro score", "micro gain",
              "micro score less that of the router")]  # fmt: skip
    base, most = reward(data, best), data.scores.max(axis=1)
    for weight, chain in chains.items():
        router = chain.called[:, 0]
        for calls in (1.0, *CALLS):
            counted = chain._replace(costs=np.cumsum(np.ones_like(chain.costs), axis=1))
            threshold = threshold_for_budget(counted, calls) or 0.0
            chosen = chain.chosen(threshold)
            spent = chain.mean_cost(threshold)
            found.append(row(data, f"{weight:g}", calls, spent, chosen, router, base, most))
    router = chains[0.0].called[:, 0]
    cost = float(PRICES.sum())
    found.append(row(data, "all five, best kept", 5.0, cost, everything, router, base, most))
    return found


def reward(data: Any, chosen: Any) -> Any:
    """Score of the chosen model on every prompt."""
    return data.scores[np.arange(len(data.scores)), chosen]


def row(
    data: Any, name: str, calls: float, spent: float, chosen: Any, router: Any, base: Any, most: Any
) -> Any:
    """One way to answer the prompts."""
    score = reward(data, chosen)
    macro = np.mean([score[data.benchmark == b].mean() for b in np.unique(data.benchmark)])
    gain = (score - base).mean() / (most - base).mean()
    cells = (f"{calls:.1f}", f"{spent:.1f}", f"{macro:.4f}", f"{score.mean():.4f}", f"{gain:.3f}")
    if (chosen == router).all():
        return (name, *cells, "")
    change = paired_bootstrap(data.scores, chosen, router, random_state=0)
    return (name, *cells, f"{change.estimate:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")


if __name__ == "__main__":
    main()
