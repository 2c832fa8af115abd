"""Routing real prompts: every baseline and the router, pooled cross-validation, paired intervals.

Run ``LOOKAHEAD_SK_DATA=folder python benchmarks/routing.py --seeds 3``: embeddings and finished
runs are kept in ``benchmarks/results``, so it can be stopped and started again. ``--tables`` prints
the tables from what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _blends import with_blend
from _embeddings import CachedEncoder
from sklearn.model_selection import StratifiedKFold

from lookahead_sk import LookaheadRouter
from lookahead_sk.baselines import (
    BestSingleRouter,
    ClusterRouter,
    KNNRouter,
    MatrixFactorizationRouter,
    MLPRouter,
    RandomRouter,
    RidgeRouter,
)
from lookahead_sk.datasets import fetch_lookahead_bench, fetch_selfoss_pool
from lookahead_sk.metrics import oracle_gain_score, paired_bootstrap

RESULTS = Path(__file__).resolve().parent / "results"
N_FOLDS = 5
EMBEDDING, LENGTH, FORM, LIKENESS = slice(0, 16), slice(16, 17), slice(17, 21), slice(21, 23)


class AblatedRouter(LookaheadRouter):
    """Predicts only some groups of response descriptors; the others count as not observed."""

    groups: tuple[slice, ...] = ()

    def _fit_descriptors(self, data: Any) -> Any:
        descriptors, values = super()._fit_descriptors(data)
        kept = np.full_like(values, np.nan)
        for group in self.groups:
            kept[..., group] = values[..., group]
        return descriptors, kept


def foreseeing(*groups: slice) -> type[LookaheadRouter]:
    """A router class that predicts these groups of response descriptors only."""
    return type("Ablated", (AblatedRouter,), {"groups": groups})


def methods(encoder: Any) -> dict[str, tuple[Callable[[int], Any], str]]:
    """Every method: how to build it from a seed, and what it is given (see `fit`)."""

    def baseline(cls: Any, **options: Any) -> tuple[Callable[[int], Any], str]:
        return lambda seed: cls(encoder=encoder, random_state=seed, **options), "scores"

    def router(given: str = "all", cls: Any = LookaheadRouter, **options: Any) -> Any:
        return lambda seed: cls(encoder=encoder, random_state=seed, **options), given

    listed: dict[str, tuple[Callable[[int], Any], str]] = {
        "random": (lambda seed: RandomRouter(encoder=encoder, random_state=seed), "scores"),
        "best single": (lambda seed: BestSingleRouter(encoder=encoder), "scores"),
    }
    for lexical, suffix in ((0, ""), (256, " + lexical")):
        listed |= {
            f"kNN{suffix}": baseline(KNNRouter, lexical_features=lexical),
            f"hard clusters{suffix}": baseline(
                ClusterRouter, assignment="hard", lexical_features=lexical
            ),
            f"soft clusters{suffix}": baseline(
                ClusterRouter, assignment="soft", lexical_features=lexical
            ),
            f"ridge{suffix}": baseline(RidgeRouter, lexical_features=lexical),
            f"matrix factorisation{suffix}": baseline(
                MatrixFactorizationRouter, lexical_features=lexical
            ),
            f"query-only MLP{suffix}": baseline(MLPRouter, lexical_features=lexical),
        }
    return listed | {
        "LookaheadRouter": router(),
        "LookaheadRouter, response_weight=0": router(response_weight=0.0),
        "LookaheadRouter, lengths of the cut texts": router("texts"),
        "LookaheadRouter, lexical_features=0": router(lexical_features=0),
        "LookaheadRouter + SelfOSS scores": router("selfoss"),
        "foreseeing embeddings only": router(cls=foreseeing(EMBEDDING)),
        "foreseeing lengths only": router(cls=foreseeing(LENGTH)),
        "foreseeing form only": router(cls=foreseeing(FORM)),
        "foreseeing likeness only": router(cls=foreseeing(LIKENESS)),
        "foreseeing all but embeddings": router(cls=foreseeing(LENGTH, FORM, LIKENESS)),
        "foreseeing all but lengths": router(cls=foreseeing(EMBEDDING, FORM, LIKENESS)),
        "foreseeing all but form": router(cls=foreseeing(EMBEDDING, LENGTH, LIKENESS)),
        "foreseeing all but likeness": router(cls=foreseeing(EMBEDDING, LENGTH, FORM)),
        "LookaheadRouter, blend=0": router(cls=NoBlend),
        "LookaheadRouter, blend=1": router(cls=OnlyNetwork),
    }


class NoBlend(LookaheadRouter):
    """The local average alone."""

    def fit(self, *given: Any, **more: Any) -> Any:
        """Fit, then leave the network's own score out."""
        return with_blend(super().fit(*given, **more), 0.0)


class OnlyNetwork(LookaheadRouter):
    """The network's own score alone."""

    def fit(self, *given: Any, **more: Any) -> Any:
        """Fit, then leave the local average out."""
        return with_blend(super().fit(*given, **more), 1.0)


def fit(router: Any, given: str, data: Any, rows: Any, folder: Path | None) -> Any:
    """Fit on the rows: "scores" alone, with "texts", with "all" (true lengths too), "selfoss"."""
    prompts = [data.prompts[i] for i in rows]
    scores, responses = data.scores[rows], data.responses[rows]
    if given == "scores":
        return router.fit(prompts, scores)
    if given == "texts":
        return router.fit(prompts, scores, responses=responses)
    lengths = data.response_chars[rows].astype(float)
    if given == "selfoss":
        pool = fetch_selfoss_pool(folder=folder)
        prompts = prompts + list(pool.prompts)
        scores = np.vstack([scores, pool.scores])
        unseen = np.full(pool.scores.shape, None, dtype=object)
        responses = np.vstack([responses, unseen])
        lengths = np.vstack([lengths, np.full(pool.scores.shape, np.nan)])
    return router.fit(prompts, scores, responses=responses, response_lengths=lengths)


