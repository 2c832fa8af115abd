"""Tables with named columns, prices, choices and groups: checked and brought to arrays.

n prompts, K candidate models. A score table is (n, K), a choice is one model per prompt, NaN means
that a model was not observed on a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._token_price import TokenPrice
from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import (
    Words,
    as_float_array,
    check_choice,
    is_missing,
    reject,
    short_repr,
)


def column_names(table: Any) -> list[Any] | None:
    """Names of the columns of a frame; None for a table without names."""
    if hasattr(table, "column_names"):  # pyarrow, whose columns are the arrays themselves
        return list(table.column_names)
    return list(table.columns) if hasattr(table, "columns") else None


def refuse_records(table: Any, name: str) -> None:
    """Raise for mappings and structured arrays: their names would not be read."""
    is_list = isinstance(table, list | tuple) and bool(table)
    fields = getattr(getattr(table, "dtype", None), "names", None)
    if isinstance(table, Mapping) or (is_list and isinstance(table[0], Mapping)) or fields:
        hint = "pandas.DataFrame makes one of it."
        reject(name, "an array or a DataFrame", table, kind=TypeError, hint=hint)


def columns_of(frame: Any) -> dict[Any, list[Any]]:
    """The columns of a frame by name, each as a list."""
    return {name: _cells(frame[name]) for name in column_names(frame) or ()}


def _cells(column: Any) -> list[Any]:
    for name in ("to_pylist", "to_list"):  # of pyarrow; of pandas and polars
        if hasattr(column, name):
            return list(getattr(column, name)())
    return list(column)


def in_order(table: Any, names: Sequence[Any], name: str = "y") -> Any:
    """A frame with the columns ``names``, in this order; a table without names as it is.

    Raises
    ------
    ValueError
        If a column is missing, or stands twice. Other columns are left out.
    """
    columns = column_names(table)
    if columns is None:
        return table
    if any(columns.count(wanted) != 1 for wanted in names):
        reject(name, f"a table with the columns {list(names)}, each once", columns)
    return table.select(list(names)) if hasattr(table, "column_names") else table[list(names)]


def _is_numbered(names: Sequence[Any]) -> bool:
    """Whether columns are only numbered, 0 to K - 1, as frames do that were given no names."""
    return list(names) == list(range(len(names)))


def aligned(table: Any, y: Any, name: str) -> Any:
    """A table of the models in the order of the columns of ``y``, where both name them.

    Columns that are only numbered, 0 to K - 1, are taken to be in order, unless those of ``y`` are
    numbers as well: then the numbers are names.

    Raises
    ------
    ValueError
        If a column of ``y`` is missing. Other columns are left out.
    """
    wanted, got = column_names(y), column_names(table)
    if wanted is None or got is None:
        return table
    if _is_numbered(got) and len(got) == len(wanted) and not set(wanted) <= set(got):
        return table
    return in_order(table, wanted, name)


def by_name(values: Any, names: Sequence[Any]) -> Mapping[Any, Any] | None:
    """A mapping, or a Series with names of its own, as a mapping; None for values in order.

    A Series whose entries are only numbered is in order, unless ``names`` are these numbers.
    """
    if isinstance(values, Mapping):
        return values
    if not (hasattr(values, "index") and hasattr(values, "to_dict")):
        return None
    labels = list(values.index)
    if _is_numbered(labels) and not set(names) <= set(labels):
        return None
    if len(set(labels)) != len(labels):
        reject("costs", "a Series in which every model stands once", labels)
    mapping: Mapping[Any, Any] = values.to_dict()
    return mapping


def model_of(name: Any) -> Any:
    """The model of an arm: "model" of "model@effort"; other names are models themselves."""
    return name.split("@", 1)[0] if isinstance(name, str) else name


def _for_arms(named: Mapping[Any, Any] | None, names: Sequence[Any]) -> Mapping[Any, Any] | None:
    """The mapping, with the value of a model for each of its arms that has none of its own."""
    if named is None:
        return None
    missing = [name for name in names if name not in named and model_of(name) in named]
    return {**named, **{name: named[model_of(name)] for name in missing}} if missing else named


def read_prices(costs: Any, names: Sequence[Any]) -> FloatArray:
    """Price of every model in the order of ``names``, (K,); zeros when there are none.

    A mapping and a Series go by name, and the price of "model" is that of its arms "model@effort"
    too; what has no names is in the order of the models.

    Raises
    ------
    ValueError
        If a model has no price, or a price is not finite or is negative.
    """
    if costs is None:
        return np.zeros(len(names))
    given, named = costs, _for_arms(by_name(costs, names), names)
    if named is not None:
        missing = [name for name in names if name not in named]
        if missing:
            hint = f"{missing} are missing."
            reject("costs", f"a mapping with a cost for each of {list(names)}", given, hint=hint)
        costs = [named[name] for name in names]
    array = as_float_array(costs, "costs")
    accepted = f"{len(names)} finite numbers, one per model, none negative"
    if array.shape != (len(names),):
        reject("costs", accepted, given)
    is_price = np.isfinite(array) & (array >= 0)
    if not is_price.all():
        odd = {name: float(array[k]) for k, name in enumerate(names) if not is_price[k]}
        reject("costs", accepted, given, hint=f"Those that are not: {short_repr(odd)}.")
    return array


def read_token_prices(costs: Any, names: Sequence[Any]) -> list[TokenPrice] | None:
    """Price by tokens of every model in the order of ``names``; None for prices of calls.

    Raises
    ------
    ValueError
        If only some models have a price by tokens.
    """
    named = _for_arms(by_name(costs, names), names)
    is_list = isinstance(costs, list | tuple) and len(costs) == len(names)
    given = named if named is not None else dict(zip(names, costs if is_list else (), strict=False))
    if not any(isinstance(price, TokenPrice) for price in given.values()):
        return None
    missing = [name for name in names if not isinstance(given.get(name), TokenPrice)]
    if missing:
        reject("costs", f"a TokenPrice for each of {list(names)}, or for none", missing)
    return [given[name] for name in names]


def check_prices(costs: Any, names: Sequence[Any]) -> None:
    """Raise for prices, of calls or of tokens, that do not fit the models."""
    if read_token_prices(costs, names) is None:
        read_prices(costs, names)


def read_costs(costs: Any, shape: tuple[int, int], names: list[Any] | None) -> FloatArray:
    """Costs of every model on every prompt, (n, K), in the order of the models.

    Mappings, Series and frames go by name; without names the models are numbered.
    """
    known = list(range(shape[1])) if names is None else names
    if by_name(costs, known) is not None:
        costs = read_prices(costs, known)
    elif names is not None:
        costs = in_order(costs, known, "costs")
    table = as_float_array(costs, "costs")
    if table.shape not in (shape, shape[1:]):
        reject("costs", f"of shape ({shape[1]},) or {shape}", Words(f"shape {table.shape}"))
    if not (np.isfinite(table).all() and (table >= 0).all()):
        reject("costs", "finite and not negative", costs)
    return np.broadcast_to(table, shape)


def read_scores(
    scores: Any, name: str = "scores", models: Sequence[Any] | None = None
) -> tuple[FloatArray, list[Any] | None]:
    """A score table as an array (n, K), and the names of its models where they are known.

    ``models`` names the columns of a table without names, and chooses and orders those of a frame.
    """
    refuse_records(scores, name)
    names = column_names(scores)
    if models is not None and names is not None:
        is_named = not _is_numbered(names) or set(models) <= set(names)
        scores = in_order(scores, models, name) if is_named else scores
    names = names if models is None else list(models)
    table = as_float_array(scores, name, ndim=2)
    if table.shape[0] < 1 or table.shape[1] < 1:
        reject(name, "a table of at least one prompt and one model", Words(f"shape {table.shape}"))
    if np.isinf(table).any():
        reject(name, "finite, or NaN where a model was not observed", Words("inf"))
    if names is not None and len(names) != table.shape[1]:
        reject("models", f"{table.shape[1]} names, one per column of {name}", names)
    if names is not None and len(set(names)) != len(names):
        reject(name, "a table with distinct model names", names)
    return table, names


def _as_index(label: Any, models: list[Any] | None, n_models: int, name: str) -> int:
    if not is_missing(label) and models is not None and label in models:
        return models.index(label)
    # Where models have numbers for names, a number is a name.
    is_numbered = models is None or not any(_is_int(model) for model in models)
    if is_numbered and _is_int(label) and 0 <= label < n_models:
        return int(label)
    accepted = f"column numbers from 0 to {n_models - 1}"
    if models is not None:
        accepted = f"models out of {models}" + (f", or {accepted}" if is_numbered else "")
    return reject(name, accepted, label, hint="" if models else "Pass models= to use names.")


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_)


def read_choice(
    chosen: Any, n: int, models: list[Any] | None, n_models: int, name: str = "chosen"
) -> IntArray:
    """Column of the model chosen for each prompt, from names or numbers; one stands for all."""
    labels = np.asarray(chosen)
    if labels.ndim == 0:
        return np.full(n, _as_index(labels.item(), models, n_models, name), dtype=np.intp)
    if labels.shape != (n,):
        reject(name, f"one model for each of the {n} prompts", Words(f"shape {labels.shape}"))
    known: dict[Any, int] = {}
    for label in labels.tolist():
        if label not in known:
            known[label] = _as_index(label, models, n_models, name)
    return np.array([known[label] for label in labels.tolist()], dtype=np.intp)


class Groups(NamedTuple):
    """Names of the groups, and the number of the group of every prompt."""

    names: list[Any]
    codes: IntArray


def read_groups(groups: Any, n: int, average: str | None) -> Groups:
    """The groups of prompts; without ``groups`` all prompts are one."""
    check_choice(average, "average", ["micro", "macro", None])
    if groups is None:
        if average != "micro":
            reject("groups", f"given when average={average!r}", None)
        return Groups(["all"], np.zeros(n, dtype=np.intp))
    labels = np.asarray(groups)
    if labels.shape != (n,):
        reject("groups", f"one label for each of the {n} prompts", Words(f"shape {labels.shape}"))
    missing = np.flatnonzero([is_missing(label) for label in labels.tolist()])
    if len(missing):
        hint = f"It stands at position {missing[0]}."
        reject("groups", "one label for each prompt", labels.tolist()[missing[0]], hint=hint)
    names, codes = np.unique(labels, return_inverse=True)
    return Groups(names.tolist(), codes.astype(np.intp))


def read_weights(sample_weight: Any, n: int) -> FloatArray:
    """One weight per prompt, by default 1."""
    if sample_weight is None:
        return np.ones(n)
    weights = as_float_array(sample_weight, "sample_weight", ndim=1)
    if weights.shape != (n,):
        reject(
            "sample_weight",
            f"one weight for each of the {n} prompts",
            Words(f"shape {weights.shape}"),
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        reject("sample_weight", "finite, not negative, and not all zero", sample_weight)
    return weights


def group_means(values: FloatArray, weights: FloatArray, groups: Groups) -> FloatArray:
    """Weighted mean of ``values``, (n,) or (n, m), in every group: (G,) or (G, m), NaN if empty."""
    by_group = np.zeros((len(groups.names), *values.shape[1:]))
    np.add.at(by_group, groups.codes, (values.T * weights).T)
    totals = np.bincount(groups.codes, weights=weights, minlength=len(groups.names))
    with np.errstate(invalid="ignore"):
        return (by_group.T / totals).T


def average_over(
    values: FloatArray, weights: FloatArray, groups: Groups, average: str | None
) -> Any:
    """Mean over prompts ("micro"), over the groups' means ("macro"), or a dict of these (None)."""
    if average == "micro":
        return float(np.average(values, weights=weights))
    means = group_means(values, weights, groups)
    if average is None:
        return dict(zip(groups.names, means.tolist(), strict=True))
    return float(np.nanmean(means))
