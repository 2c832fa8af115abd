"""Local means over clusters of prompts, against the formula written out with loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lookahead_sk.routing._local_average import _clusters
from lookahead_sk.routing._local_average._clusters import GRANULARITIES, Granularity
from lookahead_sk.routing._local_average._selection import MAX_AXES, fit_axes

COARSE = Granularity((60, 30), 5.0)


def fit_clusters(z, y, granularity, seed, axes=None):
    return _clusters.fit_clusters(z, y, granularity, seed, np.arange(len(z)), axes)


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    z = rng.randn(120, 5).astype(np.float32)
    y = rng.rand(120, 3)
    y[rng.rand(120, 3) < 0.2] = np.nan
    y[0] = 0.5
    return z, y


def memberships(z, centers, temperature):
    weights = np.array([[np.exp(-((a - c) ** 2).sum() / temperature) for c in centers] for a in z])
    return weights / weights.sum(axis=1, keepdims=True)


def by_hand(clusters, z_new, z, y, left_out=None):
    keep = np.ones(len(z), dtype=bool)
    if left_out is not None:
        keep[left_out] = False
    parts = []
    for centers, temperature in zip(clusters.centers, clusters.temperatures, strict=True):
        W, W_new = memberships(z, centers, temperature), memberships(z_new, centers, temperature)
        quality = np.zeros((len(z_new), y.shape[1]))
        for k in range(y.shape[1]):
            overall = np.nanmean(y[:, k])
            rows = keep & ~np.isnan(y[:, k])
            for c in range(len(centers)):
                total = (W[rows, c] * y[rows, k]).sum() + COARSE.shrinkage * overall
                count = W[rows, c].sum() + COARSE.shrinkage
                quality[:, k] += W_new[:, c] * total / count
        parts.append(quality)
    return np.mean(parts, axis=0)


def test_quality_is_the_shrunken_local_mean(case):
    z, y = case
    clusters, _ = fit_clusters(z, y, COARSE, seed=0)
    new = np.random.RandomState(1).randn(7, 5).astype(np.float32)
    assert_allclose(clusters.predict(new), by_hand(clusters, new, z, y), rtol=1e-4)


@pytest.mark.parametrize("is_complete", [True, False])
def test_held_out_quality_leaves_out_the_prompts_own_score(case, is_complete):
    z, y = case
    y = np.nan_to_num(y, nan=0.25) if is_complete else y
    clusters, held_out = fit_clusters(z, y, COARSE, seed=0)
    for i in (0, 17, 95):
        expected = by_hand(clusters, z[i : i + 1], z, y, left_out=i)[0]
        assert_allclose(held_out[i], expected, rtol=1e-4)


def test_a_constant_score_is_predicted_exactly(case):
    z, _ = case
    clusters, held_out = fit_clusters(z, np.full((120, 2), 0.3), COARSE, seed=0)
    assert_allclose(clusters.predict(z), 0.3)
    assert_allclose(held_out, 0.3)


def test_clusters_that_differ_are_told_apart():
    rng = np.random.RandomState(0)
    side = rng.randint(2, size=600)
    z = (10 * side[:, None] + rng.randn(600, 4)).astype(np.float32)
    y = np.column_stack([side, 1 - side]).astype(float)
    clusters, held_out = fit_clusters(z, y, COARSE, seed=0)
    assert (held_out.argmax(axis=1) == y.argmax(axis=1)).all()
    assert clusters.predict(np.full((1, 4), 10, dtype=np.float32))[0, 0] > 0.8


def test_many_descriptors_are_projected_first():
    rng = np.random.RandomState(0)
    z = rng.randn(200, 300).astype(np.float32)
    axes = fit_axes(z, seed=0)
    assert axes is not None
    assert axes.shape == (300, MAX_AXES)
    clusters, _ = fit_clusters(z @ axes, rng.rand(200, 2), COARSE, seed=0, axes=axes)
    assert clusters.predict(z).shape == (200, 2)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_or_identical_prompts_are_no_problem(n):
    y = np.eye(n)[:, :2] + 0.1
    clusters, held_out = fit_clusters(np.ones((n, 3), dtype=np.float32), y, COARSE, seed=0)
    assert np.isfinite(held_out).all()
    assert_allclose(clusters.predict(np.ones((1, 3), dtype=np.float32)), y.mean(axis=0)[None])


def test_finer_granularities_have_more_clusters_and_shrink_less(case):
    z, y = case
    found = [fit_clusters(z, y, granularity, seed=0)[0] for granularity in GRANULARITIES]
    largest = [max(len(centers) for centers in clusters.centers) for clusters in found]
    assert largest == sorted(largest)
    assert [granularity.shrinkage for granularity in GRANULARITIES] == [5.0, 2.0]
