r"""Value of a policy from logs of another one: off-policy estimators as means of one value a row.

Sources: Horvitz and Thompson 1952 (IPS); Swaminathan and Joachims, "The self-normalized estimator
for counterfactual learning", NeurIPS 2015 (SNIPS); Dudik, Langford and Li, "Doubly robust policy
evaluation and learning", ICML 2011 (DR).

=======  ======  ==========================================================================
n, K             rows of the log, candidate models
a        (n,)    model that was called
y        (n,)    its score, or its cost
p        (n,)    propensity: probability with which the log's own rule called it
pi       (n, K)  probability with which the policy would call each model
w        (n,)    importance weight, pi(a | x) / p
q        (n, K)  predicted y of every model, made without the row itself
psi      (n,)    values whose mean is the estimate, and whose spread gives its standard error
=======  ======  ==========================================================================
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from lookahead_sk._typing import FloatArray, IntArray


class Estimate(NamedTuple):
    """A mean with a confidence interval and its standard error."""

    value: float
    low: float
    high: float
    standard_error: float


NO_ESTIMATE = Estimate(*[float("nan")] * 4)


def importance_weights(pi: FloatArray, a: IntArray, p: FloatArray) -> FloatArray:
    """Weights w (n,) that turn the log's rule into the policy."""
    weights: FloatArray = pi[np.arange(len(a)), a] / p
    return weights


def effective_sample_size(w: FloatArray) -> float:
    """Rows drawn by the policy itself that would say as much (Kish), from 0 to n."""
    total = float((w**2).sum())
    return float(w.sum()) ** 2 / total if total > 0 else 0.0


def ips_values(w: FloatArray, y: FloatArray) -> FloatArray:
    """Inverse propensity: psi = w y; unbiased where the propensities are right."""
    return w * y


def snips_values(w: FloatArray, y: FloatArray) -> FloatArray:
    """Self-normalised: the mean is sum(w y) / sum(w), the spread that of its linearisation."""
    total = w.sum()
    if total == 0:
        return np.full(len(y), np.nan)
    value = float((w * y).sum() / total)
    return value + w * (y - value) / (total / len(w))


def dr_values(
    pi: FloatArray, w: FloatArray, a: IntArray, y: FloatArray, q: FloatArray
) -> FloatArray:
    """Doubly robust: psi = sum_k pi_k q_k + w (y - q_a).

    Unbiased where the propensities are right, whatever q is; consistent where q is right, whatever
    the propensities are.
    """
    expected: FloatArray = (pi * q).sum(axis=1)
    return expected + w * (y - q[np.arange(len(a)), a])


def estimate(psi: FloatArray, level: float) -> Estimate:
    """Mean of the values with its normal interval."""
    n = len(psi)
    value = float(psi.mean())
    if n < 2 or np.isnan(value):
        return NO_ESTIMATE
    error = float(psi.std(ddof=1) / np.sqrt(n))
    half = float(norm.ppf((1 + level) / 2)) * error
    return Estimate(value, value - half, value + half, error)


def ratio_estimate(top: FloatArray, bottom: FloatArray, level: float) -> Estimate:
    """Ratio of two means over the same rows, by the delta method."""
    if not bottom.mean() > 0:
        return NO_ESTIMATE
    ratio = float(top.mean() / bottom.mean())
    return estimate(ratio + (top - ratio * bottom) / bottom.mean(), level)
