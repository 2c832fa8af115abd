r"""A bound on the loss of a policy, from logs of another one, for every sample size.

Source: Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, "Anytime-valid off-policy inference
for contextual bandits", ACM/IMS Journal of Data Science 2024 (arXiv 2210.10768), section 3.

Theorem. Let the rows be independent draws of the prompts to come, let the log have called model a
with the logged propensity, and let scores lie in the declared range, moved to [0, 1]. For a policy
pi and any predictions q that were not learned from these rows, the mean of

.. math:: \xi = w (y - \min(q_a, B / w_a)) + \sum_k \pi_k \min(q_k, B / w_k) \ge -B

is the value of pi, or less where the log never calls a model that pi calls. So the differences
:math:`D = \xi - y` to the traffic, or :math:`D = \xi + \xi' - 1` to another policy, with
:math:`\xi'` made of 1 - y and 1 - q, are bounded below and have a mean of at most the change of
quality. `betting_lower_bound` bounds it. Without propensities of all models, q = 0 and
:math:`\xi = w y \ge 0`.

=====  ======  ====================================================================
y      (n,)    scores, in [0, 1]
q      (n, K)  predicted scores, in [0, 1]
w_k    (n, K)  pi_k / p_k; w is that of the model that was called
B      ()      bound on w q
=====  ======  ====================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import check_float, check_range, reject
from lookahead_sk.audit._betting import betting_lower_bound
from lookahead_sk.audit._estimators import effective_sample_size
from lookahead_sk.audit._logged import Logged, read_logged, read_policies
from lookahead_sk.audit._policy_audit import TRAFFIC
from lookahead_sk.metrics._tables import read_groups


@dataclass(frozen=True)
class LossCertificate:
    """How much quality a policy loses at most, with probability ``1 - alpha``.

    Parameters
    ----------
    loss : float
        Upper bound on the mean score of ``reference`` less that of the policy; negative where a
        gain is certain.
    by_group : dict of label to float
        The same in every group: all of these hold together with probability ``1 - alpha``.
    reference : str
        What the policy is compared with.
    alpha : float
        Probability that the bound is wrong.
    n : int
        Rows of the log.
    effective_sample_size : float
        How many prompts routed by the policy itself would say as much.
    """

    loss: float
    by_group: dict[Any, float]
    reference: str
    alpha: float
    n: int
    effective_sample_size: float

    def __str__(self) -> str:
        size = f"{self.n:,} logged calls, as good as {self.effective_sample_size:,.0f} of its own"
        bound = f"at most {self.loss:.4f} below that of {self.reference}"
        lines = [f"With probability {1 - self.alpha:.0%} the mean score is {bound} ({size})."]
        lines += [f"In {group}: at most {loss:.4f} below." for group, loss in self.by_group.items()]
        return "\n".join(lines)


def certify_policy(
    policy: Any,
    scores: Any,
    *,
    propensities: Any,
    reference: Any = TRAFFIC,
    score_range: tuple[float, float] = (0.0, 1.0),
    alpha: float = 0.05,
    X: Any = None,
    called: Any = None,
    quality: Any = None,
    models: Sequence[Any] | None = None,
    groups: Any = None,
    max_weight: float = 10.0,
) -> LossCertificate:
    r"""Bound the loss of quality of a router, from logs in which one model was called per prompt.

    Unlike the intervals of `audit_routing`, the bound holds for every sample size and needs no
    overlap: where the log never went, the policy counts as scoring the least that can occur.

    Parameters
    ----------
    policy : router, array-like of shape (n,) or of shape (n, K), or model
        A fitted router, which reads X; the chosen models; the probabilities of the models; or one
        model for all. It must not have been chosen with the help of these rows.
    scores : array-like or DataFrame of shape (n, K)
        Score of the called model in each row, NaN elsewhere.
    propensities : array-like of shape (n, K) or (n,)
        Logged probability of every call, or of the call that was made. They cannot be estimated.
    reference : "traffic", or like ``policy``, default="traffic"
        What is lost against: the mean score of the log itself, or another policy.
    score_range : tuple of (float, float), default=(0, 1)
        Least and largest score that can occur.
    alpha : float, default=0.05
        Probability that more is lost.
    X : sequence of str, or array-like of shape (n, p), default=None
        The prompts, for a policy that is a router.
    called : array-like of bool of shape (n, K), default=None
        Which model was called, where some calls have no score; these are left out.
    quality : array-like or DataFrame of shape (n, K), default=None
        Predicted scores, not learned from these rows; used with propensities of shape (n, K) only.
        Good ones make the bound tighter, bad ones never wrong.
    models : list of K labels, default=None
        Names of the columns of tables without names.
    groups : array-like of shape (n,), default=None
        Group of each row, for a bound in each group at level ``alpha`` divided by their number.
    max_weight : float, default=10
        Largest product of an importance weight and a predicted score: more uses more of ``quality``
        and places smaller bets.

    Returns
    -------
    LossCertificate
        The bound; ``print`` says it in a sentence.

    Raises
    ------
    ValueError
        If a score lies outside the range, propensities are missing, or shapes do not fit.

    See Also
    --------
    audit_routing : Estimates with intervals, also of the costs.
    BandMonitor : Watches whether the bound holds on.

    Notes
    -----
    It is true if the rows are independent draws of the prompts to come, and the propensities are
    those by which the log was made. Of several policies, certify each at ``alpha`` divided by their
    number. The bound is the best of those after each row, so it depends on the order of the rows:
    fix it beforehand, for instance by time. It can lie inside the interval of an audit.

    References
    ----------
    .. [1] Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, "Anytime-valid off-policy inference
       for contextual bandits", arXiv 2210.10768.
    .. [2] Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv
       2010.09686.

    Examples
    --------
    >>> import numpy as np
    >>> from lookahead_sk.audit import certify_policy
    >>> rng = np.random.default_rng(0)
    >>> called = np.eye(2, dtype=bool)[rng.integers(2, size=4000)]  # tossed a coin
    >>> scores = np.where(called, rng.random((4000, 2)) < [0.8, 0.8], np.nan)
    >>> certificate = certify_policy(0, scores, propensities=np.full((4000, 2), 0.5))
    >>> 0 < certificate.loss < 0.1
    True
    """
    alpha = check_float(alpha, "alpha", 0, 1, closed="neither")
    bound = check_float(max_weight, "max_weight", low=0, high=np.finfo(float).max)
    if propensities is None:
        hint = "Without them, audit_routing gives an interval."
        reject("propensities", "logged", None, hint=hint)
    logged = read_logged(
        scores,
        costs=None,
        propensities=propensities,
        X=X,
        called=called,
        quality=quality,
        expected_costs=None,
        models=models,
        min_propensity=0.0,
    )
    is_traffic = isinstance(reference, str) and reference == TRAFFIC
    given = {"policy": policy} if is_traffic else {"policy": policy, "reference": reference}
    tables = read_policies(given, logged, X)
    unit = _unit_scores(logged, score_range)
    D, f = _differences(tables["policy"], tables.get("reference"), logged, unit, bound)
    width = unit.high - unit.low
    parts = read_groups(groups, logged.n_given, "micro" if groups is None else None)
    codes = parts.codes[logged.kept]
    by_group = {}
    for code, name in enumerate(parts.names if groups is not None else ()):
        level = alpha / len(parts.names)
        by_group[name] = -width * betting_lower_bound(D[codes == code], f, level)
    return LossCertificate(
        -width * betting_lower_bound(D, f, alpha),
        by_group,
        TRAFFIC if is_traffic else _name_of(reference),
        alpha,
        len(D),
        effective_sample_size(logged.weights(tables["policy"])),
    )


def _name_of(reference: Any) -> str:
    return repr(reference) if np.ndim(reference) == 0 else "the reference"


class _UnitScores(NamedTuple):
    """Scores and predictions moved to [0, 1]."""

    low: float
    high: float
    y: FloatArray  # (n,)
    q: FloatArray | None  # (n, K)


def _unit_scores(logged: Logged, score_range: Any) -> _UnitScores:
    low, high = check_range(score_range, "score_range")
    outside = logged.scores[(logged.scores < low) | (logged.scores > high)]
    if len(outside):
        reject("scores", f"within score_range, [{low:g}, {high:g}]", float(outside[0]))
    y = (logged.scores - low) / (high - low)
    if logged.quality is None or logged.all_propensities is None:
        return _UnitScores(low, high, y, None)
    return _UnitScores(low, high, y, np.clip((logged.quality - low) / (high - low), 0, 1))


def _differences(
    policy: FloatArray,
    reference: FloatArray | None,
    logged: Logged,
    unit: _UnitScores,
    bound: float,
) -> tuple[FloatArray, float]:
    """Differences D (n,) and f, such that none is below -f."""
    y, q = unit.y, unit.q
    used = bound if q is not None else 0.0
    own = pseudo_outcomes(policy, logged, y, q, bound)
    if reference is None:
        return own - y, used + 1
    other = pseudo_outcomes(reference, logged, 1 - y, None if q is None else 1 - q, bound)
    return own + other - 1, 2 * used + 1


def pseudo_outcomes(
    pi: FloatArray, logged: Logged, y: FloatArray, q: FloatArray | None, bound: float
) -> FloatArray:
    """Values xi (n,) of a policy, none below -bound, or below 0 without predictions q (n, K)."""
    w = logged.weights(pi)
    if q is None or logged.all_propensities is None:
        return w * y
    with np.errstate(divide="ignore", invalid="ignore"):
        most = bound * logged.all_propensities / pi
    kept = np.where(pi > 0, np.minimum(q, most), q)
    expected: FloatArray = (pi * kept).sum(axis=1)
    return w * (y - kept[np.arange(len(y)), logged.called]) + expected
