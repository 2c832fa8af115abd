r"""Bounds on a mean by betting, from values that are bounded below alone.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B
2024 (arXiv 2010.09686); Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, "Anytime-valid
off-policy inference for contextual bandits", ACM/IMS Journal of Data Science 2024 (arXiv
2210.10768), for values without an upper bound.

Theorem. Let :math:`D_1, D_2, \dots \ge -f` have conditional mean m given the past, and let the bets
:math:`0 \le b_i < 1 / (f + m)` be chosen from the past. Then
:math:`K_t(m) = \prod_{i \le t} (1 + b_i (D_i - m))` is a nonnegative martingale that begins at 1,
and by Ville's inequality it ever reaches :math:`1 / \alpha` with probability at most alpha. So m
is above all v with :math:`\max_t K_t(v) \ge 1 / \alpha`, with probability at least 1 - alpha:
:math:`K_t(v)` falls with v.

=====  ====  ===============================================
D      (n,)  values, for instance differences of two policies
f      ()    their least possible value is -f
m, v   ()    their mean, in [low, high], and a guess at it
b      (n,)  bets, which use the values before their own
=====  ====  ===============================================
"""

from __future__ import annotations

import numpy as np

from lookahead_sk._typing import FloatArray

_MOST = 0.9  # share of the wealth that a bet may lose
_PRIOR_VARIANCE = 1.0  # of values whose mean lies in [-1, 1], before any was seen
_STEPS = 50  # of a bisection


def predictable_bets(D: FloatArray, f: float, high: float, alpha: float) -> FloatArray:
    """Bets (n,) for a bound at the end of n values, eq. (26) of the first source."""
    order = np.arange(1, len(D) + 1)
    means = np.cumsum(D) / (order + 1)
    spread = (_PRIOR_VARIANCE + np.cumsum((D - means) ** 2)) / (order + 1)
    before = np.concatenate([[_PRIOR_VARIANCE], spread[:-1]])
    bets = np.sqrt(2 * np.log(1 / alpha) / (max(len(D), 1) * before[: len(D)]))
    capped: FloatArray = np.minimum(bets, _MOST / (f + high))
    return capped


def betting_lower_bound(
    D: FloatArray, f: float, alpha: float, low: float = -1.0, high: float = 1.0
) -> float:
    """Lower bound on the mean of values, with probability at least 1 - alpha.

    Parameters
    ----------
    D : ndarray of shape (n,)
        Independent values, none below -f, in the order in which they came.
    f : float
        See D; f + high > 0.
    alpha : float
        Probability that the bound is wrong, in (0, 1).
    low, high : float, default=-1 and 1
        Where the mean must lie.

    Returns
    -------
    float
        In [low, high]; low where the values say nothing.
    """
    bets = predictable_bets(D, f, high, alpha)
    least, most = low, high
    for _ in range(_STEPS):
        guess = (least + most) / 2
        log_wealth = np.cumsum(np.log1p(bets * (D - guess))).max(initial=0.0)
        if log_wealth >= np.log(1 / alpha):
            least = guess
        else:
            most = guess
    return least
