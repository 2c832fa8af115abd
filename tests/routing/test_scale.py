"""Many prompts: blocks and samples change nothing that they should not."""

import numpy as np
import pytest

from lookahead_sk.routing._local_average import _candidates, _clusters, _neighbors
from lookahead_sk.routing._local_average._candidates import some_rows
from lookahead_sk.routing._local_average._clusters import fit_clusters
from lookahead_sk.routing._local_average._neighbors import fit_neighbors


def problem(n=500):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(n, 3)).astype("f4"), rng.random((n, 2))
    y[rng.random(y.shape) < 0.2] = np.nan
    return z, y, rng.normal(size=(90, 3)).astype("f4")


@pytest.mark.parametrize("module", [_clusters, _neighbors])
def test_blocks_give_what_one_block_gives(module, monkeypatch):
    z, y, new = problem()
    everything = np.arange(len(z))

    def fit():
        if module is _clusters:
            return fit_clusters(z, y, 8, 0, everything, everything % 5)[-1]
        return fit_neighbors(z, y, everything, everything % 5)[-1]

    whole, held_out = fit()
    expected = [held_out, whole.predict(new), whole.updated(new, y[:90]).predict(new)]
    monkeypatch.setattr(module, "_BLOCK", 64)
    parts, held_out = fit()
    found = [held_out, parts.predict(new), parts.updated(new, y[:90]).predict(new)]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_sample_places_centres_and_all_prompts_fill_them():
    z, y, _ = problem()
    clusters, held_out = fit_clusters(z, y, 8, 0, np.arange(0, 500, 3), np.arange(500) % 5)[-1]
    assert held_out.shape == y.shape
    for counts in clusters.counts:
        np.testing.assert_allclose(counts.sum(axis=0), (~np.isnan(y)).sum(axis=0))


def test_neighbours_among_a_sample_never_include_the_prompts_own_part(monkeypatch):
    z, y, _ = problem()
    y[:] = np.arange(500)[:, None]  # a score tells whose it is
    monkeypatch.setattr(_candidates, "MAX_SAMPLE", 100)
    monkeypatch.setattr(_neighbors, "SIZES", (1,))
    monkeypatch.setattr(_neighbors, "SHRINKAGE", 0.0)
    some = some_rows(500)
    ((neighbours, held_out),) = fit_neighbors(z, y, some, np.arange(500) % 5)
    assert len(neighbours.points) == 100
    assert set(held_out[:, 0]) <= set(some.tolist())
    assert (held_out[:, 0] % 5 != np.arange(500) % 5).all()
    np.testing.assert_array_equal(neighbours.predict(z[some])[:, 0], some)  # new prompts may
    assert len(set(some.tolist())) == 100
    assert some_rows(7).tolist() == list(range(7))
