"""Calibration and blending, by grid search."""

import numpy as np
import pytest
from scipy.special import softmax

from lookahead_sk.routing._local_average._selection import choose_blend, fit_temperature


def cross_entropy(quality, scores, temperature):
    best = scores == scores.max(axis=1, keepdims=True)
    rows = ~best.all(axis=1)
    target = best[rows] / best[rows].sum(axis=1, keepdims=True)
    return -(target * np.log(softmax(quality[rows] / temperature, axis=1))).sum()


def test_the_temperature_has_the_smallest_cross_entropy():
    rng = np.random.RandomState(0)
    quality = rng.randn(400, 3)
    scores = (quality + 2 * rng.randn(400, 3)).round(1)
    found = fit_temperature(quality, scores)
    losses = {t: cross_entropy(quality, scores, t) for t in np.geomspace(0.05, 50, 300)}
    assert found == pytest.approx(min(losses, key=losses.get), rel=0.03)


def test_the_temperature_of_ties_and_unobserved_prompts_is_finite():
    quality = np.zeros((4, 2))
    scores = np.array([[1.0, 1.0], [np.nan, 0.0], [0.0, 0.0], [np.nan, 1.0]])
    assert fit_temperature(quality, scores) > 0


def test_the_network_is_left_out_unless_it_clearly_routes_better():
    rng = np.random.RandomState(0)
    scores = rng.rand(500, 3)
    noise = rng.rand(500, 3)
    assert choose_blend(scores, noise, scores) == 0
    assert choose_blend(noise, scores, scores) > 0
    assert choose_blend(noise, noise.copy(), scores) == 0
