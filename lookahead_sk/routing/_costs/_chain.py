"""A chain of calls: call a model, judge its answer, call another one where that promises more.

=======  ============================================================================
Q_m      (n, K) quality after m answers were judged
c        (n, K) expected cost of a call, w its weight
gain_m   (n,) max over models not called of Q_m - w c, less max over those called of Q_m
=======  ============================================================================

A chain with threshold t stops after the first m with gain_m <= t, and keeps the answer of the
largest Q_m among the models called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lookahead_sk._typing import BoolArray, FloatArray, IntArray

N_THRESHOLDS = 101  # that a certificate tests in turn


class Step(NamedTuple):
    """Where a chain stands after some answers."""

    kept: IntArray  # (n,), the best model among those called
    following: IntArray  # (n,), the best among the others
    gain: FloatArray  # (n,), that it promises; -inf where there is none


def step(quality: FloatArray, weighted_costs: FloatArray, called: BoolArray) -> Step:
    """What to keep and what to call next; every prompt has a call (n, K)."""
    kept = np.where(called, quality, -np.inf).argmax(axis=1)
    promised = np.where(called, -np.inf, quality - weighted_costs)
    following = promised.argmax(axis=1)
    rows = np.arange(len(kept))
    return Step(kept, following, promised[rows, following] - quality[rows, kept])


class Chain(NamedTuple):
    """Chains that never stopped, of M calls: what a threshold would have made of them."""

    called: IntArray  # (n, M), in order
    kept: IntArray  # (n, M), the answer kept after each call
    gains: FloatArray  # (n, M), that a further call promises; -inf after the last
    costs: FloatArray  # (n, M), of the calls so far

    def n_calls(self, threshold: float) -> IntArray:
        """Calls (n,) before a chain stops."""
        return 1 + (self.gains <= threshold).argmax(axis=1)

    def chosen(self, threshold: float) -> IntArray:
        """The model (n,) whose answer is kept."""
        chosen: IntArray = self._at(self.kept, threshold)
        return chosen

    def mean_cost(self, threshold: float) -> float:
        """Mean cost of a chain."""
        return float(self._at(self.costs, threshold).mean())

    def _at(self, values: npt.NDArray[Any], threshold: float) -> npt.NDArray[Any]:
        last = self.n_calls(threshold)[:, None] - 1
        return np.take_along_axis(values, last, axis=1)[:, 0]


def follow(
    first: IntArray,
    judge: Callable[[BoolArray], FloatArray],
    costs: FloatArray,
    cost_weight: float,
    max_calls: int,
) -> Chain:
    """Play chains without a stop, on recorded answers.

    Parameters
    ----------
    first : ndarray of shape (n,)
        Models called first.
    judge : callable
        Quality (n, K) once the answers of some models (n, K) were seen.
    costs : ndarray of shape (n, K)
        Of every call.
    cost_weight : float
        What a unit of cost is worth in score.
    max_calls : int
        M, at most K.
    """
    rows, n_models = np.arange(len(first)), costs.shape[1]
    called = np.eye(n_models, dtype=bool)[first]
    order, kept, gains = [first], [], []
    for m in range(1, max_calls + 1):
        found = step(judge(called), cost_weight * costs, called)
        kept.append(found.kept)
        gains.append(found.gain if m < max_calls else np.full(len(first), -np.inf))
        if m < max_calls:
            order.append(found.following)
            called = called.copy()
            called[rows, found.following] = True
    spent = np.cumsum([costs[rows, column] for column in order], axis=0).T
    return Chain(np.stack(order, 1), np.stack(kept, 1), np.stack(gains, 1), spent)


def threshold_for_budget(chain: Chain, budget: float) -> float | None:
    """Smallest threshold whose chains cost no more on average; None where none does."""
    gains = chain.gains[:, :-1]
    thresholds = np.unique(np.append(gains, gains.min(initial=0.0) - 1.0))
    low, high = 0, len(thresholds) - 1
    if chain.mean_cost(thresholds[high]) > budget:
        return None
    while low < high:  # the mean cost never grows with the threshold
        middle = (low + high) // 2
        if chain.mean_cost(thresholds[middle]) <= budget:
            high = middle
        else:
            low = middle + 1
    return float(thresholds[low])


def fixed_thresholds(score_range: tuple[float, float]) -> FloatArray:
    """Thresholds of a certificate, from "always call again" to "never", whatever the data."""
    width = score_range[1] - score_range[0] or 1.0
    inner = np.linspace(-0.5, 0.5, N_THRESHOLDS - 2) * width
    return np.concatenate([[-1e300], inner, [1e300]])