def run(name: str, seed: int, data: Any, encoder: Any, folder: Path | None) -> dict[str, Any]:
    """One pass of cross-validation: the model chosen for every prompt while it was held out."""
    build, given = methods(encoder)[name]
    chosen = np.zeros(len(data.scores), dtype=int)
    best = np.zeros(len(data.scores), dtype=int)
    start = time.perf_counter()
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(data.prompts, data.benchmark):
        router = fit(build(seed), given, data, train, folder)
        chosen[test] = router.predict([data.prompts[i] for i in test])
        best[test] = data.scores[train].mean(axis=0).argmax()
    seconds = time.perf_counter() - start
    return {
        "method": name,
        "seed": seed,
        "seconds": round(seconds, 1),
        "chosen": chosen.tolist(),
        "best_single": best.tolist(),
    }


def load(path: Path) -> list[dict[str, Any]]:
    """Finished runs."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def gain(data: Any, record: dict[str, Any], average: str) -> float:
    """Share of the oracle's gain over the best single model, which each fold chose in training."""
    chosen, best = np.array(record["chosen"]), np.array(record["best_single"])
    if (best == best[0]).all():
        return oracle_gain_score(
            data.scores,
            chosen,
            best_single=int(best[0]),
            groups=data.benchmark if average == "macro" else None,
            average=average,
        )
    raise ValueError("the folds disagree on the best single model; report their gains apart.")


def print_scores(data: Any, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Mean score per benchmark, macro and micro, and gains with bootstrap standard errors."""
    benchmarks = list(dict.fromkeys(np.asarray(data.benchmark).tolist()))
    names = " | ".join(benchmarks)
    print(f"| method | {names} | macro | micro | macro gain | micro gain | s / fit |")
    print("|" + "---|" * (len(benchmarks) + 6))
    oracle = {"chosen": data.scores.argmax(axis=1).tolist(), "seconds": 0.0}
    first = next(iter(runs.values()))[0]
    everything = {**runs, "oracle": [{**oracle, "best_single": first["best_single"]}]}
    for name, records in everything.items():
        rewards = np.mean(
            [data.scores[np.arange(len(data.scores)), r["chosen"]] for r in records], axis=0
        )
        each = [rewards[data.benchmark == b].mean() for b in benchmarks]
        cells = [f"{value:.3f}" for value in [*each, np.mean(each), rewards.mean()]]
        for average in ("macro", "micro"):
            cells.append(f"{np.mean([gain(data, r, average) for r in records]):.3f}")
        seconds = np.median([r["seconds"] for r in records]) / N_FOLDS
        print(f"| {name} ({len(records)}) | {' | '.join(cells)} | {seconds:.1f} |")


def print_differences(
    data: Any, runs: dict[str, list[dict[str, Any]]], name: str, others: list[str]
) -> None:
    """Paired differences of gains, seeds averaged on each prompt, 95 % bootstrap intervals."""
    print(f"\n| {name} against | macro gain | micro gain | macro score | micro score |")
    print("|---|---|---|---|---|")
    ours = runs[name]
    best = ours[0]["best_single"][0]
    for other in others:
        if other not in runs or other == name:
            continue
        theirs = {r["seed"]: r for r in runs[other]}
        pairs = [(r, theirs[r["seed"]]) for r in ours if r["seed"] in theirs]
        a, b = (np.array([pair[side]["chosen"] for pair in pairs]) for side in (0, 1))
        cells = []
        for best_single in (best, None):
            for average in ("macro", "micro"):
                change = paired_bootstrap(
                    data.scores,
                    a,
                    b,
                    groups=data.benchmark,
                    average=average,
                    best_single=best_single,
                    random_state=0,
                )
                cells.append(f"{change.estimate:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")
        print(f"| {other} ({len(pairs)}) | {' | '.join(cells)} |")


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="data; LOOKAHEAD_SK_DATA when not given")
    parser.add_argument("--selfoss", type=Path, help="folder of the SelfOSS pool")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this number - 1")
    parser.add_argument("--methods", nargs="+", metavar="METHOD")
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    parser.add_argument("--results", type=Path, default=RESULTS / "routing.jsonl")
    args = parser.parse_args()
    data = fetch_lookahead_bench(folder=args.folder)
    encoder = None if args.tables else CachedEncoder(RESULTS)
    names = args.methods or list(methods(None))
    if not args.tables:
        done = {(r["method"], r["seed"]) for r in load(args.results)}
        for seed in range(args.seeds):
            for name in names:
                if (name, seed) in done:
                    continue
                record = run(name, seed, data, encoder, args.selfoss)
                with args.results.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                macro, micro = (gain(data, record, average) for average in ("macro", "micro"))
                print(f"{name}, seed {seed}: {macro:.3f} {micro:.3f}", flush=True)
    runs: dict[str, list[dict[str, Any]]] = {}
    for record in load(args.results):
        if record["method"] in names:
            runs.setdefault(record["method"], []).append(record)
    print_scores(data, runs)
    if "LookaheadRouter" in runs:
        print_differences(data, runs, "LookaheadRouter", names)


if __name__ == "__main__":
    main()
