"""Quality against cost: the curve, the area under it, and scorers that weigh the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import make_scorer

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import Words, as_float_array, check_float, check_int, reject
from lookahead_sk.metrics._tables import (
    by_name,
    read_choice,
    read_costs,
    read_prices,
    read_scores,
    read_weights,
)


class CostQualityCurve(NamedTuple):
    """Mean cost and mean score of a router at every cost weight, by growing cost."""

    costs: FloatArray
    qualities: FloatArray
    weights: FloatArray


def tie_weights(quality: FloatArray, costs: FloatArray) -> FloatArray:
    """Cost weights above 0 at which a prompt is indifferent between a model and a cheaper one."""
    first, second = np.triu_indices(quality.shape[1], k=1)
    gap = costs[:, first] - costs[:, second]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = (quality[:, first] - quality[:, second]) / gap
    found: FloatArray = weights[np.isfinite(weights) & (weights > 0)]
    return found


def route(quality: FloatArray, costs: FloatArray, weight: float) -> IntArray:
    """Column of the highest utility of every prompt, the cheapest one among equals."""
    utility = quality - weight * costs
    is_best = utility >= utility.max(axis=1, keepdims=True)
    return np.where(is_best, costs, np.inf).argmin(axis=1)


def cost_quality_curve(
    scores: Any,
    quality: Any,
    costs: Any,
    *,
    weights: Any = None,
    n_weights: int = 100,
    sample_weight: Any = None,
) -> CostQualityCurve:
    r"""Mean score against mean cost as the weight of the costs grows.

    At cost weight :math:`w`, a prompt goes to the model of highest utility :math:`q_k - w c_k`,
    with the quality :math:`q_k` that the router predicts; the curve shows the true scores.

    Parameters
    ----------
    scores : array-like or DataFrame of shape (n, K)
        True score of every model on every prompt, NaN where not observed.
    quality : array-like or DataFrame of shape (n, K)
        Predicted quality, for instance ``router.predict_quality(X)``, in the units of the scores.
    costs : array-like of shape (K,) or (n, K), mapping of model to cost, Series or DataFrame
        Cost of a call of every model, the same for all prompts or for each one. What has names
        goes by them, and needs scores with names.
    weights : array-like of shape (m,), default=None
        Cost weights, not negative; None takes 0, quantiles of the weights at which some prompt
        changes its model, and one at which every prompt has gone to a cheapest model.
    n_weights : int, default=100
        How many weights are made when they are not given.
    sample_weight : array-like of shape (n,), default=None
        Weights of the prompts.

    Returns
    -------
    CostQualityCurve
        ``costs``, ``qualities`` and ``weights``, each of shape (m,), in order of growing cost,
        that is of falling weight. Costs are means over all prompts, qualities over the prompts on
        which the chosen model was observed.

    Raises
    ------
    ValueError
        If shapes do not fit, or a weight or a cost is negative or not finite.

    Notes
    -----
    The mean cost never grows with the weight. O(m n K).

    Examples
    --------
    >>> from lookahead_sk.metrics import cost_quality_curve
    >>> scores = [[0.0, 1.0], [1.0, 1.0]]
    >>> curve = cost_quality_curve(scores, scores, [1.0, 3.0], weights=[0.0, 1.0])
    >>> curve.costs.tolist(), curve.qualities.tolist()
    ([1.0, 2.0], [0.5, 1.0])
    """
    table, names = read_scores(scores)
    predicted, _ = read_scores(quality, "quality", names)
    if predicted.shape != table.shape or np.isnan(predicted).any():
        reject("quality", f"of shape {table.shape} without NaN", Words(f"shape {predicted.shape}"))
    prices = read_costs(costs, table.shape, names)
    importance = read_weights(sample_weight, len(table))
    n_weights = check_int(n_weights, "n_weights", low=2, closed="left")
    if weights is None:
        found = np.append(tie_weights(predicted, prices), 0.0)
        inner = np.quantile(found, np.linspace(0, 1, n_weights - 1))
        sweep = np.append(inner, 2 * found.max() + 1)
    else:
        sweep = as_float_array(weights, "weights", ndim=1)
    if not (len(sweep) and np.isfinite(sweep).all() and (sweep >= 0).all()):
        reject("weights", "a list of finite numbers that are not negative", weights)
    sweep = np.sort(sweep)[::-1]
    rows, points = np.arange(len(table)), []
    for weight in sweep:
        choice = route(predicted, prices, weight)
        reward, seen = table[rows, choice], ~np.isnan(table[rows, choice])
        if not importance[seen].sum() > 0:
            reject(
                "scores", "observed for the chosen model on some prompt", Words("NaN throughout")
            )
        quality_here = np.average(reward[seen], weights=importance[seen])
        points.append((np.average(prices[rows, choice], weights=importance), quality_here))
    mean_costs, qualities = np.array(points).T
    return CostQualityCurve(mean_costs, qualities, sweep)


def area_under_cost_quality(
    costs: Any, qualities: Any, *, cost_range: tuple[float, float] | None = None
) -> float:
    r"""Mean quality of a cost-quality curve over evenly spread budgets.

    .. math:: \frac{1}{c_1 - c_0} \int_{c_0}^{c_1} Q(b)\, db

    :math:`Q(b)` is the quality that a mean budget of :math:`b` buys: between two points of the
    curve the straight line, which is reached by tossing a coin between them; to the right of the
    most expensive point its quality, since more money buys nothing.

    Parameters
    ----------
    costs, qualities : array-like of shape (m,)
        The curve, see `cost_quality_curve`.
    cost_range : tuple of (float, float), default=None
        The budgets :math:`c_0 < c_1`, for instance the cost of always calling the cheapest and the
        most expensive model, the same for every router compared. :math:`c_0` must not lie below the
        cheapest point. None takes the range of the curve itself.

    Returns
    -------
    float
        In the units of the qualities: that of a router which buys its best quality at the lowest
        cost at once is its best quality. If the range is a single point, the quality there.

    Raises
    ------
    ValueError
        If the curve is not a list of finite points, or the range does not fit.

    Examples
    --------
    >>> from lookahead_sk.metrics import area_under_cost_quality
    >>> area_under_cost_quality([1.0, 2.0], [0.5, 1.0], cost_range=(1.0, 3.0))
    0.875
    """
    x, y = as_float_array(costs, "costs", ndim=1), as_float_array(qualities, "qualities", ndim=1)
    if x.shape != y.shape or not len(x) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        reject(
            "costs and qualities", "finite and of one length", Words(f"shapes {x.shape}, {y.shape}")
        )
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    # Of several points at one cost, the best is what that budget buys.
    last = np.append(x[1:] > x[:-1], True)
    x, y = x[last], y[last]
    low, high = (x[0], x[-1]) if cost_range is None else cost_range
    if not (x[0] <= low <= high < np.inf):
        reject("cost_range", f"two budgets c0 <= c1 with c0 >= {x[0]:g}", cost_range)
    if low == high:
        return float(np.interp(low, x, y))
    grid = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    return float(np.trapezoid(np.interp(grid, x, y), grid) / (high - low))


# Scorers

Costs = Mapping[Any, float] | Sequence[float] | FloatArray


def _rewards_and_costs(y: Any, chosen: Any, costs: Costs) -> tuple[FloatArray, FloatArray]:
    """Score and cost of the model chosen for each prompt; labels score 1 where they are met."""
    labels = np.asarray(chosen)
    if np.ndim(y) == 1:
        reward = (np.asarray(y) == labels).astype(np.float64)
        return reward, _price_of(labels, costs)
    table, names = read_scores(y, "y")
    choice = read_choice(labels, len(table), names, table.shape[1])
    prices = read_costs(costs, (1, table.shape[1]), names)[0]
    return table[np.arange(len(table)), choice], prices[choice]


def _price_of(labels: npt.NDArray[Any], costs: Costs) -> FloatArray:
    """Cost of each of the chosen labels."""
    distinct = list(dict.fromkeys(labels.tolist()))
    if by_name(costs, distinct) is None:
        reject("costs", "a mapping of label to cost when y holds labels", costs)
    prices = dict(zip(distinct, read_prices(costs, distinct), strict=True))
    return np.array([prices[label] for label in labels.tolist()], dtype=np.float64)


def _mean_utility(
    y: Any, chosen: Any, *, costs: Costs, cost_weight: float, sample_weight: Any = None
) -> float:
    reward, price = _rewards_and_costs(y, chosen, costs)
    seen = ~np.isnan(reward)
    weights = read_weights(sample_weight, len(reward))
    return float(np.average((reward - cost_weight * price)[seen], weights=weights[seen]))


def _mean_cost(y: Any, chosen: Any, *, costs: Costs, sample_weight: Any = None) -> float:
    _, price = _rewards_and_costs(y, chosen, costs)
    return float(np.average(price, weights=read_weights(sample_weight, len(price))))


def make_utility_scorer(costs: Costs, cost_weight: float) -> Callable[..., float]:
    """Make a scorer of mean utility: score minus ``cost_weight`` times cost of the chosen models.

    Routers are scored by their mean score, so that a search over their own ``cost_weight`` always
    ends at 0. With this scorer it ends where a unit of cost is worth what you say it is.

    Parameters
    ----------
    costs : array-like of shape (K,), mapping of label to float, or Series
        Cost of a call of every model: by name, or in the order of the columns of the scores.
    cost_weight : float
        What a unit of cost is worth, in units of the score; not negative.

    Returns
    -------
    callable
        A scikit-learn scorer, to be passed as ``scoring`` or called as ``scorer(router, X, y)``.

    Raises
    ------
    ValueError
        If ``cost_weight`` is negative; when it is called, if the costs do not fit the scores.

    See Also
    --------
    make_cost_scorer : The mean cost alone.

    Examples
    --------
    >>> from lookahead_sk.metrics import make_utility_scorer
    >>> scorer = make_utility_scorer([1.0, 10.0], cost_weight=0.01)
    """
    cost_weight = check_float(cost_weight, "cost_weight", low=0.0)
    return make_scorer(_mean_utility, costs=costs, cost_weight=cost_weight)


def make_cost_scorer(costs: Costs) -> Callable[..., float]:
    """Make a scorer of the mean cost of the chosen models, for instance to constrain a search by.

    Parameters
    ----------
    costs : array-like of shape (K,), mapping of label to float, or Series
        Cost of a call of every model: by name, or in the order of the columns of the scores.

    Returns
    -------
    callable
        A scikit-learn scorer. It returns the cost itself, without a change of sign: it is a
        quantity to watch or to bound, not one to maximise.

    Raises
    ------
    ValueError
        When it is called, if the costs do not fit the scores.

    Examples
    --------
    >>> from lookahead_sk.metrics import make_cost_scorer
    >>> scoring = {"cost": make_cost_scorer([1.0, 10.0])}
    """
    return make_scorer(_mean_cost, costs=costs)
