"""The certificate keeps its promise in simulations, and is worth something."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lookahead_sk.routing._costs._certificate import betting_p_values, certify_cost_weight

WEIGHTS = np.linspace(0, 0.5, 26)
COSTS = np.array([1.0, 0.0])


def draw(rng, n):
    """Two models, the dear one better by a margin that the router sees through noise."""
    margin = rng.uniform(-0.1, 0.4, n)
    p = np.clip(np.stack([0.5 + margin, np.full(n, 0.5)], axis=1), 0, 1)
    scores = (rng.random((n, 2)) < p).astype(float)
    quality = np.stack([0.5 + margin + 0.05 * rng.standard_normal(n), np.full(n, 0.5)], axis=1)
    return scores, quality, p


def test_p_values_are_the_wealth_of_the_bets_written_out():
    rng = np.random.default_rng(0)
    losses, mu, alpha = rng.random((30, 2)), 0.6, 0.1
    for column, p in zip(losses.T, betting_p_values(losses, mu, alpha), strict=True):
        wealth, best, total, squares = 1.0, 1.0, 0.5, 0.25
        variance = 0.25
        for i, loss in enumerate(column, start=1):
            bet = min(np.sqrt(2 * np.log(1 / alpha) / (30 * variance)), 0.75 / (1 - mu))
            wealth *= 1 + bet * (mu - loss)
            best = max(best, wealth)
            total += loss
            squares += (loss - total / (i + 1)) ** 2
            variance = squares / (i + 1)
        assert_allclose(p, 1 / best)


@pytest.mark.parametrize("mu", [0.2, 0.5, 0.9])
def test_a_true_hypothesis_is_rejected_no_more_often_than_alpha(mu):
    """4,000 data sets whose mean is exactly mu: rejections within three standard errors of 10 %."""
    rng = np.random.default_rng(1)
    losses = (rng.random((200, 4000)) < mu).astype(float)
    rejected = (betting_p_values(losses, mu, 0.1) <= 0.1).mean()
    assert rejected <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 4000)


def test_coverage_of_the_certificate():
    """The true loss of the certified weight exceeds the limit in at most alpha of 400 studies."""
    rng = np.random.default_rng(2)
    _, quality, p = draw(rng, 200_000)
    chosen = (quality - np.multiply.outer(WEIGHTS, COSTS)[:, None]).argmax(axis=2)
    true_loss = (p[:, 0] - p[np.arange(len(p)), chosen]).mean(axis=1)
    limit, alpha, failed, certified = 0.03, 0.1, 0, 0
    for _ in range(400):
        scores, seen, _ = draw(rng, 1500)
        found = certify_cost_weight(scores, seen, COSTS, 0, WEIGHTS, limit, alpha, (0, 1))
        if found.setting is not None:
            certified += 1
            failed += true_loss[np.flatnonzero(found.setting == WEIGHTS)[0]] > limit
    assert failed <= 400 * alpha + 3 * np.sqrt(400 * alpha * (1 - alpha))
    assert certified > 300  # it is not kept by never promising anything


def test_nothing_is_certified_for_a_router_that_loses():
    rng = np.random.default_rng(3)
    scores = np.stack([np.ones(500), np.zeros(500)], axis=1)
    quality = np.stack([np.zeros(500), rng.random(500)], axis=1)
    found = certify_cost_weight(scores, quality, COSTS, 0, WEIGHTS, 0.05, 0.1, (0, 1))
    assert found.setting is None
    assert_allclose(found.mean_losses, 1.0)


def test_the_sequence_stops_at_the_first_failure():
    """Weight 0 always calls the worthless model; what comes after it is not looked at."""
    scores = np.tile([1.0, 0.0], (300, 1))
    quality = np.tile([0.0, 0.2], (300, 1))
    cheap_reference = np.array([0.0, 1.0])
    found = certify_cost_weight(
        scores, quality, cheap_reference, 0, np.array([0.0, 0.5]), 0.05, 0.1, (0, 1)
    )
    assert found.p_values[1] < 0.1 < found.p_values[0]
    assert found.setting is None
