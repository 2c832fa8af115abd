"""Logs of traffic in which one model was called for each prompt, checked and brought to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._typing import BoolArray, FloatArray, IntArray
from lookahead_sk._validation import Words, as_float_array, check_float, reject
from lookahead_sk.audit._estimators import importance_weights
from lookahead_sk.audit._propensities import estimate_propensities
from lookahead_sk.metrics._tables import (
    by_name,
    column_names,
    in_order,
    read_choice,
    read_prices,
    read_scores,
)


class Logged(NamedTuple):
    """n rows of a log, each a call of one of K models."""

    names: list[Any]  # of the models
    kept: IntArray  # (n,), rows of what was given that have a score
    called: IntArray  # (n,)
    scores: FloatArray  # (n,)
    costs: FloatArray | None  # (n,)
    propensities: FloatArray  # (n,), of the calls
    all_propensities: FloatArray | None  # (n, K), where they are known
    quality: FloatArray | None  # (n, K), predicted
    expected_costs: FloatArray | None  # (n, K)
    n_given: int
    notes: list[str]

    @property
    def n_models(self) -> int:
        return len(self.names)

    def weights(self, policy: FloatArray) -> FloatArray:
        """Importance weights (n,) of a policy (n, K)."""
        return importance_weights(policy, self.called, self.propensities)


def read_logged(
    scores: Any,
    *,
    costs: Any,
    propensities: Any,
    X: Any,
    called: Any,
    quality: Any,
    expected_costs: Any,
    models: Sequence[Any] | None,
    min_propensity: float,
) -> Logged:
    """Check a log and bring it to arrays; parameters as in `audit_routing`."""
    table, names = read_scores(scores, models=models)
    labels = list(range(table.shape[1])) if names is None else names
    was_called = _read_called(called, table)
    kept = np.flatnonzero(~np.isnan(table).all(axis=1))
    notes = []
    if len(kept) < len(table):
        notes.append(f"{len(table) - len(kept)} calls without a score are left out.")
    column = was_called.argmax(axis=1)[kept]
    own, every = _read_propensities(propensities, X, was_called, kept, column, min_propensity)
    if propensities is None:
        n_clipped = int((every[np.arange(len(kept)), column] < min_propensity).sum())
        notes.append("Propensities were estimated: what the log's rule saw must be in X.")
        if n_clipped:
            notes.append(f"{n_clipped} estimated propensities were raised to {min_propensity:g}.")
    own_costs, prices = _read_costs(costs, expected_costs, table.shape, labels, kept, column)
    predicted = None if quality is None else _full(quality, "quality", table.shape, names)[kept]
    scored = table[kept, column]
    return Logged(
        labels, kept, column, scored, own_costs, own, every, predicted, prices, len(table), notes
    )


def _read_called(called: Any, table: FloatArray) -> BoolArray:
    """Which model was called, (n, K), one in each row that has a score."""
    is_scored = ~np.isnan(table)
    was_called = is_scored if called is None else np.asarray(called, dtype=bool)
    if was_called.shape != table.shape:
        reject("called", f"of shape {table.shape}", Words(f"shape {was_called.shape}"))
    counts = was_called.sum(axis=1)
    odd = np.flatnonzero((is_scored & ~was_called).any(axis=1) | (counts > 1))
    if len(odd):
        hint = "load_routing(..., duplicates='keep') leaves every call its row."
        row = int(odd[0])
        got = Words(f"{int(max(counts[row], is_scored[row].sum()))} in row {row}")
        reject("scores", "a log with the score of one called model in each row", got, hint=hint)
    if not is_scored.any():
        reject("scores", "observed in some row", Words("NaN throughout"))
    return was_called


def _read_propensities(
    given: Any,
    X: Any,
    called: BoolArray,
    kept: IntArray,
    column: IntArray,
    floor: float,
) -> tuple[FloatArray, Any]:
    """Propensities (n,) of the calls, and those of all models (n, K) or None."""
    rows = np.arange(len(kept))
    if given is None:
        if X is None:
            hint = "Otherwise give X, what the rule saw, to estimate them."
            reject("propensities", "logged", None, hint=hint)
        if len(X) != len(called):
            reject("X", f"of {len(called)} rows", Words(f"{len(X)} rows"))
        seen = np.flatnonzero(called.any(axis=1))
        inputs = list(X)
        every = np.full(called.shape, np.nan)
        every[seen] = estimate_propensities([inputs[i] for i in seen], called[seen])
        return np.maximum(every[kept][rows, column], floor), every[kept]
    values = as_float_array(given, "propensities")
    if values.shape not in (called.shape, called.shape[:1]):
        accepted = f"of shape {called.shape} or {called.shape[:1]}"
        reject("propensities", accepted, Words(f"shape {values.shape}"))
    values = values[kept]
    own = values if values.ndim == 1 else values[rows, column]
    odd = own[~((own > 0) & (own <= 1))]  # NaN too
    if len(odd):
        reject("propensities", "in (0, 1] for every call", float(odd[0]))
    return own, None if values.ndim == 1 or np.isnan(values).any() else values


def _read_costs(
    costs: Any,
    expected: Any,
    shape: tuple[int, int],
    names: list[Any],
    kept: IntArray,
    column: IntArray,
) -> tuple[FloatArray | None, FloatArray | None]:
    """Cost (n,) of the calls, and the expected cost (n, K) of every model."""
    if costs is None:
        return None, None
    if by_name(costs, names) is not None or np.ndim(costs) == 1:
        table = np.broadcast_to(read_prices(costs, names), shape)
    else:
        table, _ = read_scores(costs, "costs", names if column_names(costs) is not None else None)
    if table.shape != shape:
        reject("costs", f"of shape {shape} or ({shape[1]},)", Words(f"shape {table.shape}"))
    own = table[kept, column]
    n_odd = int((~(np.isfinite(own) & (own >= 0))).sum())
    if n_odd:
        reject("costs", "known and not negative for every call", Words(f"{n_odd} that are not"))
    if expected is not None:
        return own, _full(expected, "expected_costs", shape, names)[kept]
    means = np.array(
        [own[column == k].mean() if (column == k).any() else own.mean() for k in range(shape[1])]
    )
    known = table[kept]
    return own, known if not np.isnan(known).any() else np.broadcast_to(means, known.shape)


def _full(values: Any, name: str, shape: tuple[int, int], names: list[Any] | None) -> FloatArray:
    """A table (n, K) without NaN, in the order of the models."""
    named = names is not None and column_names(values) is not None
    table, _ = read_scores(in_order(values, names or [], name) if named else values, name)
    if table.shape != shape or np.isnan(table).any():
        reject(name, f"of shape {shape} without NaN", Words(f"shape {table.shape}"))
    return table


def read_policies(policies: Any, logged: Logged, X: Any) -> dict[str, FloatArray]:
    """Every policy as probabilities (n, K) of the rows that are kept."""
    if not isinstance(policies, Mapping) or not policies:
        accepted = "a mapping of name to router, choices or probabilities"
        reject("policies", accepted, policies, kind=TypeError)
    return {
        str(name): _read_policy(policy, str(name), logged, X) for name, policy in policies.items()
    }


def _read_policy(policy: Any, name: str, logged: Logged, X: Any) -> FloatArray:
    where = f"policies[{name!r}]"
    if hasattr(policy, "predict"):
        if X is None:
            reject("X", f"given, since {where} is a router", None)
        policy = policy.predict(X)
    n, n_models = logged.n_given, logged.n_models
    if np.ndim(policy) < 2:
        chosen = read_choice(policy, n, logged.names, n_models, where)
        return np.eye(n_models)[chosen[logged.kept]]
    named = column_names(policy) is not None
    table = as_float_array(in_order(policy, logged.names, where) if named else policy, where)
    is_share = np.isfinite(table).all() and (table >= 0).all()
    if table.shape != (n, n_models) or not is_share or not np.allclose(table.sum(axis=1), 1):
        accepted = f"choices ({n},), or probabilities ({n}, {n_models}) whose rows sum to 1"
        reject(where, accepted, Words(f"shape {table.shape}"))
    return table[logged.kept]


def check_level(level: Any) -> float:
    """A confidence level."""
    return check_float(level, "level", 0, 1, closed="neither")
