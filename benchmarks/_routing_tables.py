"""Tables of real prompts for `routing.py`: seven benchmarks, LLMRouter, AlpacaEval, SelfOSS."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lookahead_sk.datasets import fetch_lookahead_bench, fetch_selfoss_pool

LOOKAHEAD = "seven benchmarks"
# Neighbours in the order of mean scores. Left out are the adversarial "NullModel", the reference
# (which scores 0.5 throughout), and models that stand far from the next.
ALPACA_POOLS = {
    "AlpacaEval, ranks 2 to 4": slice(1, 4),
    "AlpacaEval, ranks 8 to 13": slice(7, 13),
    "AlpacaEval, ranks 14 to 19": slice(13, 19),
}
DOMINATED = "one model dominates"


@dataclass(frozen=True)
class Table:
    """Prompts with the scores of several models, and what else is known of their responses."""

    prompts: list[str]
    scores: npt.NDArray[np.float64]
    benchmark: npt.NDArray[np.str_]  # folds are stratified by it, macro averages go over it
    responses: npt.NDArray[Any] | None = None
    response_chars: npt.NDArray[Any] | None = None


def _published(data: Any) -> Table:
    return Table(
        list(data.prompts),
        np.asarray(data.scores, dtype=np.float64),
        np.asarray(data.benchmark),
        np.asarray(data.responses, dtype=object),
        np.asarray(data.response_chars),
    )


def _data_folder(folder: Path | None) -> Path:
    return folder if folder is not None else Path(os.environ["LOOKAHEAD_SK_DATA"])


def llmrouter(folder: Path | None) -> Table:
    """Scores of nine models, from the training part of LLMRouter; no responses."""
    path = _data_folder(folder) / "llmrouter" / "dcrouter_train.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = json.load(file)
    models = sorted(rows[0]["scores"])
    scores = np.array([[row["scores"][model] for model in models] for row in rows])
    kinds = np.array([str(row["cluster_id"]) for row in rows])
    return Table([row["question"] for row in rows], scores, kinds)


def _alpaca(folder: Path | None, ranks: list[int]) -> Table:
    """AlpacaEval's preferences for models of given ranks, where all of them were judged."""
    place = _data_folder(folder) / "alpaca_eval_59"
    with gzip.open(place / "alpaca_eval_59models_scores.csv.gz", "rb") as packed:
        head, *rows = csv.reader(io.TextIOWrapper(packed, encoding="utf-8"))
    names = [name.removeprefix("score|") for name in head if name.startswith("score|")]
    columns = [head.index(f"score|{name}") for name in names]
    scores = np.array([[float(row[j] or "nan") for j in columns] for row in rows])
    order = np.argsort(-np.nanmean(scores, axis=0), kind="stable")
    kept = [int(order[rank]) for rank in ranks]
    with gzip.open(place / "alpaca_eval_59models_responses.jsonl.gz", "rt") as file:
        answers = {row["idx"]: row["responses"] for row in map(json.loads, file)}
    found = [answers[int(row[0])] for row in rows]
    responses = np.array([[a.get(names[k]) for k in kept] for a in found], dtype=object)
    chars = np.array(
        [[float(row[head.index(f"chars|{names[k]}")] or "nan") for k in kept] for row in rows]
    )
    seen = ~np.isnan(scores[:, kept]).any(axis=1)
    kinds = np.array([row[1] for row in rows])
    prompts = [row[2] for row, is_seen in zip(rows, seen, strict=True) if is_seen]
    return Table(prompts, scores[seen][:, kept], kinds[seen], responses[seen], chars[seen])


def permuted(table: Table, seed: int) -> Table:
    """The same table with the rows of its scores in another order: nothing can be predicted."""
    order = np.random.RandomState(seed).permutation(len(table.scores))
    return Table(table.prompts, table.scores[order], table.benchmark)


def _pool(ranks: slice) -> Callable[[Path | None], Table]:
    return lambda folder: _alpaca(folder, list(range(60))[ranks])


TABLES: dict[str, Callable[[Path | None], Table]] = {
    LOOKAHEAD: lambda folder: _published(fetch_lookahead_bench(folder=folder)),
    "LLMRouter": llmrouter,
    **{name: _pool(ranks) for name, ranks in ALPACA_POOLS.items()},
    "SelfOSS": lambda folder: _published(fetch_selfoss_pool(folder=folder)),
}
# Nothing can be gained here; a router must not lose.
NO_SIGNAL: dict[str, Callable[[Path | None], Table]] = {
    "LLMRouter, permuted": lambda folder: permuted(llmrouter(folder), 0),
    "AlpacaEval, permuted": lambda folder: permuted(_alpaca(folder, list(range(7, 13))), 0),
    # The best but one of AlpacaEval's models beside ten that it beats almost everywhere.
    DOMINATED: lambda folder: _alpaca(folder, [1, *range(7, 17)]),
}
