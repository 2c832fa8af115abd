"""The pure parts of the baselines, each against a second route."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

from lookahead_sk.baselines._linear import penalty_scale, reduce_rank, ridge_path
from lookahead_sk.baselines._mlp import Schedule, train_network
from lookahead_sk.baselines._tuning import cross_validated, first_least
from lookahead_sk.routing._local_average._clusters import (
    cluster_sums,
    memberships,
    model_means,
    shrunken_means,
)
from lookahead_sk.routing._local_average._neighbors import neighbor_means
from lookahead_sk.routing._local_average._selection import difference_error


@pytest.fixture
def problem():
    rng = np.random.RandomState(0)
    Z = rng.standard_normal((30, 6)) + 2
    Y = Z @ rng.standard_normal((6, 4)) + 0.3 * rng.standard_normal((30, 4))
    return Z, Y, rng.uniform(0.5, 2, size=30)


@pytest.fixture
def with_gaps(problem):
    Z, Y, w = problem
    Y = Y.copy()
    Y[np.random.RandomState(1).rand(*Y.shape) < 0.3] = np.nan
    return Z, Y, w


@pytest.mark.parametrize("n_features", [6, 90])  # more features than prompts: the dual form
def test_the_path_agrees_with_scikit_learns_ridge(problem, n_features):
    _, Y, w = problem
    Z = np.random.RandomState(2).standard_normal((30, n_features))
    penalties = np.array([0.1, 3.0, 100.0])
    for penalty, model in zip(penalties, ridge_path(Z, Y, w, penalties), strict=True):
        peer = Ridge(alpha=penalty).fit(Z, Y, sample_weight=w)
        np.testing.assert_allclose(model.predict(Z), peer.predict(Z), atol=1e-8)


def test_each_model_is_fitted_where_it_was_observed(with_gaps):
    Z, Y, w = with_gaps
    (model,) = ridge_path(Z, Y, w, np.array([2.0]))
    for k in range(Y.shape[1]):
        rows = ~np.isnan(Y[:, k])
        peer = Ridge(alpha=2.0).fit(Z[rows], Y[rows, k], sample_weight=w[rows])
        np.testing.assert_allclose(model.predict(Z)[:, k], peer.predict(Z), atol=1e-8)


def penalised_loss(factors, Z, Y, w, penalty, rank):
    """Loss of B = P V' on scores centred over models, as a function of the factors."""
    P, V = np.split(factors, [Z.shape[1] * rank])
    B = P.reshape(-1, rank) @ V.reshape(-1, rank).T
    Yc = Y - Y.mean(axis=1, keepdims=True)
    Zc, Yc = (A - np.average(A, axis=0, weights=w) for A in (Z, Yc))
    return np.sum(w[:, None] * (Yc - Zc @ B) ** 2) + penalty * np.sum(B**2)


@pytest.mark.parametrize("rank", [1, 2])
def test_reduced_rank_is_the_minimum_that_a_search_over_factors_finds(problem, rank):
    Z, Y, w = problem
    penalty = 5.0
    (full,) = ridge_path(Z, Y, w, np.array([penalty]))
    model = reduce_rank(full, Z, w, penalty, rank)
    deviations = model.coef - model.coef.mean(axis=1, keepdims=True)
    assert np.linalg.matrix_rank(deviations) == rank
    arguments = (Z, Y, w, penalty, rank)
    U, s, Vt = np.linalg.svd(deviations)
    ours = penalised_loss(
        np.concatenate([(U[:, :rank] * s[:rank]).ravel(), Vt[:rank].T.ravel()]), *arguments
    )
    rng = np.random.RandomState(3)
    found = min(
        minimize(penalised_loss, rng.standard_normal(10 * rank), args=arguments).fun
        for _ in range(2)
    )
    assert ours == pytest.approx(found, rel=1e-6)


def test_the_mean_over_models_is_left_as_it_was(problem):
    Z, Y, w = problem
    (full,) = ridge_path(Z, Y, w, np.array([5.0]))
    reduced = reduce_rank(full, Z, w, 5.0, 1)
    np.testing.assert_allclose(
        reduced.predict(Z).mean(axis=1), full.predict(Z).mean(axis=1), atol=1e-10
    )


def test_the_intercept_of_a_reduced_model_keeps_the_means(problem):
    Z, Y, w = problem
    (full,) = ridge_path(Z, Y, w, np.array([5.0]))
    reduced = reduce_rank(full, Z, w, 5.0, 1)
    for model in (full, reduced):
        np.testing.assert_allclose(
            np.average(model.predict(Z), axis=0, weights=w), np.average(Y, axis=0, weights=w)
        )


