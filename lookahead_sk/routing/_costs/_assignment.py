"""Choices that depend on more than one prompt: capacities of models, and conversations they serve.

==  ==============================================================================================
u   (n, K) utility of every model on every prompt
L   (L, K) groups of models that share a limit: a model alone, or all arms "model@effort" of one
m   (L,) prompts of the batch that a group may take
x   (n, K) 1 where a prompt goes to a model
==  ==============================================================================================

With limits: maximise sum u x with every row of x summing to 1 and every group to at most m. Groups
are disjoint or lie in each other, so the matrix of the constraints is totally unimodular: vertices
of the linear programme are whole numbers, and a simplex method ends in a vertex.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from lookahead_sk._token_price import TokenPrice
from lookahead_sk._typing import BoolArray, FloatArray, IntArray
from lookahead_sk._validation import Words, as_float_array, check_float, is_missing, reject
from lookahead_sk.metrics._tables import by_name, model_of, read_token_prices


class Limits(NamedTuple):
    """Prompts (L,) that groups (L, K) of models may take."""

    groups: BoolArray
    most: IntArray


def assign(utility: FloatArray, limits: Limits) -> IntArray:
    """Column (n,) for each row of the largest total utility that keeps the limits."""
    n, n_models = utility.shape
    of_row = sp.kron(sp.eye_array(n), np.ones((1, n_models)), format="csr")
    of_group = sp.kron(np.ones((1, n)), limits.groups.astype(np.float64), format="csr")
    solved = linprog(
        -utility.ravel(),
        A_ub=of_group,
        b_ub=limits.most,
        A_eq=of_row,
        b_eq=np.ones(n),
        bounds=(0, None),
        method="highs-ds",
    )
    if solved.status == 2:
        reject("capacity", f"enough for the batch of {n} prompts", Words("less"))
    if solved.x is None:
        raise RuntimeError(f"The linear programme was not solved. ({solved.message})")
    found: IntArray = solved.x.reshape(n, n_models).argmax(axis=1)
    return found


def read_capacity(capacity: Any, names: list[Any], n: int) -> Limits:
    """Limits of a batch of n prompts, from shares of it; of models, or of all their arms."""
    shares = by_name(capacity, names)
    if shares is None:
        listed = as_float_array(capacity, "capacity", ndim=1).tolist()
        if len(listed) != len(names):
            reject("capacity", f"a share for each of the {len(names)} models", capacity)
        shares = dict(zip(names, listed, strict=True))
    groups, most = [], []
    for key, share in shares.items():
        group = [name == key or (key not in names and model_of(name) == key) for name in names]
        if not any(group):
            reject("capacity", f"of models among {names}", key)
        groups.append(group)
        most.append(np.floor(check_float(share, "capacity", 0, 1) * n + 1e-9))
    if not groups:
        reject("capacity", "a share for some model", capacity)
    return Limits(np.array(groups, dtype=bool), np.array(most, dtype=np.intp))


def read_current(current: Any, names: list[Any], n: int) -> IntArray:
    """Column (n,) of the model that serves each conversation; -1 where there is none."""
    is_one = isinstance(current, str) or not hasattr(current, "__len__")
    listed = [current] * n if is_one else list(current)
    if len(listed) != n:
        reject("current", f"one model, or None, for each of {n} prompts", Words(f"{len(listed)}"))
    column = {name: k for k, name in enumerate(names)}
    unknown = [name for name in listed if not is_missing(name) and name not in column]
    if unknown:
        reject("current", f"None or one of {names}", unknown[0])
    return np.array([-1 if is_missing(name) else column[name] for name in listed], dtype=np.intp)


def with_switching(
    costs: FloatArray,
    current: IntArray,
    switch_cost: Any,
    prices: Any,
    names: list[Any],
    context: FloatArray | None,
) -> FloatArray:
    """Costs (n, K) that know who serves each conversation.

    Parameters
    ----------
    costs : ndarray of shape (n, K)
        Of calls that read everything anew.
    current : ndarray of shape (n,)
        Column of the serving model, -1 where there is none.
    switch_cost : float or array-like of shape (n,), or None
        Added to all other models. With None, token prices tell it: the serving model reads the
        context at the price of cached tokens.
    prices : object
        Parameter ``costs`` of the router.
    names : list
        Models.
    context : ndarray of shape (n,) or None
        Characters of each conversation but for its last message.
    """
    costs, rows = costs.copy(), np.flatnonzero(current >= 0)
    of = [model_of(name) for name in names]
    models = np.array([of.index(model) for model in of])  # arms of a model share its cache
    if switch_cost is not None:
        added = as_float_array(switch_cost, "switch_cost")
        if added.shape not in ((), (len(costs),)) or not (np.isfinite(added) & (added >= 0)).all():
            accepted = f"a finite number that is not negative, or {len(costs)} of them"
            reject("switch_cost", accepted, switch_cost)
        others = models != models[current[rows], None]
        costs[rows] += np.broadcast_to(added, len(costs))[rows, None] * others
        return costs
    tokens = read_token_prices(prices, names)
    if tokens is None or context is None:
        accepted = "given, unless costs are TokenPrices and X are conversations"
        reject("switch_cost", accepted, None)
    for k, price in enumerate(tokens):
        served = rows[models[current[rows]] == models[k]]
        costs[served, k] -= _cached_saving(price, context[served])
    return costs


def _cached_saving(price: TokenPrice, characters: FloatArray) -> FloatArray:
    """By how much a context is cheaper where the provider has it in its cache."""
    tokens = characters / price.characters_per_token
    saving: FloatArray = price.cost(tokens, 0.0) - price.cost(tokens, 0.0, tokens)
    return saving
