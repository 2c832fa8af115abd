"""What a call costs, and the cost weight that meets a budget.

utility_k(x) = quality_k(x) - cost_weight * cost_k(x)

==  ==========================================================
q   (n, K) predicted quality
c   (n, K) expected cost of a call
w   cost weight, not negative; the mean cost never grows with it
==  ==========================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lookahead_sk._token_price import TokenPrice
from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import Words, check_float, reject
from lookahead_sk.metrics._cost_quality import route
from lookahead_sk.metrics._tables import read_prices, read_token_prices
from lookahead_sk.routing._checks import check_cost_unit, check_fallback
from lookahead_sk.routing._predictor import Prediction


def expected_costs(prediction: Prediction, costs: Any, cost_unit: str) -> FloatArray:
    """Cost (n, K) of calling every model.

    Parameters
    ----------
    prediction : Prediction
        Of n prompts.
    costs, cost_unit : object
        Parameters of the router.

    Raises
    ------
    ValueError
        If the prices do not fit, or the lengths that the unit needs are not predicted.
    """
    names = prediction.classes.tolist()
    token_prices = read_token_prices(costs, names)
    if token_prices is not None:
        return _token_costs(prediction, token_prices, cost_unit)
    prices = read_prices(costs, names)
    if check_cost_unit(cost_unit) == "call":
        return np.broadcast_to(prices, prediction.quality.shape)
    return prices * _known_lengths(prediction)


def _token_costs(prediction: Prediction, prices: list[TokenPrice], cost_unit: str) -> FloatArray:
    """Tokens of the prompts, counted, and of the responses, predicted, times their prices."""
    if check_cost_unit(cost_unit) == "call":
        reject("cost_unit", "'length' where costs are TokenPrices", cost_unit)
    if prediction.characters is None:
        reject("X", "texts where costs are TokenPrices: their tokens are counted", Words("numbers"))
    written = _known_lengths(prediction)
    columns = [
        price.cost(prediction.characters / price.characters_per_token, written[:, k])
        for k, price in enumerate(prices)
    ]
    return np.stack(columns, axis=1)


def _known_lengths(prediction: Prediction) -> FloatArray:
    """Predicted lengths (n, K), of every model."""
    classes, lengths = prediction.classes, prediction.lengths()
    if lengths is None:
        raise ValueError(
            "cost_unit='length' needs a router that was fitted with responses, "
            "response_weight > 0 and, where there is one, descriptor_weight > 0."
        )
    if np.isnan(lengths).any():
        unknown = classes[np.isnan(lengths).any(axis=0)].tolist()
        raise ValueError(
            f"cost_unit='length' needs response lengths of every model; {unknown} came without."
        )
    return lengths


def with_fallback(
    prediction: Prediction, costs: FloatArray, fallback: Any, novelty_level: float
) -> tuple[FloatArray, FloatArray]:
    """Quality and costs by which novel prompts have no choice but the fallback."""
    column = check_fallback(fallback, prediction.classes.tolist())
    is_novel = prediction.novelty_p_values() <= novelty_level
    quality, costs = prediction.quality.copy(), costs.copy()
    quality[is_novel] = quality[is_novel, column, None]
    costs[is_novel] = costs[is_novel, column, None]
    others = np.ix_(is_novel, np.arange(quality.shape[1]) != column)
    # Worse at the same cost: no cost weight prefers them.
    quality[others] -= np.maximum(1.0, np.abs(quality[others]))
    return quality, costs


def switch_weights(quality: FloatArray, costs: FloatArray) -> FloatArray:
    """Cost weights above 0 at which some prompt changes its model, at most K - 1 a prompt.

    The utility of a model falls with the weight along a line; the best of K lines is followed from
    weight 0 on, from each line to the cheaper one that crosses it first.
    """
    current, active = route(quality, costs, 0.0), np.arange(len(quality))
    found = [np.empty(0)]
    while len(active):
        q, c, own = quality[active], costs[active], current[active][:, None]
        saved = np.take_along_axis(c, own, axis=1) - c
        lost = np.take_along_axis(q, own, axis=1) - q
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where(saved > 0, lost / saved, np.inf)
        first = weights.min(axis=1)
        cheapest = np.where(weights <= first[:, None], c, np.inf).argmin(axis=1)
        goes_on = np.isfinite(first)
        active = active[goes_on]
        current[active] = cheapest[goes_on]
        found.append(first[goes_on])
    switches = np.concatenate(found)
    return switches[switches > 0]


def mean_cost(quality: FloatArray, costs: FloatArray, weight: float) -> float:
    """Mean cost of the models that `route` chooses at a cost weight."""
    chosen = route(quality, costs, weight)
    return float(costs[np.arange(len(costs)), chosen].mean())


def weight_for_budget(quality: FloatArray, costs: FloatArray, budget: float) -> float:
    """Smallest cost weight whose choices cost no more than a budget on average.

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
    The mean cost is a step function of the weight that changes only where some prompt changes its
    model. There are at most n (K - 1) such weights, see `switch_weights`; they are sorted and
    bisected: O(n K^2) time, O(n K) memory.
    """
    budget = check_float(budget, "budget")
    least = float(costs.min(axis=1).mean())
    if budget < least - 1e-12 * max(1.0, abs(least)):
        reject("budget", f"at least {least:g}, the mean cost of the cheapest models", budget)
    if mean_cost(quality, costs, 0.0) <= budget:
        return 0.0
    ties = np.unique(switch_weights(quality, costs))
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
