"""Results of an earlier search, continued by a later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from lookahead_sk._validation import reject


def check_results(results: Any, needed: Sequence[str]) -> None:
    """Raise unless this looks like ``cv_results_`` and has the columns that are needed."""
    accepted = "the cv_results_ of a search, or None"
    if not isinstance(results, Mapping):
        reject("initial_results", accepted, results, kind=TypeError)
    lengths = {len(column) for column in results.values()}
    if "params" not in results or len(lengths) != 1:
        reject("initial_results", accepted, sorted(map(str, results)))
    missing = [column for column in needed if column not in results]
    if missing:
        known = [key for key in results if key.startswith("mean_")]
        reject("initial_results", f"results with the columns {missing}", known)


def prepend(earlier: Mapping[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Earlier rows, then new ones; only columns of the new search, ranks over all rows."""
    n_earlier, n_new = len(earlier["params"]), len(results["params"])
    joined: dict[str, Any] = {}
    for key, column in results.items():
        if key == "params":
            joined[key] = [*earlier["params"], *column]
        elif key.startswith("param_"):
            old = earlier.get(key, np.ma.masked_all(n_earlier, dtype=object))
            joined[key] = _join_masked(old, column, n_earlier + n_new)
        elif key in earlier:
            joined[key] = np.concatenate([np.asarray(earlier[key]), np.asarray(column)])
        else:
            hint = "Continue a search with the metrics and the cv that it was begun with."
            reject("initial_results", f"a mapping with a column {key!r}", [*earlier], hint=hint)
    for key in [key for key in joined if key.startswith("rank_test_")]:
        joined[key] = _rank(joined[key.replace("rank_", "mean_", 1)])
    return joined


def _join_masked(first: Any, second: Any, n: int) -> Any:
    is_same = np.asarray(first).dtype == np.asarray(second).dtype
    joined = np.ma.masked_all(n, dtype=np.asarray(second).dtype if is_same else object)
    for start, part in ((0, np.ma.asarray(first)), (len(first), np.ma.asarray(second))):
        for i in np.flatnonzero(~np.ma.getmaskarray(part)):
            joined[start + i] = part[i]
    return joined


def _rank(mean: Any) -> Any:
    """As scikit-learn ranks: the largest is 1, NaN ties with the worst."""
    if np.isnan(mean).all():
        return np.ones(len(mean), dtype=np.int32)
    filled = np.where(np.isnan(mean), np.nanmin(mean) - 1, mean)
    return rankdata(-filled, method="min").astype(np.int32, copy=False)