def test_all_ranks_but_one_change_nothing(problem):
    Z, Y, w = problem
    (full,) = ridge_path(Z, Y, w, np.array([5.0]))
    np.testing.assert_allclose(reduce_rank(full, Z, w, 5.0, 3).coef, full.coef, atol=1e-12)


def test_penalties_scale_with_the_features(problem):
    Z, Y, w = problem
    one, other = (
        ridge_path(A, Y, w, 3 * np.array([penalty_scale(A, w)]))[0].predict(A) for A in (Z, 100 * Z)
    )
    np.testing.assert_allclose(one, other)


def test_neighbour_means_are_averages_over_the_first_k(with_gaps):
    _, Y, w = with_gaps
    neighbours = np.argsort(np.random.RandomState(4).rand(700, 30), axis=1)[:, :12]
    ks = np.array([1, 5, 12])
    quality = neighbor_means(Y, neighbours, ks, model_means(Y, w))
    overall = [np.average(c[~np.isnan(c)], weights=w[~np.isnan(c)]) for c in Y.T]
    for i in (0, 511, 512, 699):
        for a, k in enumerate(ks):
            for model in range(4):
                rows = [r for r in neighbours[i, :k] if not np.isnan(Y[r, model])]
                expected = np.mean(Y[rows, model]) if rows else overall[model]
                assert quality[a, i, model] == pytest.approx(expected)


