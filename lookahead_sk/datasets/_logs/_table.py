"""From calls to tables: what was seen of every prompt and model, and what had to be decided.

n prompts, K candidate models. A cell of several calls holds their mean, and how many they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._token_price import TokenPrice
from lookahead_sk._typing import BoolArray, FloatArray, IntArray
from lookahead_sk._validation import reject, short_repr
from lookahead_sk.datasets._average_samples import information_weights
from lookahead_sk.datasets._logs._cells import is_empty, read_prompt, unwrap_lists
from lookahead_sk.datasets._logs._layouts import Call


class Table(NamedTuple):
    """What a log says of every prompt and model; NaN where it says nothing."""

    prompts: list[str]
    groups: list[Any]
    models: list[str]
    scores: FloatArray  # (n, K)
    responses: list[list[str | None]]  # (n, K)
    costs: FloatArray  # (n, K)
    tokens: FloatArray  # (n, K, 2), of the prompt and of the response
    called: BoolArray  # (n, K)
    n_samples: IntArray  # (n, K)
    cell_weight: FloatArray  # (n, K), of the scores
    propensities: FloatArray  # (n, K)
    notes: list[str]


def build_table(
    calls: Sequence[Call],
    models: Sequence[str] | None,
    prices: Mapping[str, TokenPrice],
    keep_duplicates: bool,
) -> Table:
    """Bring the calls of a log to tables.

    Parameters
    ----------
    calls : list of Call
        In the order of the log.
    models : list of str or None
        Order of the columns; None takes the order in which they appear.
    prices : mapping of model to TokenPrice
        For calls that tell tokens and no cost; may be empty.
    keep_duplicates : bool
        Whether every row stays one, instead of one for each prompt.
    """
    notes: list[str] = []
    prompts = _prompts(calls, notes)
    keys = [
        (call.row,) if keep_duplicates else (prompt, call.group)
        for call, prompt in zip(calls, prompts, strict=True)
    ]
    row_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    names = list(dict.fromkeys(call.model for call in calls)) if models is None else list(models)
    column_of = {name: k for k, name in enumerate(names)}
    rows = np.array([row_of[key] for key in keys])
    columns = np.array([column_of[call.model] for call in calls])
    shape = (len(row_of), len(names))
    n_samples = np.zeros(shape, dtype=np.intp)
    np.add.at(n_samples, (rows, columns), 1)

    def mean(values: Any) -> FloatArray:
        return _cell_means(np.asarray(values, dtype=np.float64), rows, columns, shape)

    scores = mean([call.score for call in calls])
    costs = mean(_costs(calls, prices, notes))
    tokens = [mean([getattr(call, f"{kind}_tokens") for call in calls]) for kind in _TOKENS]
    first = np.unique(rows, return_index=True)[1].tolist()  # the call that began each row
    table = Table(
        prompts=[prompts[i] for i in first],
        groups=[calls[i].group for i in first],
        models=names,
        scores=scores,
        responses=_responses(calls, rows, columns, shape),
        costs=costs,
        tokens=np.stack(tokens, axis=2),
        called=n_samples > 0,
        n_samples=n_samples,
        cell_weight=_cell_weight(calls, scores, rows, columns),
        propensities=mean([call.propensity for call in calls]),
        notes=notes,
    )
    n_rows = len({call.row for call in calls})
    _tell_counts(table, 0 if n_rows == len(calls) else n_rows - shape[0])
    return table


_TOKENS = ("prompt", "completion")


def _prompts(calls: Sequence[Call], notes: list[str]) -> list[str]:
    texts = [read_prompt(call.prompt, f"The prompt of row {call.row}") for call in calls]
    prompts, n_listed = unwrap_lists(texts)
    if n_listed == len(texts):
        notes.append("All prompts were written as lists, \"['...']\": their texts were taken.")
    elif n_listed:
        notes.append(f"{n_listed} calls have a prompt written as a list: left as it is.")
    return prompts


def _cell_means(
    values: FloatArray, rows: IntArray, columns: IntArray, shape: tuple[int, int]
) -> FloatArray:
    """Mean of the values in every cell that are not NaN."""
    sums, counts = np.zeros(shape), np.zeros(shape)
    is_known = ~np.isnan(values)
    np.add.at(sums, (rows[is_known], columns[is_known]), values[is_known])
    np.add.at(counts, (rows[is_known], columns[is_known]), 1)
    with np.errstate(invalid="ignore"):
        means: FloatArray = sums / counts
    return means


def _cell_weight(
    calls: Sequence[Call], scores: FloatArray, rows: IntArray, columns: IntArray
) -> FloatArray:
    """Weights (n, K) of the mean scores (n, K) by the numbers of scored calls."""
    values = np.array([call.score for call in calls], dtype=np.float64)
    known = ~np.isnan(values)
    cells = rows[known], columns[known]
    counts = np.zeros(scores.shape, dtype=np.intp)
    np.add.at(counts, cells, 1)
    squares = np.zeros(scores.shape[1])
    np.add.at(squares, cells[1], (values[known] - scores[cells]) ** 2)
    return information_weights(scores, counts, squares)


def _costs(
    calls: Sequence[Call], prices: Mapping[str, TokenPrice], notes: list[str]
) -> list[float]:
    """Logged cost of every call, or tokens times prices where there are prices."""
    units = sorted({call.unit or "no unit" for call in calls if call.cost == call.cost})
    if len(units) > 1:
        reject("The costs of the log", "in one unit", units, hint="Convert them first.")
    if units not in ([], ["no unit"]):
        notes.append(f"Costs are in {units[0]}.")
    costs = [call.cost for call in calls]
    if not prices:
        return costs
    open_calls = [i for i, call in enumerate(calls) if costs[i] != costs[i] and _has_tokens(call)]
    missing = sorted({calls[i].model for i in open_calls} - prices.keys())
    if missing:
        accepted = "a price for every model whose calls tell tokens and no cost"
        reject("prices", accepted, sorted(prices), hint=f"{short_repr(missing)} are missing.")
    for i in open_calls:
        call = calls[i]
        costs[i] = float(prices[call.model].cost(call.prompt_tokens, call.completion_tokens))
    told = f"{len(open_calls)} costs are tokens times prices."
    notes.append(told if open_calls else "No call needed a price: none tells its tokens alone.")
    return costs


def _has_tokens(call: Call) -> bool:
    return call.prompt_tokens == call.prompt_tokens and (
        call.completion_tokens == call.completion_tokens
    )


def _responses(
    calls: Sequence[Call], rows: IntArray, columns: IntArray, shape: tuple[int, int]
) -> list[list[str | None]]:
    """The first response of every cell."""
    table: list[list[str | None]] = [[None] * shape[1] for _ in range(shape[0])]
    for call, i, k in zip(calls, rows.tolist(), columns.tolist(), strict=True):
        if table[i][k] is None:
            table[i][k] = call.response
    return table


def _tell_counts(table: Table, n_joined: int) -> None:
    """Note what was merged, what is empty, and what has no score."""
    n_repeated = int((table.n_samples > 1).sum())
    n_empty = int((~table.called).sum())
    n_unscored = int((table.called & np.isnan(table.scores)).sum())
    n_texts = len(table.prompts) - len(set(table.prompts))
    for number, words in (
        (n_joined, "rows joined those of the same prompt."),
        (n_texts, "rows repeat the prompt of another one."),
        (n_repeated, "cells hold the mean of several samples; see n_samples."),
        (n_empty, "cells are empty: the model was not called."),
        (n_unscored, "calls have no score."),
        (sum(is_empty(group) for group in table.groups), "prompts have no group."),
    ):
        if number:
            table.notes.append(f"{number} {words}")
