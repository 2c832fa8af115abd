"""Results of an earlier search, continued by a later one."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from lookahead_sk._validation import as_float_array, reject
from lookahead_sk.metrics._tables import column_names, columns_of
from lookahead_sk.optimization._space import Space

N_EVALUATED = "n_splits_evaluated"
_ACCEPTED = "the cv_results_ of a search, or None"
# As NumPy writes its numbers in a dict: np.float64(0.1), np.str_('a'), np.True_.
_NUMPY_CALL = re.compile(r"\bnp\.\w+\(([^()]*)\)")
_NUMPY_BOOL = re.compile(r"\bnp\.(True|False)_")


def read_results(
    results: Any, space: Space, needed: Sequence[str], name: str = "initial_results"
) -> dict[str, Any]:
    """Results of an earlier search as this one would have written them, or raise.

    Parameters
    ----------
    results : mapping or DataFrame
        ``cv_results_``, also after a CSV file has made text of its dicts.
    space : Space
        The search space, with names.
    needed : sequence of str
        Columns that must be there.
    name : str, default="initial_results"
        The parameter that gave them, for messages.

    Returns
    -------
    dict
        Columns of equal length; ``params`` in the space are written as the space writes them.

    Raises
    ------
    ValueError
        If they are no results, lack a column, or are those of other parameters.
    TypeError
        If they are of another kind.
    """
    if column_names(results) is not None:
        results = {str(key): column for key, column in columns_of(results).items()}
    if not isinstance(results, Mapping):
        reject(name, _ACCEPTED, results, kind=TypeError)
    lengths = {key: len(column) for key, column in results.items()}
    if "params" not in results:
        reject(name, "results with a column 'params'", [*results])
    if len(set(lengths.values())) != 1:
        reject(name, "results whose columns are of one length", lengths)
    missing = [column for column in needed if column not in results]
    if missing:
        known = [key for key in results if key.startswith("mean_")]
        reject(name, f"results with the columns {missing}", known)
    candidates = [_read_candidate(p, space.name_sets, name) for p in results["params"]]
    n_evaluated = results.get(N_EVALUATED, np.full(len(candidates), np.nan))  # NaN: on all splits
    params = _canonical(candidates, space, name)
    return {**results, "params": params, N_EVALUATED: n_evaluated}


def _read_candidate(params: Any, names: Sequence[tuple[str, ...]], name: str) -> dict[str, Any]:
    if isinstance(params, str):
        text = params
        while (shorter := _NUMPY_BOOL.sub(r"\1", _NUMPY_CALL.sub(r"\1", text))) != text:
            text = shorter
        try:
            params = ast.literal_eval(re.sub(r"(?<=: )(nan|NaN|<NA>)\b", "None", text))
        except (SyntaxError, ValueError):
            hint = "Its params are text: keep them as dicts, or in a file that results_file names."
            reject(name, "results whose params are dicts", params, hint=hint)
    if not isinstance(params, Mapping):
        reject(name, "results whose params are dicts", params, kind=TypeError)
    if not any(set(params) == set(own) for own in names):
        accepted = " or ".join(str(list(own)) for own in dict.fromkeys(names))
        reject(name, f"results of the parameters {accepted}", sorted(map(str, params)))
    return dict(params)


def _canonical(candidates: list[dict[str, Any]], space: Space, name: str) -> list[dict[str, Any]]:
    """Candidates as the space writes them; those outside of it stay as they are."""
    outside = []
    for i, candidate in enumerate(candidates):
        try:
            (candidates[i],) = space.canonical([candidate])
        except (TypeError, ValueError) as error:
            outside.append(str(error))
    if outside:
        warnings.warn(
            f"{len(outside)} of {len(candidates)} candidates of {name} are outside of the search "
            f"space ({outside[0]}) They stay in cv_results_, but the search does not learn from "
            "them.",
            UserWarning,
            stacklevel=6,
        )
    return candidates


def joined(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Results one after the other, as far as they have the same columns; None for none."""
    if not tables:
        return None
    keys = [key for key in tables[0] if all(key in table for table in tables)]
    return {key: [value for table in tables for value in table[key]] for key in keys}


def check_columns(
    results: Mapping[str, Any], needed: Sequence[str], name: str = "initial_results"
) -> None:
    """Raise unless earlier results have the columns that new ones will have, as numbers."""
    for key in needed:
        if key not in results:
            hint = "Continue a search with the metrics and the cv that it was begun with."
            reject(name, f"a mapping with a column {key!r}", [*results], hint=hint)
        as_float_array(results[key], f"{name}[{key!r}]", ndim=1)


def counts(column: Any, n_splits: int) -> Any:
    """Splits on which earlier candidates were evaluated, as int."""
    known = as_float_array(column, f"initial_results[{N_EVALUATED!r}]", ndim=1)
    return np.where(np.isnan(known), n_splits, known).astype(np.int64)


def prepend(earlier: Mapping[str, Any], results: dict[str, Any], n_splits: int) -> dict[str, Any]:
    """Earlier rows, then new ones; only columns of the new search, ranks are left to the caller."""
    params = [*map(dict, earlier["params"]), *results["params"]]
    is_number = [k for k in results if k != "params" and not k.startswith(("param_", "rank_"))]
    check_columns(earlier, is_number)
    joined: dict[str, Any] = {}
    for key, column in results.items():
        if key == "params":
            for name in dict.fromkeys(name for candidate in params for name in candidate):
                joined[f"param_{name}"] = _masked_column(params, name)
            joined[key] = params
        elif key.startswith("param_"):
            continue  # written with ``params``
        elif key == N_EVALUATED:
            joined[key] = np.concatenate([counts(earlier[key], n_splits), column])
        elif key in is_number:
            old = as_float_array(earlier[key], f"initial_results[{key!r}]")
            joined[key] = np.concatenate([old, np.asarray(column)])
        else:
            joined[key] = column
    return joined


def _masked_column(params: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The values of a parameter as scikit-learn keeps them, masked where it has none."""
    rows = [i for i, candidate in enumerate(params) if name in candidate]
    values = [params[i][name] for i in rows]
    kinds = {type(value) for value in values}
    is_plain = len(kinds) == 1 and kinds < {bool, int, float} | {np.float64, np.int64}
    column = np.ma.masked_all(len(params), dtype=np.array(values).dtype if is_plain else object)
    for i, value in zip(rows, values, strict=True):
        column[i] = value
    return column


def rank(mean: Any, is_complete: Any) -> Any:
    """As scikit-learn ranks: the largest is 1, NaN ties with the worst; the complete come first."""
    if np.isnan(mean).all():
        return np.ones(len(mean), dtype=np.int32)
    span = np.nanmax(mean) - np.nanmin(mean) + 1
    mean = np.where(is_complete, mean, mean - span)
    filled = np.where(np.isnan(mean), np.nanmin(mean) - 1, mean)
    return rankdata(-filled, method="min").astype(np.int32, copy=False)
