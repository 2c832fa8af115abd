"""Nearest neighbours in the space of foreseen responses, against loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lookahead_sk.routing import _neighbours
from lookahead_sk.routing._neighbours import N_NEIGHBOURS, SHRINKAGE, fit_neighbours


@pytest.fixture
def case():
    rng = np.random.RandomState(0)
    z = rng.randn(40, 3).astype(np.float32)
    y = rng.rand(40, 2)
    y[rng.rand(40, 2) < 0.3] = np.nan
    return z, y


def by_hand(point, z, y, k):
    near = sorted(range(len(z)), key=lambda i: ((z[i] - point) ** 2).sum())[:k]
    overall = np.nanmean(y, axis=0)
    quality = []
    for j in range(y.shape[1]):
        seen = [y[i, j] for i in near if not np.isnan(y[i, j])]
        quality.append((sum(seen) + SHRINKAGE * overall[j]) / (len(seen) + SHRINKAGE))
    return quality


@pytest.mark.parametrize("chunk", [50, 2_000_000])
def test_quality_is_the_shrunken_mean_of_the_nearest(case, chunk, monkeypatch):
    monkeypatch.setattr(_neighbours, "_CHUNK", chunk)
    z, y = case
    new = np.random.RandomState(1).randn(5, 3).astype(np.float32)
    for neighbours, held_out in fit_neighbours(z, y):
        k = neighbours.n_neighbors
        assert_allclose(neighbours.predict(new), [by_hand(x, z, y, k) for x in new], rtol=1e-6)
        others = [np.delete(np.arange(40), i) for i in range(40)]
        overall = np.nanmean(y, axis=0)
        for i in (0, 11, 39):
            expected = by_hand(z[i], z[others[i]], y[others[i]], k)
            # The overall mean, which shrinks, is that of all prompts.
            shift = SHRINKAGE * (overall - np.nanmean(y[others[i]], axis=0))
            near = sorted(others[i], key=lambda r: ((z[r] - z[i]) ** 2).sum())[:k]
            count = (~np.isnan(y[near])).sum(axis=0)
            assert_allclose(held_out[i], expected + shift / (count + SHRINKAGE), rtol=1e-6)


def test_new_prompts_are_projected_on_the_axes(case):
    z, y = case
    axes = np.eye(5, 3, dtype=np.float32)
    neighbours, _ = fit_neighbours(z, y, axes)[0]
    wide = np.hstack([z, np.ones((40, 2), dtype=np.float32)])
    assert_allclose(neighbours.predict(wide), fit_neighbours(z, y)[0][0].predict(z))


def test_no_more_neighbours_than_other_prompts(case):
    z, y = case
    assert [n.n_neighbors for n, _ in fit_neighbours(z, y)] == list(N_NEIGHBOURS)
    y = np.nan_to_num(y)
    assert [n.n_neighbors for n, _ in fit_neighbours(z[:12], y[:12])] == [6]
    assert fit_neighbours(z[:6], y[:6]) == []
