"""Paired bootstrap over prompts: by how much is one router better than another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import Words, check_choice, check_float, check_int, reject
from lookahead_sk.metrics._tables import read_choice, read_groups, read_scores


class BootstrapResult(NamedTuple):
    """A difference between two routers, and how sure it is."""

    estimate: float
    low: float
    high: float
    standard_error: float


def _rewards(table: FloatArray, chosen: Any, names: list[Any] | None, name: str) -> FloatArray:
    """Score of the choices (n,), averaged over runs where there are several."""
    n, n_models = table.shape
    runs = [chosen] if np.ndim(chosen) < 2 else list(chosen)
    columns = [read_choice(run, n, names, n_models, name) for run in runs]
    rewards: FloatArray = np.mean([table[np.arange(n), column] for column in columns], axis=0)
    return rewards


def _resampled_sums(values: FloatArray, n_resamples: int, rng: np.random.RandomState) -> FloatArray:
    """Sums (B, m) of the rows of values (n, m), n of them drawn with replacement, B times.

    A sum depends only on how often each distinct row is drawn, and these counts are multinomial:
    far cheaper than drawing n row numbers where scores take few values.
    """
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    n = len(values)
    sums = np.empty((n_resamples, values.shape[1]))
    step = max(1, 10**7 // len(distinct))  # bounds the memory at 80 MB
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        sums[start : start + size] = rng.multinomial(n, counts / n, size=size) @ distinct
    return sums


def _statistic(sums: list[FloatArray], sizes: IntArray, average: str) -> FloatArray:
    """Micro or macro mean of every column, from the groups' sums (B, m) and sizes."""
    if average == "micro":
        total: FloatArray = np.sum(sums, axis=0) / sizes.sum()
        return total
    means: FloatArray = np.mean([s / size for s, size in zip(sums, sizes, strict=True)], axis=0)
    return means


def paired_bootstrap(
    scores: Any,
    chosen_a: Any,
    chosen_b: Any,
    *,
    models: Sequence[Any] | None = None,
    groups: Any = None,
    average: str = "micro",
    best_single: Any = None,
    n_resamples: int = 2000,
    confidence_level: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> BootstrapResult:
    """Bootstrap the difference between two routers on the same prompts.

    Prompts are drawn with replacement, within their groups if these are given, and both routers are
    measured on the same draw: what is common to them (hard prompts) cancels.

    Parameters
    ----------
    scores : array-like or DataFrame of shape (n, K)
        Score of every model on every prompt, NaN where not observed.
    chosen_a, chosen_b : array-like of shape (n,) or (n_runs, n), or one model
        The choices of the two routers, as in `lookahead_sk.metrics.routing_score`. Of several runs
        (seeds), the scores are averaged on each prompt.
    models : list of K labels, default=None
        Names of the columns; None takes those of a DataFrame.
    groups : array-like of shape (n,), default=None
        Group (benchmark) of each prompt; every draw keeps the groups' sizes.
    average : {"micro", "macro"}, default="micro"
        Mean over prompts, or mean of the groups' means.
    best_single : label or int, default=None
        If given, the difference is taken between shares of the oracle's gain over this model, as
        in `lookahead_sk.metrics.oracle_gain_score`, else between mean scores.
    n_resamples : int, default=2000
        Number of draws.
    confidence_level : float, default=0.95
        Coverage of the interval.
    random_state : int, RandomState instance or None, default=None
        Determines the draws.

    Returns
    -------
    BootstrapResult
        ``estimate`` (a minus b, on the prompts as they are), the percentile interval from ``low``
        to ``high``, and ``standard_error``.

    Raises
    ------
    ValueError
        If shapes do not fit, a choice is no model, or no prompt has all the scores it needs.

    Notes
    -----
    Only prompts are drawn, not training sets: the interval speaks of these fitted routers. Prompts
    on which one of the choices (or ``best_single``) was not observed are left out. The cost is
    O(n_resamples x distinct pairs of scores).

    References
    ----------
    .. [1] Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

    Examples
    --------
    >>> import numpy as np
    >>> from lookahead_sk.metrics import paired_bootstrap
    >>> scores = np.random.RandomState(0).rand(500, 3)
    >>> result = paired_bootstrap(scores, scores.argmax(axis=1), 0, random_state=0)
    >>> result.low < result.estimate < result.high
    True
    """
    check_choice(average, "average", ["micro", "macro"])
    n_resamples = check_int(n_resamples, "n_resamples", low=1, closed="left")
    level = check_float(confidence_level, "confidence_level", 0.0, 1.0, closed="neither")
    table, names = read_scores(scores, models=models)
    parts = read_groups(groups, len(table), average)
    gained = _rewards(table, chosen_a, names, "chosen_a")
    gained = gained - _rewards(table, chosen_b, names, "chosen_b")
    headroom = np.ones(len(table))
    if best_single is not None:
        single = read_choice(best_single, len(table), names, table.shape[1], "best_single")
        filled = np.where(np.isnan(table), -np.inf, table)
        headroom = filled.max(axis=1) - table[np.arange(len(table)), single]
    columns = np.column_stack([gained, headroom])  # (n, 2)
    kept = ~np.isnan(columns).any(axis=1)
    if not kept.any():
        reject("scores", "observed for both choices on some prompt", Words("NaN throughout"))
    columns, codes = columns[kept], parts.codes[kept]
    strata = [columns[codes == code] for code in np.unique(codes)]
    sizes = np.array([len(stratum) for stratum in strata])
    rng = check_random_state(random_state)
    observed = _statistic([s.sum(axis=0, keepdims=True) for s in strata], sizes, average)
    drawn = _statistic([_resampled_sums(s, n_resamples, rng) for s in strata], sizes, average)
    if not observed[0, 1] > 0:
        return BootstrapResult(*[float("nan")] * 4)
    with np.errstate(divide="ignore", invalid="ignore"):
        differences = drawn[:, 0] / drawn[:, 1]
    differences = differences[np.isfinite(differences)]
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    spread = differences.std(ddof=1) if len(differences) > 1 else float("nan")
    return BootstrapResult(
        float(observed[0, 0] / observed[0, 1]), float(low), float(high), float(spread)
    )
