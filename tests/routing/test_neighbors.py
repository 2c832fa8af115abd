"""Nearest neighbours in the space of predicted responses, against loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lookahead_sk.routing._local_average import _neighbors
from lookahead_sk.routing._local_average._neighbors import SHRINKAGE, fit_neighbors


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    z = rng.randn(40, 3).astype(np.float32)
    y = rng.rand(40, 2)
    y[rng.rand(40, 2) < 0.3] = np.nan
    return z, y


def parts(n):
    return np.arange(n) % 4


def by_hand(point, z, y, sizes, without=None):
    part = parts(len(z))
    rows = [i for i in range(len(z)) if without is None or part[i] != part[without]]
    near = sorted(rows, key=lambda i: ((z[i] - point) ** 2).sum())
    overall = np.nanmean(y, axis=0)
    quality = np.zeros(y.shape[1])
    for k in sizes:
        for j in range(y.shape[1]):
            seen = [y[i, j] for i in near[:k] if not np.isnan(y[i, j])]
            mean = (sum(seen) + SHRINKAGE * overall[j]) / (len(seen) + SHRINKAGE)
            quality[j] += mean / len(sizes)
    return quality


@pytest.mark.parametrize("chunk", [50, 2_000_000])
def test_quality_is_the_shrunken_mean_of_the_nearest(case, chunk, monkeypatch):
    monkeypatch.setattr(_neighbors, "_CHUNK", chunk)
    z, y = case
    new = np.random.RandomState(1).randn(5, 3).astype(np.float32)
    found = fit_neighbors(z, y, np.arange(40), parts(40))
    assert [neighbors.sizes for neighbors, _ in found] == [(3,), (6,), (12,), (25,)]
    for neighbors, held_out in found:
        k = neighbors.sizes
        assert_allclose(neighbors.predict(new), [by_hand(x, z, y, k) for x in new], rtol=1e-6)
        for i in (0, 11, 39):
            assert_allclose(held_out[i], by_hand(z[i], z, y, k, without=i), rtol=1e-6)
    both = found[0][0].joined(found[2][0])
    assert_allclose(both.predict(new), [by_hand(x, z, y, (3, 12)) for x in new], rtol=1e-6)


def test_new_prompts_are_projected_on_the_axes(case):
    z, y = case
    axes = np.eye(5, 3, dtype=np.float32)
    neighbours, _ = fit_neighbors(z, y, np.arange(40), parts(40), axes)[0]
    wide = np.hstack([z, np.ones((40, 2), dtype=np.float32)])
    assert_allclose(
        neighbours.predict(wide), fit_neighbors(z, y, np.arange(40), parts(40))[0][0].predict(z)
    )


def test_no_more_neighbours_than_other_prompts(case):
    z, y = case
    y = np.nan_to_num(y)
    found = fit_neighbors(z[:12], y[:12], np.arange(12), parts(12))
    assert [neighbors.sizes for neighbors, _ in found] == [(3,), (6,)]
    assert fit_neighbors(z[:3], y[:3], np.arange(3), parts(3)) == []
