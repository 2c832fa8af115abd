"""Can a log speak about a policy at all? Reasons to refuse an estimate."""

from __future__ import annotations

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import short_repr
from lookahead_sk.audit._estimators import effective_sample_size
from lookahead_sk.audit._logged import Logged

_MOST_UNSEEN = 0.01  # share of a policy's calls that may go where the log hardly went
_SURE = 4.0  # standard errors beyond which a mean weight is not 1 by chance


def missing_overlap(
    policy: FloatArray, logged: Logged, min_propensity: float, min_effective: float
) -> str | None:
    """Why the log says nothing about a policy; None if it does.

    Parameters
    ----------
    policy : ndarray of shape (n, K)
        Its probabilities.
    logged : Logged
        The log.
    min_propensity : float
        Below it, the log hardly went there.
    min_effective : float
        Least effective sample size.
    """
    shares = policy.mean(axis=0)
    never = np.bincount(logged.called, minlength=logged.n_models) == 0
    if shares[never].sum() > 0:
        names = short_repr([logged.names[k] for k in np.flatnonzero(never & (shares > 0))])
        return f"it sends {shares[never].sum():.1%} of prompts to {names}, never called in the log"
    every = logged.all_propensities
    if every is not None:
        unseen = float((policy * (every < min_propensity)).sum(axis=1).mean())
        if unseen > _MOST_UNSEEN:
            return (
                f"it sends {unseen:.1%} of prompts where the log called the model with a "
                f"probability below {min_propensity:g}"
            )
    weights = logged.weights(policy)
    return _odd_weights(weights, is_logged=every is None) or _few(weights, min_effective)


def _odd_weights(weights: FloatArray, is_logged: bool) -> str | None:
    """A mean weight is 1 where the log covers the policy and the propensities are right."""
    mean = float(weights.mean())
    error = float(weights.std() / np.sqrt(len(weights)))
    if is_logged and mean + _SURE * error < 1:
        return f"the log covers only {mean:.1%} of its calls: its other calls were never made"
    if mean - _SURE * error > 1:
        return f"the propensities are too small: importance weights have mean {mean:.2f}, not 1"
    return None


def _few(weights: FloatArray, least: float) -> str | None:
    effective = effective_sample_size(weights)
    if effective < least:
        return (
            f"the log says as much about it as {effective:.0f} prompts of its own would, "
            f"out of {len(weights)}; at least {least:g} are needed"
        )
    return None
