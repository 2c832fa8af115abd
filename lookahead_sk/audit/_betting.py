r"""Bounds on a mean by betting, from values that are bounded below alone.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B
2024 (arXiv 2010.09686); Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, "Anytime-valid
off-policy inference for contextual bandits", ACM/IMS Journal of Data Science 2024 (arXiv
2210.10768), for values without an upper bound; Vovk and Wang, "E-values: calibration, combination
and applications", Annals of Statistics 2021 (arXiv 1912.06116), for the mean of e-values.

Theorem. Let :math:`D_1, \dots, D_n \ge -f` be independent with mean m and one distribution, and let
the bets :math:`0 \le b_i < 1 / (f + m)` be chosen from the values before their own. Then
:math:`K(m) = \prod_i (1 + b_i (D_i - m))` is an e-value: it is not negative, and its mean is 1. In
every order of the values that is fixed beforehand the same holds, with bets that follow that order;
so the mean of the e-values of several orders is an e-value too. By Markov's inequality it reaches
:math:`1 / \alpha` with probability at most alpha. So m is above all v whose mean of :math:`K(v)` is
at least :math:`1 / \alpha`, with probability at least 1 - alpha: :math:`K(v)` falls with v.

A single order is a matter of luck; the mean over many hardly depends on how the rows are given.

=====  ====  ===============================================
D      (n,)  values, for instance differences of two policies
f      ()    their least possible value is -f
m, v   ()    their mean, in [low, high], and a guess at it
b      (n,)  bets, which use the values before their own
=====  ====  ===============================================
"""

from __future__ import annotations

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray

_MOST = 0.9  # share of the wealth that a bet may lose
_PRIOR_VARIANCE = 1.0  # of values whose mean lies in [-1, 1], before any was seen
_STEPS = 30  # of a bisection
_ORDERS = 32  # of the values; their e-values are averaged
_MIN_ORDERS = 4
_CELLS = 1_000_000  # values in all orders together, where that leaves enough orders


def predictable_bets(D: FloatArray, f: float, high: float, alpha: float) -> FloatArray:
    """Bets (..., n) for a bound at the end of n values, eq. (26) of the first source."""
    n = D.shape[-1]
    order = np.arange(1, n + 1)
    means = np.cumsum(D, axis=-1) / (order + 1)
    spread = (_PRIOR_VARIANCE + np.cumsum((D - means) ** 2, axis=-1)) / (order + 1)
    first = np.full((*D.shape[:-1], 1), _PRIOR_VARIANCE)
    before = np.concatenate([first, spread[..., :-1]], axis=-1)[..., :n]
    bets = np.sqrt(2 * np.log(1 / alpha) / (max(n, 1) * before))
    capped: FloatArray = np.minimum(bets, _MOST / (f + high))
    return capped


def fixed_orders(n: int) -> IntArray:
    """Orders (B, n) of n values, which depend on n alone."""
    n_orders = min(_ORDERS, max(_MIN_ORDERS, _CELLS // max(n, 1)))
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(n) for _ in range(n_orders)])


def betting_lower_bound(
    D: FloatArray, f: float, alpha: float, low: float = -1.0, high: float = 1.0
) -> float:
    """Lower bound on the mean of values, with probability at least 1 - alpha.

    Parameters
    ----------
    D : ndarray of shape (n,)
        Independent values of one distribution, none below -f.
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
    ordered = D[fixed_orders(len(D))]
    bets = predictable_bets(ordered, f, high, alpha)
    needed = np.log(len(ordered) / alpha)  # of the sum over orders
    least, most = low, high
    for _ in range(_STEPS):
        guess = (least + most) / 2
        log_e_values = np.log1p(bets * (ordered - guess)).sum(axis=1)
        if np.logaddexp.reduce(log_e_values) >= needed:
            least = guess
        else:
            most = guess
    return least
