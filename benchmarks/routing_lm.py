"""Fine-tuned lookahead routers on real prompts: response loss on and off, same backbone and budget.

``LOOKAHEAD_SK_DATA=folder python benchmarks/routing_lm.py --folds 0 1`` fits on the folds of
``benchmarks/routing.py`` (seed 0). Finished fits are kept in ``benchmarks/results``, fits in
progress too: it can be stopped and started again. ``--tables`` prints the tables of what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _backbones import minilm, smollm2
from _blends import qualities
from _embeddings import CachedEncoder
from sklearn.model_selection import StratifiedKFold

from lookahead_sk import CausalLookaheadRouter, LookaheadRouter, MaskedLookaheadRouter
from lookahead_sk.baselines import ClusterRouter, KNNRouter
from lookahead_sk.datasets import fetch_lookahead_bench
from lookahead_sk.metrics import oracle_gain_score, paired_bootstrap

RESULTS = Path(__file__).resolve().parent / "results"
N_FOLDS, SEED = 5, 0
FINE_TUNED = (MaskedLookaheadRouter, CausalLookaheadRouter)


def methods(args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Every method: how to build it."""
    common = {"random_state": SEED, "checkpoint_folder": RESULTS / "checkpoints", "verbose": 1}
    common["encoder"] = "drop"  # the fine-tuned network alone
    masked = common | {
        "max_length": 64,
        "response_tokens": 6,
        "max_epochs": 3,
        "batch_size": 8,
        "learning_rate": 1e-4,
    }
    causal = common | {
        "max_length": 48,
        "response_tokens": 8,
        "max_epochs": 2,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "n_frozen_layers": args.layers - 2,
    }

    def masked_router(**changes: Any) -> Callable[[], Any]:
        return lambda: MaskedLookaheadRouter(minilm(), **{**masked, **changes})

    def causal_router(**changes: Any) -> Callable[[], Any]:
        return lambda: CausalLookaheadRouter(smollm2(RESULTS, args.layers), **{**causal, **changes})

    def frozen(cls: Any, **options: Any) -> Callable[[], Any]:
        return lambda: cls(encoder=CachedEncoder(RESULTS), random_state=SEED, **options)

    return {
        "masked MiniLM": masked_router(),
        "masked MiniLM, response_weight=0": masked_router(response_weight=0.0),
        "masked MiniLM + descriptors": masked_router(descriptor_weight=2.0),
        "masked MiniLM, [CLS] head": masked_router(head="cls"),
        "causal SmolLM2": causal_router(),
        "causal SmolLM2, response_weight=0": causal_router(response_weight=0.0),
        "causal SmolLM2 + descriptors": causal_router(descriptor_weight=1.0),
        "kNN + lexical": frozen(KNNRouter, lexical_features=256),
        "hard clusters + lexical": frozen(ClusterRouter, assignment="hard", lexical_features=256),
        "soft clusters + lexical": frozen(ClusterRouter, assignment="soft", lexical_features=256),
        "embedding": frozen(LookaheadRouter),
        "embedding, response_weight=0": frozen(LookaheadRouter, response_weight=0.0),
    }


def choices(router: Any, prompts: list[str]) -> dict[str, list[int]]:
    """Models chosen by the router, and by its network and its local average alone."""
    if not isinstance(router, FINE_TUNED):
        return {"router": router.predict(prompts).tolist()}
    found = qualities(router, prompts)
    if "local" in found:
        found["half"] = (found["network"] + found["local"]) / 2
    return {name: quality.argmax(axis=1).tolist() for name, quality in found.items()}


def run(name: str, build: Callable[[], Any], fold: int, data: Any, n_train: int) -> dict[str, Any]:
    """Fit on a fold's training prompts, or a random part of them; choose for its test prompts."""
    split = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
    train, test = list(split.split(data.prompts, data.benchmark))[fold]
    train = np.random.RandomState(fold).permutation(train)[:n_train]
    scores = data.scores[train]
    given: dict[str, Any] = {}
    router = build()
    if isinstance(router, (LookaheadRouter, *FINE_TUNED)):
        given["responses"] = data.responses[train]
        given["response_lengths"] = data.response_chars[train].astype(float)
    start = time.perf_counter()
    router.fit([data.prompts[i] for i in train], scores, **given)
    seconds = time.perf_counter() - start
    return {
        "method": name,
        "fold": fold,
        "n_asked": n_train,
        "n_train": len(train),
        "seconds": round(seconds, 1),
        "blend": getattr(router, "blend_", None),
        "validation": getattr(router, "validation_score_", None),
        "test": test.tolist(),
        "best_single": int(np.nanmean(scores, axis=0).argmax()),
        "chosen": choices(router, [data.prompts[i] for i in test]),
    }


