"""Weights of cells: as repeated rows where that is exact, against the truth, in the API."""

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold, cross_validate

from lookahead_sk import LookaheadRouter, MaskedLookaheadRouter
from lookahead_sk.baselines import (
    ClusterRouter,
    KNNRouter,
    MatrixFactorizationRouter,
    MLPRouter,
    RidgeRouter,
)
from lookahead_sk.baselines._linear import ridge_path
from lookahead_sk.datasets import average_samples
from lookahead_sk.routing._local_average._cells import mean_scores
from lookahead_sk.routing._local_average._clusters import (
    _Memberships,
    cluster_sums,
    model_means,
)
from lookahead_sk.routing._local_average._neighbors import Neighbors, neighbor_means
from lookahead_sk.routing._local_average._selection import difference_errors
from lookahead_sk.routing._training._losses import routing_loss

N, K = 24, 3


@pytest.fixture
def cells():
    """Scores with gaps, weights 1 to 3, and the row and scores of every repetition of a cell."""
    rng = np.random.default_rng(0)
    scores = rng.random((N, K))
    scores[rng.random((N, K)) < 0.2] = np.nan
    scores[:K] = rng.random((K, K))
    weight = rng.integers(1, 4, (N, K)).astype(float)
    rows, repeated = [], []
    for time in range(3):  # a row for what is repeated at least so often
        rows.append(np.arange(N))
        repeated.append(np.where(weight > time, scores, np.nan))
    return scores, weight, np.concatenate(rows), np.concatenate(repeated)


def test_means_are_those_of_repeated_rows(cells):
    scores, weight, rows, repeated = cells
    assert_allclose(mean_scores(scores, weight), np.nanmean(repeated, axis=0))
    w = np.random.default_rng(1).random(N)
    assert_allclose(model_means(scores, w, weight), model_means(repeated, w[rows]))


def test_cluster_sums_are_those_of_repeated_rows(cells):
    scores, weight, rows, repeated = cells
    shares = np.random.default_rng(1).dirichlet(np.ones(4), N)
    for got, expected in zip(
        cluster_sums(shares, scores, weight), cluster_sums(shares[rows], repeated), strict=True
    ):
        assert_allclose(got, expected)
    z = np.random.default_rng(2).standard_normal((N, 2)).astype(np.float32)
    part = np.arange(N) % 3
    weighted = _Memberships(z, z[:4], 0.5).sums(scores, part, weight)
    plain = _Memberships(z[rows], z[:4], 0.5).sums(repeated, part[rows])
    for got, expected in zip(weighted, plain, strict=True):
        assert_allclose(got, expected, rtol=1e-6)


def test_neighbour_means_are_those_of_repeated_rows(cells):
    scores, weight, _, repeated = cells
    near = np.array([[3, 7, 1, 11], [20, 2, 9, 5]])
    overall = mean_scores(scores, weight)
    got = neighbor_means(scores, near, np.array([2, 4]), overall, 0.5, weight)
    # Every neighbour three times over, in rows that hold what is repeated so often.
    thrice = (near[:, :, None] + N * np.arange(3)).reshape(2, -1)
    expected = neighbor_means(repeated, thrice, np.array([6, 12]), overall, 0.5)
    assert_allclose(got, expected)


def test_ridge_is_that_of_repeated_rows(cells):
    scores, weight, rows, repeated = cells
    Z = np.random.default_rng(3).standard_normal((N, 5))
    penalties = np.array([0.1, 10.0])
    weighted = ridge_path(Z, scores, np.ones(N), penalties, weight)
    plain = ridge_path(Z[rows], repeated, np.ones(len(rows)), penalties)
    for got, expected in zip(weighted, plain, strict=True):
        assert_allclose(got.coef, expected.coef)
        assert_allclose(got.intercept, expected.intercept)


def test_the_score_loss_is_that_of_repeated_rows(cells):
    scores, weight, rows, repeated = (torch.from_numpy(each) for each in cells)
    logits = torch.randn((2, N, K), generator=torch.manual_seed(0), dtype=torch.float64)
    w = torch.rand((2, N), generator=torch.manual_seed(1), dtype=torch.float64)
    got = routing_loss(logits, scores, w, weight)
    assert_allclose(got, routing_loss(logits[:, rows], repeated, w[:, rows]))
    assert not np.allclose(got, routing_loss(logits, scores, w))


def test_errors_of_differences_are_those_of_pairs_of_models(cells):
    scores, weight, *_ = cells
    quality = np.random.default_rng(4).random((N, K))
    got = difference_errors(quality, scores, weight)
    for i in range(N):
        seen = np.flatnonzero(~np.isnan(scores[i]))
        d, v = (quality - scores)[i, seen], weight[i, seen]
        pairs = sum(
            v[a] * v[b] * (d[a] - d[b]) ** 2 for a in range(len(d)) for b in range(a)
        ) / max(v.sum(), 1)
        assert got[i] == pytest.approx(pairs)


