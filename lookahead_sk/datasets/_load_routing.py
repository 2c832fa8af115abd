"""load_routing: logs of calls in the forms in which they are kept and published."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from lookahead_sk._files import parse_json
from lookahead_sk._token_price import TokenPrice
from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import Words, check_choice, check_range, reject
from lookahead_sk.datasets._bunch import object_array, routing_bunch
from lookahead_sk.datasets._logs._files import read_rows
from lookahead_sk.datasets._logs._layouts import read_calls
from lookahead_sk.datasets._logs._table import Table, build_table

_DESCR = """\
Calls of language models
------------------------

{n_prompts} prompts, {n_models} models, {n_calls} calls, read by the layout {layout!r}.
{notes}
"""


def load_routing(
    source: Any,
    layout: str = "auto",
    *,
    columns: Mapping[str, str] | None = None,
    models: Sequence[str] | None = None,
    prices: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    score_range: tuple[float, float] | None = None,
    duplicates: str = "merge",
    as_frame: bool = False,
    return_X_y: bool = False,
) -> Bunch | tuple[Any, Any]:
    """Read the log of a gateway, or a published table, as a routing problem.

    Parameters
    ----------
    source : path, DataFrame or list of dict
        A file (csv, json, jsonl or parquet, each also with .gz), a folder of json files, a frame of
        pandas, polars or pyarrow, or rows. Pickles are refused.
    layout : str, default="auto"
        "long": a row is a call. "wide": a row is a prompt, ``<model>`` or ``score|<model>`` its
        scores, ``<model>|total_cost``, ``<model>|model_response`` and so on the rest. "nested": a
        row is a prompt, and dicts map models to values, or fields to values. Or a published form:
        "routerbench", "sprout", "llmrouter", "llmrouterbench", "embedllm", "routerdc". "auto" goes
        by the names of the columns.
    columns : mapping of str to str, default=None
        Column of a field that has another name than usual. Fields are "prompt", "group", "model",
        "score", "response", "cost", "cost_unit", "prompt_tokens", "completion_tokens" and
        "propensity", the probability with which the log's own rule chose the model.
    models : list of str, default=None
        The models wanted, in the order of the columns; None takes all.
    prices : mapping of model to TokenPrice, or path, default=None
        Prices for calls that tell their tokens and no cost. A path names a JSON file of
        ``{model: {"input_price": ..., "output_price": ...}}``, for a million tokens.
    score_range : tuple of (float, float), default=None
        Least and largest score that can occur; a score outside is refused.
    duplicates : {"merge", "keep"}, default="merge"
        "merge" makes one row of all calls of a prompt (in a group), cells with several samples hold
        their mean. "keep" leaves every row of the log a row: for an audit of its traffic.
    as_frame : bool, default=False
        Return prompts as a Series, scores and responses as DataFrames whose columns are the models.
    return_X_y : bool, default=False
        Return only ``(prompts, scores)``.

    Returns
    -------
    data : Bunch
        With these attributes:

        prompts : ndarray of shape (n,) of str
            The prompts. A list of turns is joined by line breaks.
        scores : ndarray of shape (n, K)
            Scores, NaN where not observed.
        responses : ndarray of shape (n, K) of str or None
            Responses, None where not observed; None altogether if the log has none.
        models : list of K str
            Names of the models.
        benchmark : ndarray of shape (n,)
            Group of each prompt, None where there is none.
        called : ndarray of bool of shape (n, K)
            Which models were called.
        n_samples : ndarray of int of shape (n, K)
            How many calls a cell is the mean of.
        cell_weight : ndarray of shape (n, K)
            How much a score counts by the number of its samples, NaN where there is none; see
            `average_samples`. For ``fit(X, y, cell_weight=...)``.
        costs : ndarray of shape (n, K)
            Cost of the calls, NaN where unknown.
        model_costs : ndarray of shape (K,)
            Mean known cost of a call of each model, NaN where there is none.
        tokens : ndarray of shape (n, K, 2)
            Tokens of the prompt and of the response, NaN where unknown.
        characters_per_token : ndarray of shape (K,)
            Mean length of a token of the prompts by each model's own count; NaN where unknown.
        propensities : ndarray of shape (n, K)
            Logged propensities of the calls, NaN where there are none.
        notes : list of str
            What was merged, filled, left out or is missing.
        DESCR : str
            Description with the notes.
    (prompts, scores) : tuple if ``return_X_y`` is True
        The first two attributes.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ImportError
        If a parquet file is given and pyarrow is not installed.
    ValueError
        If there are fewer than two models, no score, costs in several units, a model without a
        price, a score outside ``score_range``, a missing field, or a damaged file.

    See Also
    --------
    average_samples : Means and weights of several samples that lie in an array.
    make_routing : A routing problem that needs no data.

    Notes
    -----
    Everything is read into memory.

    Examples
    --------
    >>> from lookahead_sk.datasets import load_routing
    >>> log = [
    ...     {"prompt": "2 + 2", "model": "small", "score": 1.0, "cost": 0.001},
    ...     {"prompt": "2 + 2", "model": "large", "score": 1.0, "cost": 0.01},
    ...     {"prompt": "6 * 7", "model": "small", "score": 0.0, "cost": 0.001},
    ... ]
    >>> data = load_routing(log)
    >>> data.scores
    array([[ 1.,  1.],
           [ 0., nan]])
    >>> data.notes
    ['1 cells are empty: the model was not called.', '2 prompts have no group.']
    """
    check_choice(duplicates, "duplicates", ["merge", "keep"])
    token_prices = _read_prices(prices)
    rows = read_rows(source)
    calls, layout = read_calls(rows, layout, columns or {}, models)
    seen = list(dict.fromkeys(call.model for call in calls))
    if len(seen if models is None else set(models) & set(seen)) < 2:
        hint = "A router needs scores of at least two."
        reject("source", "a log of at least two models", seen, hint=hint)
    table = build_table(calls, models, token_prices, duplicates == "keep")
    _check_scores(table.scores, table.models, score_range)
    return _as_bunch(table, layout, as_frame, return_X_y)


def _read_prices(prices: Any) -> dict[str, TokenPrice]:
    """Prices by model, from a mapping or from a JSON file."""
    if prices is None:
        return {}
    if isinstance(prices, str | os.PathLike):
        try:
            prices = parse_json(Path(prices).expanduser())
        except ValueError as error:
            raise ValueError(f"prices must be a JSON file; {prices} is not: {error}.") from error
    if not isinstance(prices, Mapping):
        reject("prices", "a mapping of model to TokenPrice, or a path", prices, kind=TypeError)
    return {model: _as_price(price, model) for model, price in prices.items()}


def _as_price(price: Any, model: str) -> TokenPrice:
    if isinstance(price, TokenPrice):
        return price
    if isinstance(price, Mapping) and {"input_price", "output_price"} <= price.keys():
        return TokenPrice(input=price["input_price"], output=price["output_price"])
    accepted = "a TokenPrice, or a dict with input_price and output_price"
    return reject(f"prices[{model!r}]", accepted, price)


def _check_scores(scores: FloatArray, models: list[str], score_range: Any) -> None:
    if np.isnan(scores).all():
        reject("source", "a log with scores", Words("none"))
    if score_range is None:
        return
    low, high = check_range(score_range, "score_range")
    outside = np.argwhere((scores < low) | (scores > high))
    if len(outside):
        i, k = outside[0].tolist()
        hint = f"That is the score of {models[k]!r} on prompt {i}; {len(outside)} are outside."
        reject("Scores", f"in [{low:g}, {high:g}]", float(scores[i, k]), hint=hint)


def _characters_per_token(table: Table) -> FloatArray:
    """Characters over tokens of the prompts that a model counted, (K,)."""
    characters = np.array([[len(prompt)] for prompt in table.prompts], dtype=np.float64)
    counted = table.tokens[:, :, 0]
    seen = np.where(np.isnan(counted), 0.0, characters).sum(axis=0)
    total = np.nansum(counted, axis=0)
    return np.where(total > 0, seen / np.where(total > 0, total, 1.0), np.nan)


def _as_bunch(table: Table, layout: str, as_frame: bool, return_X_y: bool) -> Any:
    n_calls = int(table.n_samples.sum())
    descr = _DESCR.format(
        n_prompts=len(table.prompts),
        n_models=len(table.models),
        n_calls=n_calls,
        layout=layout,
        notes="\n".join(table.notes),
    )
    has_costs = ~np.isnan(table.costs).all(axis=0)
    model_costs = np.full(len(table.models), np.nan)
    model_costs[has_costs] = np.nanmean(table.costs[:, has_costs], axis=0)
    data: Any = routing_bunch(
        prompts=table.prompts,
        scores=table.scores,
        responses=table.responses,
        models=table.models,
        as_frame=as_frame,
        return_X_y=return_X_y,
        benchmark=object_array(table.groups),
        called=table.called,
        n_samples=table.n_samples,
        cell_weight=table.cell_weight,
        costs=table.costs,
        model_costs=model_costs,
        tokens=table.tokens,
        characters_per_token=_characters_per_token(table),
        propensities=table.propensities,
        notes=table.notes,
        DESCR=descr,
    )
    if not return_X_y and all(text is None for row in table.responses for text in row):
        data.responses = None
    return data