def load(path: Path) -> list[dict[str, Any]]:
    """Finished fits."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


Choices = dict[str, dict[int, dict[str, Any]]]


def by_method(records: list[dict[str, Any]], n_train: int) -> Choices:
    """Fits by method and fold; parts of a router are methods of their own."""
    found: Choices = {}
    for record in records:
        if record["n_asked"] != n_train:
            continue
        for part, chosen in record["chosen"].items():
            name = record["method"] + ("" if part == "router" else f" ({part} only)")
            found.setdefault(name, {})[record["fold"]] = {**record, "chosen": chosen}
    return found


def pooled(fits: dict[int, dict[str, Any]], folds: list[int]) -> tuple[Any, Any, Any]:
    """Test prompts of the folds, the model chosen for each, and the best single model."""
    test = np.concatenate([fits[fold]["test"] for fold in folds])
    chosen = np.concatenate([fits[fold]["chosen"] for fold in folds])
    return test, chosen, fits[folds[0]]["best_single"]


def print_scores(data: Any, found: Choices, folds: list[int]) -> None:
    """Mean scores and gains on the test prompts of the folds."""
    print(f"\nfolds {folds}\n\n| method | macro | micro | macro gain | micro gain | s / fit |")
    print("|---|---|---|---|---|---|")
    for name, fits in found.items():
        if not set(folds) <= set(fits):
            continue
        test, chosen, best = pooled(fits, folds)
        scores, groups = data.scores[test], data.benchmark[test]
        rewards = scores[np.arange(len(test)), chosen]
        means = [rewards[groups == group].mean() for group in np.unique(groups)]
        gains = [
            oracle_gain_score(scores, chosen, best_single=best, groups=groups, average=average)
            for average in ("macro", "micro")
        ]
        seconds = np.mean([fits[fold]["seconds"] for fold in folds])
        cells = [np.mean(means), rewards.mean(), *gains]
        print(f"| {name} | {' | '.join(f'{c:.3f}' for c in cells)} | {seconds:.0f} |")


def print_differences(data: Any, found: Choices, pairs: list[tuple[str, str]]) -> None:
    """Paired differences on the folds that both methods have, 95 % bootstrap intervals."""
    print("\n| difference | folds | macro score | micro score | macro gain | micro gain |")
    print("|---|---|---|---|---|---|")
    for a, b in pairs:
        folds = sorted(set(found.get(a, {})) & set(found.get(b, {})))
        if not folds:
            continue
        test, ours, best = pooled(found[a], folds)
        _, theirs, _ = pooled(found[b], folds)
        cells = []
        for best_single in (None, best):
            for average in ("macro", "micro"):
                change = paired_bootstrap(
                    data.scores[test],
                    ours,
                    theirs,
                    groups=data.benchmark[test],
                    average=average,
                    best_single=best_single,
                    random_state=0,
                )
                cells.append(f"{change.estimate:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")
        print(f"| {a} - {b} | {folds} | {' | '.join(cells)} |")


def print_tables(data: Any, records: list[dict[str, Any]], n_train: int) -> None:
    """All tables of what has been run with a number of training prompts."""
    found = by_method(records, n_train)
    every = sorted({fold for fits in found.values() for fold in fits})
    for folds in [[fold] for fold in every] + ([every] if len(every) > 1 else []):
        print_scores(data, found, folds)
    pairs = []
    for name in ("masked MiniLM", "causal SmolLM2"):
        for part in ("", " (network only)", " (half only)", " (local only)"):
            off = f"{name}, response_weight=0{part}"
            pairs += [(f"{name}{part}", off), (f"{name} + descriptors{part}", off)]
        for rival in ("embedding", "soft clusters + lexical", "kNN + lexical"):
            pairs += [(name, rival), (f"{name} + descriptors", rival)]
    print_differences(data, found, pairs)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="data; LOOKAHEAD_SK_DATA when not given")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", metavar="METHOD")
    parser.add_argument("--n-train", type=int, default=10**6, help="training prompts of a fold")
    parser.add_argument("--layers", type=int, default=30, help="layers of SmolLM2 that are used")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    parser.add_argument("--results", type=Path, default=RESULTS / "routing_lm.jsonl")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = fetch_lookahead_bench(folder=args.folder)
    built = methods(args)
    RESULTS.mkdir(exist_ok=True)
    for fold in [] if args.tables else args.folds:
        for name in args.methods or list(built):
            done = {(r["method"], r["fold"], r["n_asked"]) for r in load(args.results)}
            if (name, fold, args.n_train) in done:
                continue
            record = run(name, built[name], fold, data, args.n_train)
            with args.results.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(f"\n{name}, fold {fold}: {record['seconds']} s", flush=True)
    print_tables(data, load(args.results), args.n_train)


if __name__ == "__main__":
    main()
