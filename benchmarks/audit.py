"""Audits of logs against the truth: the seven benchmarks, logs drawn by three rules.

``LOOKAHEAD_SK_DATA=folder python benchmarks/audit.py`` prints the tables. Half of the prompts are
an earlier log, from which a router is fitted. From the other half, whose full score table is the
truth, prompts are drawn with replacement and one model is called for each by a logging rule.
``--output folder`` also writes the tables as csv.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _embeddings import CachedEncoder
from sklearn.decomposition import PCA

from lookahead_sk.audit import audit_routing, certify_policy
from lookahead_sk.audit._estimators import Estimate
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import fetch_lookahead_bench

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
RESULTS = Path(__file__).resolve().parent / "results"


class World:
    """Prompts with all scores, the policy that is audited, and rules that make logs."""

    def __init__(self) -> None:
        data = fetch_lookahead_bench()
        features = CachedEncoder(RESULTS).encode(data.prompts.tolist())
        order = np.random.default_rng(0).permutation(len(features))
        earlier, later = np.array_split(order, 2)
        rng = np.random.default_rng(1)
        called = rng.integers(5, size=len(earlier))
        partial = np.full((len(earlier), 5), np.nan)
        rows = np.arange(len(earlier))
        partial[rows, called] = data.scores[earlier][rows, called]
        router = KNNRouter("passthrough", n_neighbors=100).fit(features[earlier], partial)
        self.scores = data.scores[later]
        # What propensities are guessed from.
        self.components = PCA(16, random_state=0).fit_transform(features[later])
        self.costs = np.asarray(data.costs, dtype=float)
        self.quality = router.predict_quality(features[later])
        self.is_maths = np.isin(data.benchmark[later], ["GSM8k", "MATH"])
        # The cheapest model within 0.05 of the best one.
        near = self.quality >= self.quality.max(axis=1, keepdims=True) - 0.05
        self.policy = np.where(near, self.costs, np.inf).argmin(axis=1)

    def rules(self) -> dict[str, Floats]:
        """Propensities (n, 5) of the logging rules."""
        n = len(self.scores)
        dearest = np.full((n, 5), 0.08)
        dearest[:, self.costs.argmax()] = 0.68
        by_prompt = np.full((n, 5), 0.05)
        by_prompt[np.arange(n), np.where(self.is_maths, 1, 3)] = 0.8
        return {
            "uniform": np.full((n, 5), 0.2),
            "mostly the dearest": dearest,
            "by the kind of prompt": by_prompt,
        }


def one_log(world: World, rule: Floats, n: int, seed: int) -> dict[str, Any]:
    """Prompts drawn with replacement, and one call for each."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(world.scores), size=n)
    p = rule[rows]
    called = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    scores = np.full((n, 5), np.nan)
    scores[np.arange(n), called] = world.scores[rows, called]
    return {"rows": rows, "scores": scores, "propensities": p}


def estimates(world: World, log: dict[str, Any], with_estimated: bool) -> dict[str, Any]:
    """What each way of auditing says about the policy."""
    rows, scores, p = log["rows"], log["scores"], log["propensities"]
    quality = world.quality[rows]
    policies = {"router": world.policy[rows]}
    common: dict[str, Any] = {"costs": world.costs, "min_effective": 0}
    ways: dict[str, dict[str, Any]] = {
        "IPS": {"propensities": p, "estimator": "ips"},
        "self-normalised IPS": {"propensities": p},
        "doubly robust": {"propensities": p, "quality": quality},
    }
    if with_estimated:
        guessed = {"X": world.components[rows]}
        ways["self-normalised IPS, estimated propensities"] = guessed
        ways["doubly robust, estimated propensities"] = {**guessed, "quality": quality}
    return {
        name: audit_routing(policies, scores, **common, **options).policies["router"]
        for name, options in ways.items()
    }


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def main() -> None:
    """Draw logs, audit and certify, and compare with the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=400)
    parser.add_argument("--estimated", type=int, default=100, help="logs with guessed propensities")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    world = World()
    audits, bounds = [], []
    for name, rule in world.rules().items():
        audited, certified = measure(world, name, rule, arguments)
        audits += audited
        bounds += certified
    show(AUDIT_HEAD, audits, arguments.output, "audit_coverage")
    show(BOUND_HEAD, bounds, arguments.output, "audit_certificates")


AUDIT_HEAD = (
    *("log's rule", "estimator", "logs", "refused", "truth", "mean estimate"),
    *("half width", "coverage", "coverage of the saving"),
)
BOUND_HEAD = (
    *("log's rule", "against", "predictions", "logs", "true loss"),
    *("mean bound", "bound too low"),
)


def measure(world: World, name: str, rule: Floats, arguments: Any) -> tuple[list[Any], list[Any]]:
    """Rows of both tables for one logging rule."""
    rows = np.arange(len(world.scores))
    truth = float(world.scores[rows, world.policy].mean())
    traffic = float((rule * world.scores).sum(axis=1).mean())
    spent = float((rule * world.costs).sum(axis=1).mean())
    saving = 1 - float(world.costs[world.policy].mean()) / spent
    dearest = int(world.costs.argmax())
    losses = {"traffic": traffic - truth, "dearest": float(world.scores[:, dearest].mean()) - truth}
    found, bounds = defaultdict(list), defaultdict(list)
    for seed in range(arguments.logs):
        log = one_log(world, rule, arguments.n, seed)
        for way, each in estimates(world, log, seed < arguments.estimated).items():
            found[way].append((each.quality, each.saving))
        for against in losses:
            for predicted in ("yes", "no"):
                bounds[against, predicted].append(bound(world, log, against, predicted, dearest))
        if sys.stderr.isatty():
            print(f"\r{name} {seed + 1}", end="", file=sys.stderr)
    audited = [audit_row(name, way, pairs, truth, saving) for way, pairs in found.items()]
    certified = [
        (name, against, predicted, str(len(each)), f"{losses[against]:+.4f}",
         f"{np.mean(each):+.4f}", f"{np.mean(np.array(each) < losses[against]):.1%}")
        for (against, predicted), each in bounds.items()
    ]  # fmt: skip
    return audited, certified


def bound(world: World, log: dict[str, Any], against: str, predicted: str, dearest: int) -> float:
    """A certified bound on the loss."""
    return certify_policy(
        world.policy[log["rows"]],
        log["scores"],
        propensities=log["propensities"],
        reference=dearest if against == "dearest" else against,
        quality=world.quality[log["rows"]] if predicted == "yes" else None,
        alpha=1 - LEVEL,
    ).loss


def audit_row(name: str, way: str, pairs: list[Any], truth: float, saving: float) -> Any:
    """A row of the first table; means are over the logs that were not refused."""
    n_logs = len(pairs)
    pairs = [pair for pair in pairs if not np.isnan(pair[0].value)]
    refused = str(n_logs - len(pairs))
    values = [quality.value for quality, _ in pairs]
    widths = [(quality.high - quality.low) / 2 for quality, _ in pairs]
    covered = np.mean([covers(quality, truth) for quality, _ in pairs])
    saved = np.mean([covers(each, saving) for _, each in pairs])
    return (
        *(name, way, str(n_logs), refused, f"{truth:.4f}", f"{np.mean(values):.4f}"),
        *(f"{np.mean(widths):.4f}", f"{covered:.1%}", f"{saved:.1%}"),
    )


def show(head: Any, rows: list[Any], folder: Path | None, name: str) -> None:
    """Print a table, and write it where a folder is named."""
    print()
    for row in (head, *rows):
        print(" | ".join(row))
    if folder is not None:
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *rows])


if __name__ == "__main__":
    main()
