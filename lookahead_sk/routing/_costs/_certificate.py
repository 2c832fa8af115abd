r"""A cost weight, or another setting, whose loss against a reference model is certified.

Source: Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then test: calibrating predictive
algorithms to achieve risk control", Annals of Applied Statistics 2025 (arXiv 2110.01052), with the
p-values of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS-B 2024 (arXiv 2010.09686).

Theorem. Let the calibration prompts be independent draws of the distribution that the router will
meet, not seen in its training, and let scores lie in [low, high]. For every cost weight w let
:math:`H_w` say that the expected loss :math:`E[s_{ref} - s_{r_w(x)}]` exceeds ``max_loss``. Testing
the weights in an order fixed beforehand, each at level alpha, and stopping at the first that is not
rejected, the probability that any weight before the stop has an expected loss above ``max_loss`` is
at most alpha: only the first true hypothesis of the order can be rejected wrongly.

=======  =======  ================================================================
l        (n, W)   losses, moved to [0, 1]: (s_ref - s_chosen + range) / (2 range)
mu       ()       max_loss on that scale
K        (n, W)   wealth of a bet against H_w, a supermartingale under H_w
=======  =======  ================================================================
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import Words, reject
from lookahead_sk.metrics._cost_quality import route
from lookahead_sk.metrics._tables import in_order, read_scores
from lookahead_sk.routing._checks import unmasked


class Certified(NamedTuple):
    """The last certified setting, or None where only the reference model is safe."""

    setting: float | None
    p_values: FloatArray  # (W,), in the order of the settings
    mean_losses: FloatArray  # (W,), on the calibration prompts


def betting_p_values(losses: FloatArray, mu: float, alpha: float) -> FloatArray:
    r"""P-values of "the mean is at least mu" for losses in [0, 1], one a column.

    Parameters
    ----------
    losses : ndarray of shape (n, W)
        Independent rows, values in [0, 1].
    mu : float
        Mean that is to be refuted, in (0, 1).
    alpha : float
        Level at which the bets are placed best; the p-values are valid at every level.

    Returns
    -------
    ndarray of shape (W,)
        ``1 / max_t K_t`` with :math:`K_t = \prod_{i \le t} (1 + b_i (\mu - l_i))`. The bet
        :math:`b_i` uses the losses before i only, Waudby-Smith and Ramdas, eq. (26).
    """
    n = len(losses)
    order = np.arange(1, n + 1)[:, None]
    means = (0.5 + np.cumsum(losses, axis=0)) / (order + 1)
    spread = (0.25 + np.cumsum((losses - means) ** 2, axis=0)) / (order + 1)
    before = np.vstack([np.full((1, losses.shape[1]), 0.25), spread[:-1]])
    bets = np.minimum(np.sqrt(2 * np.log(1 / alpha) / (n * before)), 0.75 / (1 - mu))
    log_wealth = np.cumsum(np.log1p(bets * (mu - losses)), axis=0)
    highest: FloatArray = np.exp(-np.maximum(log_wealth.max(axis=0), 0.0))
    return highest


def certify_cost_weight(
    scores: FloatArray,
    quality: FloatArray,
    costs: FloatArray,
    reference: int,
    weights: FloatArray,
    max_loss: float,
    alpha: float,
    score_range: tuple[float, float],
) -> Certified:
    """Find the largest cost weight in a fixed sequence of tests.

    Parameters
    ----------
    scores : ndarray of shape (n, K)
        Scores of the calibration prompts, none missing.
    quality : ndarray of shape (n, K)
        What the router predicted for them.
    costs : ndarray of shape (K,) or (n, K)
        Cost of a call.
    reference : int
        Column of the model that would otherwise always be called.
    weights : ndarray of shape (W,)
        Cost weights in growing order, fixed without a look at ``scores``.
    max_loss : float
        Expected loss of score against the reference that is tolerated, not negative.
    alpha : float
        Probability that the certificate may fail.
    score_range : tuple of (float, float)
        Least and largest score that can occur.

    Returns
    -------
    Certified
        The last weight before the first test that fails.
    """
    rows = np.arange(len(scores))
    rewards = [scores[rows, route(quality, costs, weight)] for weight in weights]
    losses = scores[:, [reference]] - np.stack(rewards, axis=1)
    return certify_last(losses, weights, max_loss, alpha, score_range)


def certify_last(
    losses: FloatArray,
    settings: FloatArray,
    max_loss: float,
    alpha: float,
    score_range: tuple[float, float],
) -> Certified:
    """Find the last of some settings, in a fixed order, before the first test that fails.

    Parameters
    ----------
    losses : ndarray of shape (n, W)
        Score of the reference less that of the setting, on calibration prompts.
    settings : ndarray of shape (W,)
        Cost weights or thresholds, in an order fixed without a look at scores.
    max_loss, alpha, score_range : object
        See `certify_cost_weight`.
    """
    width = score_range[1] - score_range[0] or 1.0  # constant scores: no loss is possible
    scaled = np.clip((losses + width) / (2 * width), 0.0, 1.0)
    mu = (max_loss + width) / (2 * width)
    p_values = betting_p_values(scaled, mu, alpha) if mu < 1 else np.zeros(len(settings))
    passed = np.logical_and.accumulate(p_values <= alpha)
    best = float(settings[passed.sum() - 1]) if passed[0] else None
    return Certified(best, p_values, losses.mean(axis=0))


def check_one_goal(budget: Any, max_loss: Any, y: Any) -> None:
    """Raise unless there is either a budget, or a limit on the loss and scores."""
    if (budget is None) == (max_loss is None):
        raise ValueError(
            f"Give either budget or max_loss; got budget={budget}, max_loss={max_loss}."
        )
    if max_loss is not None and y is None:
        reject("y", "given with max_loss", None)


def calibration_scores(
    y: Any, reference: Any, names: list[Any], n: int, score_range: tuple[float, float]
) -> tuple[FloatArray, int]:
    """Scores (n, K) of calibration prompts, none missing, and the column of the reference.

    They are clipped to the range, with a warning.
    """
    if reference not in names:
        reject("reference", f"one of {names}", reference)
    scores, _ = read_scores(unmasked(in_order(y, names)), "y")
    if scores.shape != (n, len(names)):
        reject("y", f"of shape {(n, len(names))}", Words(f"shape {scores.shape}"))
    if np.isnan(scores).any():
        reject("y", "observed for every prompt and model", Words("NaN"))
    low, high = score_range
    n_outside = int(((scores < low) | (scores > high)).sum())
    if n_outside:
        warnings.warn(
            f"{n_outside} of {scores.size} scores lie outside the training scores' [{low:g}, "
            f"{high:g}] and are clipped: the certificate speaks of clipped scores.",
            stacklevel=4,
        )
    return np.clip(scores, low, high), names.index(reference)