def noisy_problem(seed, n):
    """Samples (n, 2, 16) of scores around the truth; two thirds of the cells have only one."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    truth = np.stack([np.sin(2 * X[:, 0]), 0.7 * X[:, 1]], axis=1)
    samples = truth[:, :, None] + 2.0 * rng.standard_normal((n, 2, 16))
    counts = np.where(rng.random((n, 2)) < 2 / 3, 1, 16)
    samples[np.arange(16) >= counts[:, :, None]] = np.nan
    return X, truth, samples


ROUTERS = [
    LookaheadRouter("passthrough", max_epochs=2, random_state=0),
    KNNRouter("passthrough", n_neighbors=20),
    ClusterRouter("passthrough", n_clusters=16, random_state=0),
    RidgeRouter("passthrough", alpha=0.1, random_state=0),
    MatrixFactorizationRouter("passthrough", alpha=0.1, rank=1, random_state=0),
]
NAMES = [type(router).__name__ for router in ROUTERS]


@pytest.mark.parametrize("router", ROUTERS, ids=NAMES)
def test_weights_bring_the_fit_closer_to_the_truth(router):
    gains = []
    for seed in range(6):
        X, _, samples = noisy_problem(seed, 160)
        new, truth, _ = noisy_problem(seed + 100, 400)
        scores, weight = average_samples(samples)
        errors = [
            np.mean((router.fit(X, scores, cell_weight=each).predict_quality(new) - truth) ** 2)
            for each in (weight, None)
        ]
        gains.append(1 - errors[0] / errors[1])
    assert np.mean(gains) > 2 * np.std(gains, ddof=1) / np.sqrt(len(gains))


@pytest.mark.parametrize("router", ROUTERS, ids=NAMES)
def test_equal_numbers_of_samples_are_plain_means(router):
    X, truth, _ = noisy_problem(0, 60)
    samples = truth[:, :, None] + np.random.default_rng(0).standard_normal((60, 2, 3))
    samples[5, 1] = np.nan
    scores, weight = average_samples(samples)
    weighted = router.fit(X, scores, cell_weight=weight).predict_quality(X)
    plain = router.fit(X, samples.mean(axis=2))
    assert_allclose(weighted, plain.predict_quality(X), rtol=1e-4, atol=1e-5)


def test_a_saved_router_keeps_its_weights(tmp_path):
    X, _, samples = noisy_problem(0, 120)
    scores, weight = average_samples(samples)
    router = LookaheadRouter("passthrough", max_epochs=2, random_state=0)
    router.fit(X, scores, cell_weight=weight)
    assert_allclose(router.mean_scores_, (scores * weight).sum(axis=0) / weight.sum(axis=0))
    router.save_pretrained(tmp_path / "router")
    loaded = LookaheadRouter.from_pretrained(tmp_path / "router")
    for _ in range(2):
        assert_array_equal(loaded.predict_quality(X), router.predict_quality(X))
        loaded.partial_fit(X[:20], scores[:20])
        router.partial_fit(X[:20], scores[:20])


def test_neighbours_take_later_scores_with_weight_one():
    points = np.arange(4, dtype=np.float32)[:, None]
    scores, weight = np.array([[1.0], [0.0], [0.0], [0.0]]), np.array([[3.0], [1.0], [1.0], [1.0]])
    known = Neighbors(None, points, scores, (5,), weight)
    updated = known.updated(points[:1], np.array([[0.0]]))
    assert_allclose(updated.predict(points[:1]), 3 / 7)
    assert_allclose(known.predict(points[:1]), 1 / 2)
    assert_allclose(updated.zeroed().predict(points[:1]), 0.0)


def test_weights_are_routed_in_cross_validation():
    X, _, samples = noisy_problem(1, 60)
    scores, weight = average_samples(samples)
    with sklearn.config_context(enable_metadata_routing=True):
        router = KNNRouter("passthrough", n_neighbors=10).set_fit_request(cell_weight=True)
        found = cross_validate(
            router, X, scores, cv=KFold(3), params={"cell_weight": weight}, return_estimator=True
        )
    for fitted, (train, _) in zip(found["estimator"], KFold(3).split(X), strict=True):
        expected = KNNRouter("passthrough", n_neighbors=10)
        expected.fit(X[train], scores[train], cell_weight=weight[train])
        assert_array_equal(fitted.predict_quality(X), expected.predict_quality(X))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((4, 3)), r"cell_weight must be an array of shape \(4, 2\); got shape \(4, 3\)"),
        ([[1, 1], [1, 0], [1, 1], [1, 1]], r"got 0\.0.* row 1, column 1"),
        ([[1, 1], [1, 1], [1, np.nan], [1, 1]], r"positive and finite.* row 2, column 1"),
    ],
)
@pytest.mark.parametrize("router", [ROUTERS[0], ROUTERS[1]], ids=NAMES[:2])
def test_wrong_weights_are_refused(router, weight, message):
    with pytest.raises(ValueError, match=message):
        router.fit(np.eye(4), [[0.0, 1.0], [1.0, 0.0]] * 2, cell_weight=weight)


def test_a_cell_without_a_score_needs_no_weight():
    scores = np.array([[0.0, 1.0], [1.0, np.nan], [1.0, 0.0], [0.0, 1.0]])
    weight = np.where(np.isnan(scores), np.nan, 2.0)
    fitted = KNNRouter("passthrough", n_neighbors=2).fit(np.eye(4), scores, cell_weight=weight)
    assert np.isfinite(fitted.predict_quality(np.eye(4))).all()


def test_routers_without_weights_say_so():
    y, weight = [[0.0, 1.0], [1.0, 0.0]] * 2, np.ones((4, 2))
    with pytest.raises(ValueError, match="cell_weight must be None"):
        MLPRouter("passthrough").fit(np.eye(4), y, cell_weight=weight)
    with pytest.raises(ValueError, match="cell_weight must be None"):
        MaskedLookaheadRouter("no such backbone").fit(list("abcd"), y, cell_weight=weight)