def test_cold_memberships_are_hard_and_hot_ones_are_even():
    distances = np.array([[1.0, 4.0, 2.0], [3.0, 0.5, 9.0]])
    hard = memberships(distances, None)
    assert hard.tolist() == [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(memberships(distances, 1e-3), hard, atol=1e-12)
    np.testing.assert_allclose(memberships(distances, 1e9), 1 / 3, atol=1e-6)
    expected = np.exp(-distances) / np.exp(-distances).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(memberships(distances, 1.0), expected)


def test_cluster_means_by_hand():
    Y = np.array([[1.0, 0.0], [0.0, np.nan], [0.0, np.nan], [1.0, 1.0]])
    shares = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    overall = model_means(Y, np.ones(4))
    assert overall.tolist() == [0.5, 0.5]
    assert model_means(Y[[0, 1, 3]], np.array([1.0, 2.0, 1.0])).tolist() == [0.5, 0.5]
    sums = cluster_sums(shares, Y)
    np.testing.assert_allclose(shrunken_means(*sums, overall, 0.0), [[1 / 3, 0], [1, 1]])
    np.testing.assert_allclose(
        shrunken_means(*sums, overall, 1.0), [[1.5 / 4, 0.5 / 2], [1.5 / 2, 1.5 / 2]]
    )


def test_an_empty_cluster_gets_the_overall_means():
    Y = np.array([[1.0, 0.0], [0.0, 0.0]])
    shares = np.array([[1.0, 0.0], [1.0, 0.0]])
    overall = model_means(Y, np.ones(2))
    assert shrunken_means(*cluster_sums(shares, Y), overall, 0.0)[1].tolist() == [0.5, 0.0]


def test_the_error_is_that_of_differences_between_models(with_gaps):
    _, Y, w = with_gaps
    quality = np.random.RandomState(5).standard_normal(Y.shape)
    total = 0.0
    for q, y, weight in zip(quality, Y, w, strict=True):
        seen = np.flatnonzero(~np.isnan(y))
        pairs = [(i, j) for i in seen for j in seen if i < j]
        squares = [((q[i] - q[j]) - (y[i] - y[j])) ** 2 for i, j in pairs]
        total += weight * sum(squares) / max(len(seen), 1)
    assert difference_error(quality, Y, w) == pytest.approx(total / w.sum())


def test_knowing_how_hard_a_prompt_is_earns_nothing():
    Y = np.array([[0.5, 0.9], [0.9, 0.1], [np.nan, 0.7]])
    quality = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    shifted = quality + np.array([[7.0], [-2.0], [3.0]])
    assert difference_error(quality, Y, np.ones(3)) == pytest.approx(
        difference_error(shifted, Y, np.ones(3))
    )


def test_among_equals_the_first_candidate_wins():
    assert first_least(np.array([0.9, 0.5, 0.5, 0.6])) == 1


def test_cross_validation_judges_every_prompt_once_by_a_model_that_did_not_see_it():
    Y = np.eye(2)[np.random.RandomState(0).randint(2, size=23)]
    judged = []

    def predict(train, test):
        assert not set(train) & set(test)
        assert set(train) | set(test) == set(range(23))
        judged.extend(test)
        return np.stack([Y[test], 1 - Y[test]])

    w = np.ones(23)
    errors = cross_validated(predict, Y, w, 5, np.random.RandomState(0)).errors(Y, w)
    assert sorted(judged) == list(range(23))
    assert errors.tolist() == [0, 2]


def test_folds_that_hide_a_model_are_left_out():
    Y = np.full((6, 2), np.nan)
    Y[:, 0], Y[3, 1] = 1.0, 0.5

    def predict(train, test):
        return np.ones((1, len(test), 2))

    result = cross_validated(predict, Y, np.ones(6), 6, np.random.RandomState(0))
    assert sorted(result.rows) == [0, 1, 2, 4, 5]
    # With two models on one prompt each, every fold of two hides one: all rows are used.
    few = np.array([[1.0, np.nan], [np.nan, 1.0]])
    assert cross_validated(predict, few, np.ones(2), 2, np.random.RandomState(0)).rows.tolist() == [
        0,
        1,
    ]


SCHEDULE = Schedule(
    hidden_size=16, dropout=0.1, learning_rate=0.01, weight_decay=0.0, max_epochs=80,
    batch_size=32, patience=10,
)  # fmt: skip


def separable(n=300, seed=0):
    rng = np.random.RandomState(seed)
    Z = rng.standard_normal((n, 5))
    T = np.column_stack([Z[:, 0] > 0, Z[:, 1] * Z[:, 2] > 0, rng.rand(n) < 0.3]).astype(float)
    return Z, T


def test_a_network_learns_what_is_learnable_and_the_rate_of_what_is_not():
    Z, T = separable()
    network = train_network(Z, T, np.ones(300), np.arange(60), SCHEDULE, seed=0)
    fresh, right = separable(seed=1)
    chance = network.predict(fresh)
    assert np.mean((chance[:, 0] > 0.5) == right[:, 0]) > 0.9
    assert np.mean((chance[:, 1] > 0.5) == right[:, 1]) > 0.8
    assert chance[:, 2].mean() == pytest.approx(0.3, abs=0.1)


PLAIN = SCHEDULE._replace(dropout=0.0, batch_size=80, max_epochs=30)
NONE = np.array([], int)


def test_a_cell_that_was_not_observed_is_like_a_prompt_of_weight_zero():
    Z, T = separable(80)
    hidden = T[:, :1].copy()
    hidden[::2] = np.nan
    wrong = np.where(np.isnan(hidden), 1 - T[:, :1], hidden)
    w = np.tile([0.0, 1.0], 40)
    one = train_network(Z, hidden, np.ones(80), NONE, PLAIN, seed=0)
    other = train_network(Z, wrong, w, NONE, PLAIN, seed=0)
    np.testing.assert_allclose(one.predict(Z), other.predict(Z), rtol=1e-9)


def test_a_prompt_of_weight_two_counts_like_two_prompts():
    Z, T = separable(40)
    twice = np.concatenate([np.arange(40), np.arange(20)])
    w = np.repeat([2.0, 1.0], 20)
    one = train_network(Z, T, w, NONE, PLAIN, seed=0)
    other = train_network(Z[twice], T[twice], np.ones(60), NONE, PLAIN, seed=0)
    np.testing.assert_allclose(one.predict(Z), other.predict(Z), rtol=1e-9)


def test_the_seed_determines_the_network_and_the_global_generator_is_left_alone():
    Z, T = separable(60)
    arguments = (Z, T, np.ones(60), np.arange(10), SCHEDULE)
    state = torch.get_rng_state()
    one, two, other = (train_network(*arguments, seed=seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert (one.W1 != other.W1).any()
    assert torch.equal(torch.get_rng_state(), state)


def test_early_stopping_returns_the_state_of_the_lowest_held_out_loss():
    rng = np.random.RandomState(0)
    Z, T = rng.standard_normal((40, 20)), rng.randint(2, size=(40, 2)).astype(float)  # all noise
    held = np.arange(15)
    long = SCHEDULE._replace(max_epochs=60, dropout=0.0)
    stopped = train_network(Z, T, np.ones(40), held, long, seed=0)
    forced = train_network(Z, T, np.ones(40), held, long._replace(patience=60), seed=0)
    last = train_network(Z[15:], T[15:], np.ones(25), np.array([], int), long, seed=0)

    def loss(network):
        p = np.clip(network.predict(Z[held]), 1e-12, 1 - 1e-12)
        return -np.mean(T[held] * np.log(p) + (1 - T[held]) * np.log(1 - p))

    assert loss(stopped) < loss(last)
    assert loss(forced) <= loss(stopped) + 1e-12
