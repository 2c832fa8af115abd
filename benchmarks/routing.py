"""Routing real prompts of several tables: baselines and router, cross-validated and paired.

Run ``LOOKAHEAD_SK_DATA=folder python benchmarks/routing.py --seeds 3``: embeddings and finished
runs are kept in ``benchmarks/results``, so it can be stopped and started again. ``--tables`` prints
the tables from what is there, ``--data`` names the tables of prompts (see `_routing_tables`),
``--jobs`` fits so many folds at a time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _blends import with_blend
from _embeddings import CachedEncoder
from _routing_tables import LOOKAHEAD, NO_SIGNAL, TABLES, Table
from joblib import Parallel, delayed
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
from lookahead_sk.datasets import fetch_selfoss_pool
from lookahead_sk.metrics import paired_bootstrap

RESULTS = Path(__file__).resolve().parent / "results"
N_FOLDS = 5
MAX_SHOWN = 8  # benchmarks that have columns of their own
PROMPT_TOKENS, RESPONSE_TOKENS = 256, 96  # of texts that are given as numbers
ROUTER = "LookaheadRouter"
EMBEDDING, LENGTH, FORM, LIKENESS = slice(0, 16), slice(16, 17), slice(17, 21), slice(21, 23)


class AblatedRouter(LookaheadRouter):
    """Predicts only some groups of response descriptors; the others count as not observed."""

    groups: tuple[slice, ...] = ()

    def _fit_descriptors(self, *given: Any) -> Any:
        descriptors, values = super()._fit_descriptors(*given)
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

    def numbers(given: str, **options: Any) -> Any:
        return lambda seed: OnNumbers(encoder, given, random_state=seed, **options), "all"

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
        ROUTER: router(),
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
        "numbers": numbers("numbers"),
        "numbers, with lengths": numbers("lengths"),
        "numbers, with texts and lengths": numbers("words"),
        "numbers, response_weight=0": numbers("numbers", response_weight=0.0),
        "LookaheadRouter, blend=0": router(cls=NoBlend),
        "LookaheadRouter, blend=1": router(cls=OnlyNetwork),
    }


def baselines() -> list[str]:
    """Names of the methods that never see a response."""
    known = methods(None)
    return [name for name in known if known[name][1] == "scores"]


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


def fit(router: Any, given: str, data: Table, rows: Any, folder: Path | None) -> Any:
    """Fit on the rows.

    What is given: "scores" alone, with "texts" of the responses, with "all" (true lengths too),
    "selfoss", or responses as "numbers" alone, with their "lengths", or with their "words".
    """
    prompts = [data.prompts[i] for i in rows]
    scores = data.scores[rows]
    if given == "scores" or data.responses is None:
        return router.fit(prompts, scores)
    responses = data.responses[rows]
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


class OnNumbers:
    """A router that is given embeddings of prompts and responses instead of texts."""

    def __init__(self, encoder: Any, given: str, **options: Any) -> None:
        self.encoder, self.given = encoder, given
        self.router = LookaheadRouter(encoder="passthrough", **options)

    def _encode(self, texts: list[str], limit: int) -> Any:
        self.encoder.max_seq_length = limit
        return self.encoder.encode(texts)

    def fit(
        self, prompts: list[str], scores: Any, responses: Any = None, response_lengths: Any = None
    ) -> OnNumbers:
        """Encode all texts, then fit."""
        X = self._encode(prompts, PROMPT_TOKENS)
        if responses is None:
            self.router.fit(X, scores)
            return self
        numbers = self._encode(responses.ravel().tolist(), RESPONSE_TOKENS)
        more: dict[str, Any] = {}
        if self.given != "numbers":
            more["response_lengths"] = response_lengths
        if self.given == "words":
            more["response_texts"] = responses
        self.router.fit(X, scores, responses=numbers.reshape(*responses.shape, -1), **more)
        return self

    def predict(self, prompts: list[str]) -> Any:
        """Models for texts."""
        return self.router.predict(self._encode(prompts, PROMPT_TOKENS))


Task = tuple[str, str, int, int]  # table, method, seed and fold


def run_fold(task: Task, encoder: Any, folder: Path | None, selfoss: Path | None) -> dict[str, Any]:
    """The models chosen for the prompts of a fold, by a method that was fitted on the others."""
    table, name, seed, fold = task
    data = table_of(table, folder)
    build, given = methods(encoder)[name]
    start = time.process_time()
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    train, test = list(folds.split(data.prompts, data.benchmark))[fold]
    router = fit(build(seed), given, data, train, selfoss)
    chosen = router.predict([data.prompts[i] for i in test])
    return {
        "rows": test,
        "chosen": chosen,
        "best_single": int(data.scores[train].mean(axis=0).argmax()),
        "seconds": time.process_time() - start,
    }


@cache
def table_of(name: str, folder: Path | None) -> Table:
    """A table by its name, read once."""
    return {**TABLES, **NO_SIGNAL}[name](folder)


def joined(task: Task, n: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One pass of cross-validation: the model chosen for every prompt while it was held out."""
    chosen, best = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
    for part in parts:
        chosen[part["rows"]] = part["chosen"]
        best[part["rows"]] = part["best_single"]
    return {
        "table": task[0],
        "method": task[1],
        "seed": task[2],
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "chosen": chosen.tolist(),
        "best_single": best.tolist(),
    }


