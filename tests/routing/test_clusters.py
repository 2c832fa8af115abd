"""Local means over clusters of prompts, against the formula written out with loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lookahead_sk.routing._local_average import _clusters
from lookahead_sk.routing._local_average._candidates import MAX_AXES, fit_axes, local_averages
from lookahead_sk.routing._local_average._clusters import SHRINKAGE
from lookahead_sk.routing._local_average._mixture import mix

SOFTNESS = {"hard": 0, "nearly hard": 1, "soft": 2}


def parts(n):
    return np.arange(n) % 3


def fit_clusters(z, y, softness="soft", n_clusters=4, axes=None):
    found = _clusters.fit_clusters(z, y, n_clusters, 0, np.arange(len(z)), parts(len(z)), axes)
    return found[SOFTNESS[softness]]


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    z = rng.randn(120, 5).astype(np.float32)
    y = rng.rand(120, 3)
    y[rng.rand(120, 3) < 0.2] = np.nan
    y[0] = 0.5
    return z, y


def memberships(z, centers, temperature):
    squared = np.array([[((a - c) ** 2).sum() for c in centers] for a in z])
    if temperature is None:
        return (squared == squared.min(axis=1, keepdims=True)).astype(float)
    weights = np.exp(-squared / temperature)
    return weights / weights.sum(axis=1, keepdims=True)


def by_hand(clusters, z_new, z, y, left_out=None):
    keep = np.ones(len(z), dtype=bool)
    if left_out is not None:
        keep = parts(len(z)) != parts(len(z))[left_out]
    found = []
    for centers, temperature in zip(clusters.centers, clusters.temperatures, strict=True):
        W, W_new = memberships(z, centers, temperature), memberships(z_new, centers, temperature)
        quality = np.zeros((len(z_new), y.shape[1]))
        for k in range(y.shape[1]):
            overall = np.nanmean(y[:, k])
            rows = keep & ~np.isnan(y[:, k])
            for c in range(len(centers)):
                total = (W[rows, c] * y[rows, k]).sum() + SHRINKAGE * overall
                count = W[rows, c].sum() + SHRINKAGE
                quality[:, k] += W_new[:, c] * total / count
        found.append(quality)
    return np.mean(found, axis=0)


@pytest.mark.parametrize("softness", SOFTNESS)
def test_quality_is_the_shrunken_local_mean(case, softness):
    z, y = case
    clusters, _ = fit_clusters(z, y, softness)
    new = np.random.RandomState(1).randn(7, 5).astype(np.float32)
    assert_allclose(clusters.predict(new), by_hand(clusters, new, z, y), rtol=1e-4)


def test_temperatures_are_shares_of_distances_written_out(case):
    z, y = case
    centers, temperature = ([] for _ in range(2))
    for softness in SOFTNESS:
        clusters, _ = fit_clusters(z, y, softness)
        centers.append(clusters.centers[1])
        temperature.append(clusters.temperatures[1])
    squared = np.sort([[((a - c) ** 2).sum() for c in centers[0]] for a in z], axis=1)
    assert temperature[0] is None
    assert temperature[1] == pytest.approx(0.1 * squared[:, 0].mean(), rel=1e-4)
    assert temperature[2] == pytest.approx(0.7 * np.median(squared[:, 1] - squared[:, 0]), rel=1e-4)


def test_one_cluster_is_the_mean_without_the_prompts_own_part(case):
    z, y = case
    ((clusters, held_out),) = _clusters.fit_clusters(z, y, 1, 0, np.arange(120), parts(120))
    assert_allclose(clusters.predict(z[:2]), np.tile(np.nanmean(y, axis=0), (2, 1)))
    assert_allclose(held_out[3], by_hand(clusters, z[3:4], z, y, left_out=3)[0])


def test_averages_that_share_axes_are_joined_and_count_as_many(case):
    z, y = case
    y = np.nan_to_num(y, nan=0.25)
    averages = [average for average, _ in local_averages(z, y, parts(120), 0, None)]
    chosen = [averages[i] for i in (0, 2, 5, -1, -2)]
    mixture = mix(chosen)
    assert len(mixture.members) == 2
    expected = np.mean([average.predict(z) for average in chosen], axis=0)
    assert_allclose(mixture.predict(z), expected)


def test_weights_of_columns_lie_in_the_axes():
    z = np.random.RandomState(0).randn(300, 140).astype(np.float32)
    weights = np.repeat(np.float32([0, 2]), (2, 138))
    axes = fit_axes(z, 0, weights)
    assert_allclose(axes[:2], 0)
    plain = fit_axes(2 * z[:, 2:], 0)
    assert_allclose(np.abs(z @ axes), np.abs(2 * z[:, 2:] @ plain), atol=1e-3)
    few = fit_axes(z[:, :3], 0, np.float32([0, 2, 1]))
    assert_allclose(z[:, :3] @ few, z[:, 1:3] * [2, 1], rtol=1e-6)


@pytest.mark.parametrize("softness", SOFTNESS)
@pytest.mark.parametrize("is_complete", [True, False])
def test_held_out_quality_leaves_out_the_prompts_own_part(case, is_complete, softness):
    z, y = case
    y = np.nan_to_num(y, nan=0.25) if is_complete else y
    clusters, held_out = fit_clusters(z, y, softness)
    for i in (0, 17, 95):
        expected = by_hand(clusters, z[i : i + 1], z, y, left_out=i)[0]
        assert_allclose(held_out[i], expected, rtol=1e-4)


def test_a_constant_score_is_predicted_exactly(case):
    z, _ = case
    clusters, held_out = fit_clusters(z, np.full((120, 2), 0.3))
    assert_allclose(clusters.predict(z), 0.3)
    assert_allclose(held_out, 0.3)


def test_clusters_that_differ_are_told_apart():
    rng = np.random.RandomState(0)
    side = rng.randint(2, size=600)
    z = (10 * side[:, None] + rng.randn(600, 4)).astype(np.float32)
    y = np.column_stack([side, 1 - side]).astype(float)
    clusters, held_out = fit_clusters(z, y)
    assert (held_out.argmax(axis=1) == y.argmax(axis=1)).all()
    assert clusters.predict(np.full((1, 4), 10, dtype=np.float32))[0, 0] > 0.8


def test_many_descriptors_are_projected_first():
    rng = np.random.RandomState(0)
    z = rng.randn(200, 300).astype(np.float32)
    axes = fit_axes(z, seed=0)
    assert axes is not None
    assert axes.shape == (300, MAX_AXES)
    clusters, _ = fit_clusters(z @ axes, rng.rand(200, 2), axes=axes)
    assert clusters.predict(z).shape == (200, 2)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_or_identical_prompts_are_no_problem(n):
    y = np.eye(n)[:, :2] + 0.1
    clusters, held_out = fit_clusters(np.ones((n, 3), dtype=np.float32), y, n_clusters=2)
    assert np.isfinite(held_out).all()
    assert_allclose(clusters.predict(np.ones((1, 3), dtype=np.float32)), y.mean(axis=0)[None])
