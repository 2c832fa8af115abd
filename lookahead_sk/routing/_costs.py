"""What a call costs, and the cost weight that meets a budget.

utility_k(x) = quality_k(x) - cost_weight * cost_k(x)

==  ==========================================================
q   (n, K) predicted quality
c   (n, K) expected cost of a call
w   cost weight, not negative; the mean cost never grows with it
==  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lookahead_sk._cost_quality import route, tie_weights
from lookahead_sk._validation import as_float_array, check_float, reject

Floats = npt.NDArray[np.float64]


def read_costs(costs: Any, classes: npt.NDArray[Any]) -> Floats:
    """Prices of the models in the order of ``classes``; zeros when there are none.

    Raises
    ------
    ValueError
        If a model has no price, or a price is not finite.
    """
    if costs is None:
        return np.zeros(len(classes))
    names = classes.tolist()
    given = costs
    if hasattr(costs, "index") and hasattr(costs, "to_dict"):  # a Series, by name where it has them
        by_name = costs.to_dict()
        costs = by_name if all(name in by_name for name in names) else costs.to_numpy()
    if isinstance(costs, Mapping):
        if any(name not in costs for name in names):
            reject("costs", f"a mapping with a cost for each of {names}", costs)
        costs = [costs[name] for name in names]
    array = as_float_array(costs, "costs")
    if array.shape != (len(names),) or not np.isfinite(array).all():
        reject("costs", f"{len(names)} finite numbers, one per model", given)
    return array


def mean_cost(quality: Floats, costs: Floats, weight: float) -> float:
    """Mean cost of the models that `route` chooses at a cost weight."""
    chosen = route(quality, costs, weight)
    return float(costs[np.arange(len(costs)), chosen].mean())


def weight_for_budget(quality: Floats, costs: Floats, budget: float) -> float:
    """Smallest cost weight whose choices cost no more than a budget in the mean.

    Parameters
    ----------
    quality : ndarray of shape (n, K)
        Predicted quality of the prompts at hand.
    costs : ndarray of shape (n, K)
        Expected cost of every call.
    budget : float
        Mean cost a prompt that is allowed.

    Returns
    -------
    float
        0 where the best models fit the budget.

    Raises
    ------
    ValueError
        If even the cheapest models cost more.

    Notes
    -----
    The mean cost is a step function of the weight that changes only where some prompt is
    indifferent between two models; those weights are sorted and bisected: O(n K^2 log n).
    """
    budget = check_float(budget, "budget")
    least = float(costs.min(axis=1).mean())
    if budget < least - 1e-12 * max(1.0, abs(least)):
        reject("budget", f"at least {least:g}, the mean cost of the cheapest models", budget)
    if mean_cost(quality, costs, 0.0) <= budget:
        return 0.0
    ties = np.unique(tie_weights(quality, costs))
    steps = np.append(ties, 2 * ties.max(initial=0.0) + 1)
    steps = steps * (1 + 1e-9)  # just beyond a tie, so that the cheaper model has won it
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        if mean_cost(quality, costs, steps[middle]) <= budget:
            high = middle
        else:
            low = middle + 1
    return float(steps[low])