def load(path: Path) -> list[dict[str, Any]]:
    """Finished runs."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def mean(values: Any, data: Table, average: str) -> float:
    """Mean over prompts, or over the means of the benchmarks."""
    if average == "micro":
        return float(np.mean(values))
    return float(np.mean([values[data.benchmark == b].mean() for b in np.unique(data.benchmark)]))


def rewards(data: Table, chosen: Any) -> npt.NDArray[np.float64]:
    """Score of the chosen model on every prompt."""
    return data.scores[np.arange(len(data.scores)), np.asarray(chosen)]


def gain(data: Table, record: dict[str, Any], average: str) -> float:
    """Share of the oracle's gain over the best single model, which each fold chose in training."""
    base, most = rewards(data, record["best_single"]), data.scores.max(axis=1)
    ours = mean(rewards(data, record["chosen"]) - base, data, average)
    return ours / mean(most - base, data, average)


Runs = dict[str, list[dict[str, Any]]]  # by method


def print_scores(data: Table, runs: Runs) -> None:
    """Mean score of every benchmark, macro and micro, and gains; seeds averaged."""
    benchmarks = list(dict.fromkeys(np.asarray(data.benchmark).tolist()))
    shown = benchmarks if 1 < len(benchmarks) <= MAX_SHOWN else []
    names = "".join(f" {name} |" for name in shown)
    print(f"| method | macro | micro | macro gain | micro gain |{names} s / fit |")
    print("|" + "---|" * (len(shown) + 6))
    first = next(iter(runs.values()))[0]
    oracle = {**first, "chosen": data.scores.argmax(axis=1).tolist(), "seconds": 0.0}
    everything = {**runs, "oracle": [oracle]}
    order = sorted(everything, key=lambda name: gain(data, everything[name][0], "micro"))
    for name in order:
        records = everything[name]
        scored = np.mean([rewards(data, r["chosen"]) for r in records], axis=0)
        cells = [f"{mean(scored, data, average):.3f}" for average in ("macro", "micro")]
        for average in ("macro", "micro"):
            cells.append(f"{np.mean([gain(data, r, average) for r in records]):.3f}")
        cells += [f"{scored[data.benchmark == b].mean():.3f}" for b in shown]
        seconds = np.median([r["seconds"] for r in records]) / N_FOLDS
        print(f"| {name} ({len(records)}) | {' | '.join(cells)} | {seconds:.1f} |")


def paired(data: Table, ours: list[Any], theirs: list[Any], average: str) -> Any:
    """Difference of mean scores, seeds averaged on each prompt, with its 95 % interval."""
    known = {r["seed"]: r for r in theirs}
    pairs = [(r, known[r["seed"]]) for r in ours if r["seed"] in known]
    a, b = (np.array([pair[side]["chosen"] for pair in pairs]) for side in (0, 1))
    return len(pairs), paired_bootstrap(
        data.scores, a, b, groups=data.benchmark, average=average, random_state=0
    )


def print_differences(data: Table, runs: Runs, name: str) -> None:
    """Paired differences of mean scores, with 95 % bootstrap intervals over prompts."""
    print(f"\n| {name} against | macro score | micro score |")
    print("|---|---|---|")
    for other in runs:
        if other == name:
            continue
        cells = []
        for average in ("macro", "micro"):
            count, change = paired(data, runs[name], runs[other], average)
            cells.append(f"{change.estimate:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")
        print(f"| {other} ({count}) | {' | '.join(cells)} |")


