"""Tables with named columns, prices, choices and groups: checked and brought to arrays.

n prompts, K candidate models. A score table is (n, K), a choice is one model per prompt, NaN means
that a model was not observed on a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import as_float_array, check_choice, reject


def column_names(table: Any) -> list[Any] | None:
    """Names of the columns of a frame; None for a table without names."""
    return list(table.columns) if hasattr(table, "columns") else None


def read_scores(
    scores: Any, name: str = "scores", models: Sequence[Any] | None = None
) -> tuple[FloatArray, list[Any] | None]:
    """A score table as an array (n, K), and the names of its models where they are known."""
    models = column_names(scores) if models is None else models
    table = as_float_array(scores, name, ndim=2)
    if table.shape[0] < 1 or table.shape[1] < 1:
        reject(name, "a table of at least one prompt and one model", f"shape {table.shape}")
    if np.isinf(table).any():
        reject(name, "finite, or NaN where a model was not observed", "inf")
    if models is not None and len(models) != table.shape[1]:
        reject("models", f"{table.shape[1]} names, one per column of {name}", list(models))
    return table, None if models is None else list(models)


def in_order(table: Any, names: Sequence[Any], name: str = "y") -> Any:
    """A frame with the columns ``names``, in this order; a table without names as it is.

    Raises
    ------
    ValueError
        If a column is missing. Other columns are left out.
    """
    columns = column_names(table)
    if columns is None:
        return table
    if any(wanted not in columns for wanted in names):
        reject(name, f"a table with the columns {list(names)}", columns)
    return table[list(names)]


def aligned(table: Any, y: Any, name: str) -> Any:
    """A table of the models in the order of the columns of ``y``, where both name them.

    Columns that are only numbered, 0 to K - 1, are taken to be in order.

    Raises
    ------
    ValueError
        If the columns have other names.
    """
    wanted, got = column_names(y), column_names(table)
    if wanted is None or got is None or got == wanted or got == list(range(len(wanted))):
        return table
    if len(got) != len(wanted) or set(got) != set(wanted):
        reject(name, f"a table with the columns of y, {wanted}", got)
    return table[wanted]


def read_prices(costs: Any, names: Sequence[Any]) -> FloatArray:
    """Price of every model in the order of ``names``, (K,); zeros when there are none.

    Raises
    ------
    ValueError
        If a model has no price, or a price is not finite.
    """
    if costs is None:
        return np.zeros(len(names))
    given = costs
    if hasattr(costs, "index") and hasattr(costs, "to_dict"):  # a Series, by name where it has them
        by_name = costs.to_dict()
        costs = by_name if all(name in by_name for name in names) else costs.to_numpy()
    if isinstance(costs, Mapping):
        if any(name not in costs for name in names):
            reject("costs", f"a mapping with a cost for each of {list(names)}", costs)
        costs = [costs[name] for name in names]
    array = as_float_array(costs, "costs")
    if array.shape != (len(names),) or not np.isfinite(array).all():
        reject("costs", f"{len(names)} finite numbers, one per model", given)
    return array


def _as_index(label: Any, models: list[Any] | None, n_models: int, name: str) -> int:
    if models is not None and label in models:
        return models.index(label)
    is_int = isinstance(label, int | np.integer) and not isinstance(label, bool | np.bool_)
    if is_int and 0 <= label < n_models:
        return int(label)
    accepted = f"column numbers from 0 to {n_models - 1}"
    if models is not None:
        accepted = f"models out of {models}, or {accepted}"
    return reject(name, accepted, label, hint="" if models else "Pass models= to use names.")


def read_choice(
    chosen: Any, n: int, models: list[Any] | None, n_models: int, name: str = "chosen"
) -> IntArray:
    """Column of the model chosen for each prompt, from names or numbers; one stands for all."""
    labels = np.asarray(chosen)
    if labels.ndim == 0:
        return np.full(n, _as_index(labels.item(), models, n_models, name), dtype=np.intp)
    if labels.shape != (n,):
        reject(name, f"one model for each of the {n} prompts", f"shape {labels.shape}")
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
        reject("groups", f"one label for each of the {n} prompts", f"shape {labels.shape}")
    names, codes = np.unique(labels, return_inverse=True)
    return Groups(names.tolist(), codes.astype(np.intp))


def read_weights(sample_weight: Any, n: int) -> FloatArray:
    """One weight per prompt, by default 1."""
    if sample_weight is None:
        return np.ones(n)
    weights = as_float_array(sample_weight, "sample_weight", ndim=1)
    if weights.shape != (n,):
        reject("sample_weight", f"one weight for each of the {n} prompts", f"shape {weights.shape}")
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
