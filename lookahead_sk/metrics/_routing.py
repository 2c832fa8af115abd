"""Measures of the choices of a router: score, regret, share of the oracle's gain, accuracy.

Notation: n prompts, K candidate models, scores (n, K), chosen (n,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import Words, check_choice, reject
from lookahead_sk.metrics._tables import (
    Groups,
    average_over,
    group_means,
    read_choice,
    read_groups,
    read_scores,
    read_weights,
)


class _Observed:
    """Scores, choices and weights of the prompts on which the needed scores were observed."""

    table: FloatArray  # (m, K)
    reward: FloatArray  # (m,), score of the chosen model
    single: FloatArray  # (m,), score of the best single model, or of the chosen one without it
    weights: FloatArray
    groups: Groups

    def __init__(
        self,
        scores: Any,
        chosen: Any,
        models: Sequence[Any] | None,
        sample_weight: Any,
        groups: Any,
        average: str | None,
        best_single: Any = None,
    ) -> None:
        table, names = read_scores(scores, models=models)
        n, n_models = table.shape
        choice = read_choice(chosen, n, names, n_models)
        against: IntArray = choice
        if best_single is not None:
            if np.ndim(best_single) != 0:
                reject("best_single", "one model", best_single)
            against = read_choice(best_single, n, names, n_models, "best_single")
        parts = read_groups(groups, n, average)
        weights = read_weights(sample_weight, n)
        rows = np.arange(n)
        reward, single = table[rows, choice], table[rows, against]
        kept = ~(np.isnan(reward) | np.isnan(single))
        if not weights[kept].sum() > 0:
            reject(
                "scores", "observed for the chosen model on some prompt", Words("NaN throughout")
            )
        self.table, self.reward, self.single = table[kept], reward[kept], single[kept]
        self.weights = weights[kept]
        self.groups = Groups(parts.names, parts.codes[kept])

    @property
    def oracle(self) -> FloatArray:
        best: FloatArray = np.nanmax(self.table, axis=1)
        return best


def routing_score(
    scores: Any,
    chosen: Any,
    *,
    models: Sequence[Any] | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    average: str | None = "micro",
) -> Any:
    """Mean score of the models that a router chose.

    Parameters
    ----------
    scores : array-like or DataFrame of shape (n, K)
        Score of every model on every prompt, NaN where not observed.
    chosen : array-like of shape (n,), or one model
        The model chosen for each prompt: a name out of ``models``, or a column number. A single
        name or number stands for all prompts.
    models : list of K labels, default=None
        Names of the columns; None takes those of a DataFrame.
    sample_weight : array-like of shape (n,), default=None
        Weights of the prompts.
    groups : array-like of shape (n,), default=None
        Group (benchmark) of each prompt, for averages other than "micro".
    average : {"micro", "macro", None}, default="micro"
        Mean over prompts, mean of the groups' means, or a dict of the groups' means.

    Returns
    -------
    float or dict of group to float
        In the units of the scores. Prompts on which the chosen model was not observed are left out.

    Raises
    ------
    ValueError
        If shapes do not fit, a choice is no model, or no choice was observed.

    Examples
    --------
    >>> from lookahead_sk.metrics import routing_score
    >>> scores = [[1.0, 0.0], [0.0, 1.0], [0.5, 1.0]]
    >>> routing_score(scores, ["small", "large", "small"], models=["small", "large"])
    0.8333333333333334
    >>> routing_score(scores, 1, groups=["maths", "maths", "code"], average="macro")
    0.75
    """
    seen = _Observed(scores, chosen, models, sample_weight, groups, average)
    return average_over(seen.reward, seen.weights, seen.groups, average)


def routing_regret(
    scores: Any,
    chosen: Any,
    *,
    models: Sequence[Any] | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    average: str | None = "micro",
) -> Any:
    """Mean of what a router's choices miss of the best observed score of each prompt.

    Parameters
    ----------
    scores, chosen, models, sample_weight, groups, average : object
        As in `routing_score`.

    Returns
    -------
    float or dict of group to float
        Not negative, in the units of the scores; 0 for the oracle.

    Raises
    ------
    ValueError
        As in `routing_score`.

    Examples
    --------
    >>> from lookahead_sk.metrics import routing_regret
    >>> routing_regret([[1.0, 0.0], [0.0, 1.0], [0.5, 1.0]], [0, 1, 0])
    0.16666666666666666
    """
    seen = _Observed(scores, chosen, models, sample_weight, groups, average)
    return average_over(seen.oracle - seen.reward, seen.weights, seen.groups, average)


def best_model_accuracy(
    scores: Any,
    chosen: Any,
    *,
    models: Sequence[Any] | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    average: str | None = "micro",
) -> Any:
    """Share of prompts for which a router chose a best model; any of several best ones is a hit.

    Parameters
    ----------
    scores, chosen, models, sample_weight, groups, average : object
        As in `routing_score`.

    Returns
    -------
    float or dict of group to float
        In [0, 1].

    Raises
    ------
    ValueError
        As in `routing_score`.

    Notes
    -----
    Where ties are common, always calling one model can be a hit on most prompts: read this number
    beside that of the best single model.

    Examples
    --------
    >>> from lookahead_sk.metrics import best_model_accuracy
    >>> best_model_accuracy([[1.0, 1.0], [0.0, 1.0], [0.5, 1.0]], [0, 1, 0])
    0.6666666666666666
    """
    seen = _Observed(scores, chosen, models, sample_weight, groups, average)
    hits = (seen.reward >= seen.oracle).astype(np.float64)
    return average_over(hits, seen.weights, seen.groups, average)


def best_single_model(
    scores: Any,
    *,
    models: Sequence[Any] | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    average: str = "micro",
) -> Any:
    """The model with the highest mean score; call it on training data.

    Parameters
    ----------
    scores, models, sample_weight, groups : object
        As in `routing_score`.
    average : {"micro", "macro"}, default="micro"
        Mean over prompts, or mean of the groups' means.

    Returns
    -------
    object
        Its name, or its column number where names are not known; the first of several best ones.

    Raises
    ------
    ValueError
        As in `routing_score`, or if a model was not observed at all.

    Examples
    --------
    >>> from lookahead_sk.metrics import best_single_model
    >>> best_single_model([[1.0, 0.0], [0.0, 1.0], [0.5, 1.0]], models=["small", "large"])
    'large'
    """
    check_choice(average, "average", ["micro", "macro"])
    table, names = read_scores(scores, models=models)
    means = []
    for k in range(table.shape[1]):
        seen = _Observed(table, k, None, sample_weight, groups, average)
        means.append(average_over(seen.reward, seen.weights, seen.groups, average))
    best = int(np.argmax(means))
    return best if names is None else names[best]


def oracle_gain_score(
    scores: Any,
    chosen: Any,
    *,
    best_single: Any,
    models: Sequence[Any] | None = None,
    sample_weight: Any = None,
    groups: Any = None,
    average: str = "micro",
) -> float:
    r"""Share of the oracle's gain over the best single model that a router realises.

    .. math:: \frac{\text{router} - \text{best single}}{\text{oracle} - \text{best single}}

    Parameters
    ----------
    scores, chosen : object
        As in `routing_score`.
    best_single : label or int
        The model that is best on the training data, see `best_single_model`. It has to be given:
        the model that is best on the test data is not known to anyone who has to choose.
    models, sample_weight, groups : object
        As in `routing_score`.
    average : {"micro", "macro"}, default="micro"
        Whether the three means are taken over prompts, or over the means of the groups.

    Returns
    -------
    float
        1 for the oracle, 0 for the best single model, negative for a router worse than it; NaN
        where the oracle has nothing to gain.

    Raises
    ------
    ValueError
        As in `routing_score`.

    Notes
    -----
    The macro form divides the averages over groups; it is not the average of the groups' shares, in
    which a group with little to gain would count most.

    Examples
    --------
    >>> from lookahead_sk.metrics import oracle_gain_score
    >>> scores = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0]]
    >>> oracle_gain_score(scores, [0, 1, 0, 1], best_single=1)
    0.0
    >>> oracle_gain_score(scores, [0, 1, 1, 1], best_single=1)
    1.0
    """
    check_choice(average, "average", ["micro", "macro"])
    seen = _Observed(scores, chosen, models, sample_weight, groups, average, best_single)
    columns = np.column_stack([seen.reward - seen.single, seen.oracle - seen.single])  # (m, 2)
    if average == "micro":
        gained, headroom = np.average(columns, axis=0, weights=seen.weights)
    else:
        gained, headroom = np.nanmean(group_means(columns, seen.weights, seen.groups), axis=0)
    return float(gained / headroom) if headroom > 0 else float("nan")