def print_summary(tables: dict[str, tuple[Table, Runs]]) -> None:
    """Mean gain in score over the best single model, for every table; the best baseline beside."""
    print("\n| method | " + " | ".join(tables) + " | mean | mean share of the oracle's gain |")
    print("|---|" + "---|" * (len(tables) + 2))
    common = set.intersection(*(set(runs) for _, runs in tables.values()))
    rows = []
    for name in common:
        gains, shares = [], []
        for data, runs in tables.values():
            records = runs[name]
            over = [rewards(data, r["chosen"]) - rewards(data, r["best_single"]) for r in records]
            gains.append(float(np.mean(over)))
            shares.append(float(np.mean([gain(data, r, "micro") for r in records])))
        rows.append((float(np.mean(gains)), name, gains, float(np.mean(shares))))
    for average, name, gains, share in sorted(rows):
        cells = " | ".join(f"{value:+.4f}" for value in gains)
        print(f"| {name} | {cells} | {average:+.4f} | {share:.3f} |")
    print(f"\n| table | best tuned baseline | {ROUTER} minus it, micro score | macro score |")
    print("|---|---|---|---|")
    for table, (data, runs) in tables.items():
        known = [name for name in runs if name in baselines()]
        best = max(known, key=lambda name: np.mean([gain(data, r, "micro") for r in runs[name]]))
        cells = []
        for measure in ("micro", "macro"):
            _, change = paired(data, runs[ROUTER], runs[best], measure)
            cells.append(f"{change.estimate:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")
        print(f"| {table} | {best} ({len(runs[best])}) | {' | '.join(cells)} |")


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="data; LOOKAHEAD_SK_DATA when not given")
    parser.add_argument("--selfoss", type=Path, help="folder of the SelfOSS pool")
    parser.add_argument("--encoder", type=Path, help="folder of MiniLM; packaged when not given")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to this number - 1")
    parser.add_argument("--methods", nargs="+", metavar="METHOD")
    parser.add_argument("--data", nargs="+", metavar="TABLE", default=list(TABLES))
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    parser.add_argument("--results", type=Path, default=RESULTS / "routing.jsonl")
    args = parser.parse_args()
    wanted = {t: args.methods or methods_for(t, table_of(t, args.folder)) for t in args.data}
    if not args.tables:
        run_missing(
            [(t, name, s) for s in range(args.seeds) for t in wanted for name in wanted[t]], args
        )
    found: dict[str, tuple[Table, Runs]] = {}
    for table, names in wanted.items():
        data = table_of(table, args.folder)
        runs: Runs = {}
        for record in load(args.results):
            if record["table"] == table and record["method"] in names:
                runs.setdefault(record["method"], []).append(record)
        if runs:
            print(f"\n{table}: {len(data.prompts)} prompts, {data.scores.shape[1]} models\n")
            print_scores(data, runs)
        if ROUTER in runs:
            print_differences(data, runs, ROUTER)
            found[table] = data, runs
    if len(found) > 1:
        print_summary(found)


def methods_for(table: str, data: Table) -> list[str]:
    """The router and baselines; what needs responses only where there are any."""
    known = methods(None)
    if table == LOOKAHEAD:
        return list(known)
    more = [ROUTER] if data.responses is None else [ROUTER, f"{ROUTER}, response_weight=0"]
    return [*more, *baselines()]


def prepare(encoder: CachedEncoder, tables: list[str], folder: Path | None) -> None:
    """Encode all texts, so that no process has to."""
    for table in tables:
        data = table_of(table, folder)
        encoder.prepare(data.prompts)
        if data.responses is not None:
            encoder.prepare([t for t in data.responses.ravel() if t is not None], RESPONSE_TOKENS)


def run_missing(passes: list[tuple[str, str, int]], args: Any) -> None:
    """Run tables, methods and seeds that the results file lacks, and add them to it."""
    done = {(r["table"], r["method"], r["seed"]) for r in load(args.results)}
    tasks = [(*one, fold) for one in passes if one not in done for fold in range(N_FOLDS)]
    if not tasks:
        return
    encoder = CachedEncoder(RESULTS, args.encoder)
    if args.jobs > 1:
        prepare(encoder, list(dict.fromkeys(table for table, _, _ in passes)), args.folder)
    found = Parallel(args.jobs, return_as="generator", batch_size=1)(
        delayed(run_fold)(task, encoder, args.folder, args.selfoss) for task in tasks
    )
    args.results.parent.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Any]] = []
    for task, part in zip(tasks, found, strict=True):
        parts.append(part)
        if len(parts) < N_FOLDS:
            continue
        data = table_of(task[0], args.folder)
        record, parts = joined(task, len(data.scores), parts), []
        with args.results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        macro, micro = (gain(data, record, average) for average in ("macro", "micro"))
        print(f"{task[0]}: {task[1]}, seed {task[2]}: {macro:.3f} {micro:.3f}", flush=True)
    encoder.save()


if __name__ == "__main__":
    main()
