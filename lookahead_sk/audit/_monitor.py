r"""A monitor of live calls, which says when a certified band is left.

Theorem. Let :math:`r_t` be the values of the calls, in a known range, and say that the band holds
if :math:`E[r_t | \text{past}] \ge low` for every t. For a bet b with
:math:`0 \le b < 1 / (high - low)` and a start j, :math:`K^{(j)}_t = \prod_{i=j}^{t} (1 + b (low -
r_i))` is a nonnegative supermartingale that begins at 1. So is the mixture of all starts and of
several bets

.. math:: E_t = \sum_{j \le t} \gamma_j K^{(j)}_t + \sum_{j > t} \gamma_j ,
          \quad \gamma_j = \frac{1}{j (j + 1)} ,

and by Ville's inequality it ever reaches :math:`1 / \alpha` with probability at most alpha, however
often one looks. The sum of the first term is updated by :math:`S_t = (S_{t-1} + \gamma_t)(1 + b
(low - r_t))`, and the second is :math:`1 / (t + 1)`. A start of its own for every call finds a
change after any number of good calls.

Sources: Ville 1939; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS-B 2024 (arXiv 2010.09686); Shin, Ramdas and Rinaldo, "E-detectors", New England
Journal of Statistics in Data Science 2023 (arXiv 2203.03532), for the mixture over starts.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import as_float_array, check_float, check_range, reject

_BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])  # shares of the largest bet
_ENOUGH = 1e100  # an e-value is not followed beyond


class BandMonitor:
    """Say when the mean of live calls has left a band, however often one looks.

    Parameters
    ----------
    low : float, default=None
        The mean must not fall below, for instance the traffic's mean score less a certified loss.
    high : float, default=None
        The mean must not rise above, for instance a budget. At least one of the two is given.
    value_range : tuple of (float, float), default=(0, 1)
        Least and largest value that can occur.
    alpha : float, default=0.05
        Probability of an alarm, ever, while the band holds.

    Attributes
    ----------
    n_ : int
        Calls seen.
    mean_ : float
        Their mean; NaN before the first.
    e_value_ : float
        Evidence that the band was left; an alarm at ``1 / alpha``.
    is_left_ : bool
        Whether there was an alarm. It stays: a new band needs a new monitor.
    left_at_ : int or None
        Number of the call at which the alarm came, from 1.

    Raises
    ------
    ValueError
        If there is no bound, one lies outside the range, or they cross.

    See Also
    --------
    certify_policy : Gives the band.

    Notes
    -----
    If every call has a mean within the band, given the calls before it, there will ever be an alarm
    with a probability of at most ``alpha`` [1]_. Feed it all calls that the router made, or a
    random choice of them, in their order. O(1) memory and time a call.

    References
    ----------
    .. [1] Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv
       2010.09686.
    .. [2] Shin, Ramdas and Rinaldo, "E-detectors", arXiv 2203.03532.

    Examples
    --------
    >>> from lookahead_sk.audit import BandMonitor
    >>> monitor = BandMonitor(low=0.7)
    >>> monitor.update([1.0, 0.0, 1.0, 1.0] * 50).is_left_
    False
    >>> monitor.update([0.0, 1.0] * 100).is_left_
    True
    """

    def __init__(
        self,
        low: float | None = None,
        high: float | None = None,
        *,
        value_range: tuple[float, float] = (0.0, 1.0),
        alpha: float = 0.05,
    ) -> None:
        least, most = check_range(value_range, "value_range")
        if low is None and high is None:
            reject("low", "given where high is not", None)
        bounds = {"low": low, "high": high}
        given = {
            name: check_float(bound, name, least, most)
            for name, bound in bounds.items()
            if bound is not None
        }
        if len(given) == 2 and given["low"] > given["high"]:
            reject("low", "not above high", given["low"])
        self.low, self.high, self.value_range = low, high, (least, most)
        self.alpha = check_float(alpha, "alpha", 0, 1, closed="neither")
        # Per side the sign of a value, the bound, and the largest bet.
        self._sides = [
            (sign, sign * bound, (most - bound) if sign > 0 else (bound - least))
            for sign, bound in ((1.0, low), (-1.0, high))
            if bound is not None
        ]
        self._sums = np.zeros((len(self._sides), len(_BETS)))
        self._total = 0.0
        self.n_ = 0
        self.e_value_ = 1.0
        self.left_at_: int | None = None

    @property
    def is_left_(self) -> bool:
        """Whether there was an alarm."""
        return self.left_at_ is not None

    @property
    def mean_(self) -> float:
        """Mean of the calls seen."""
        return self._total / self.n_ if self.n_ else float("nan")

    def update(self, values: Any) -> Self:
        """Take more calls.

        Parameters
        ----------
        values : float or array-like of shape (m,)
            Their scores, or costs, in the order of the calls.

        Returns
        -------
        BandMonitor
            The monitor itself.

        Raises
        ------
        ValueError
            If a value is missing or outside the range; nothing has then been taken.
        """
        array = np.atleast_1d(as_float_array(values, "values"))
        least, most = self.value_range
        if array.ndim != 1 or not ((array >= least) & (array <= most)).all():
            reject("values", f"a list of numbers in [{least:g}, {most:g}]", values)
        for value in array.tolist():
            self._take(value)
        return self

    def _take(self, value: float) -> None:
        self.n_ += 1
        self._total += value
        start = 1 / (self.n_ * (self.n_ + 1))
        for side, (sign, bound, reach) in enumerate(self._sides):
            gain: FloatArray = _BETS * (bound - sign * value) / (reach or 1.0)
            self._sums[side] = np.minimum((self._sums[side] + start) * (1 + gain), _ENOUGH)
        self.e_value_ = float(self._sums.mean()) + 1 / (self.n_ + 1)
        if self.left_at_ is None and self.e_value_ >= 1 / self.alpha:
            self.left_at_ = self.n_
