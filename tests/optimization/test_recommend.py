"""The point to use in the end, and what evaluations teach that failed in part."""

import numpy as np
import pytest
from scipy.stats import norm, randint
from sklearn.exceptions import NotFittedError

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._surrogate import fit_surrogate

BOX = [(0, 1)] * 2


def outputs(X):
    return np.stack([((X - 0.4) ** 2).sum(axis=1), 0.3 - X[:, 0]], axis=1)


def told(level=0.0, seed=0, n=40, **parameters):
    rng = np.random.default_rng(seed)
    X = rng.random((n, 2))
    y = outputs(X) + level * rng.standard_normal((n, 2))
    return TwoStepConstrainedBO(BOX, 1, random_state=0, **parameters).tell(X, y)


def test_exact_outputs_are_recommended_as_observed():
    optimizer = told()
    found = optimizer.recommend()
    np.testing.assert_array_equal(found.x, optimizer.best_x_)
    assert found.mean[0] == optimizer.best_y_
    assert found.std.tolist() == [0, 0]
    assert found.probability == 1
    found.x[:] = 9
    assert optimizer.best_x_.max() <= 1


def test_under_noise_it_is_the_best_posterior_mean_that_is_feasible_enough():
    optimizer = told(0.1, output_transform="none", noise="noisy")
    mean, std = optimizer.predict(optimizer.X_, return_std=True)
    chance = norm.cdf(-mean[:, 1] / std[:, 1])
    for least in (0.5, 0.95):
        found = optimizer.recommend(least)
        row = np.where(chance >= least, mean[:, 0], np.inf).argmin()
        np.testing.assert_array_equal(found.x, optimizer.X_[row])
        np.testing.assert_allclose(found.mean, mean[row], rtol=1e-9)
        np.testing.assert_allclose(found.std, std[row], rtol=1e-9)
        assert found.probability == pytest.approx(chance[row], rel=1e-6)


def test_under_noise_it_is_better_in_truth_than_the_best_observation():
    def regret(x):
        objective, constraint = outputs(np.asarray(x)[None])[0]
        return objective if constraint <= 0 else 0.2

    pairs = []
    for seed in range(12):
        optimizer = told(0.1, seed=seed, noise="noisy")
        pairs.append((regret(optimizer.recommend().x), regret(optimizer.best_x_)))
    ours, theirs = np.mean(pairs, axis=0)
    assert ours < 0.7 * theirs


def test_where_nothing_is_feasible_it_is_the_nearest_to_it():
    X = np.array([[0.0, 0.1], [0.1, 0.9], [0.2, 0.4], [0.05, 0.5], [0.15, 0.0]])
    optimizer = TwoStepConstrainedBO(BOX, 1, random_state=0).tell(X, outputs(X))
    found = optimizer.recommend()
    assert optimizer.best_x_ is None
    assert found.probability == 0
    np.testing.assert_array_equal(found.x, [0.2, 0.4])

    rng = np.random.default_rng(0)
    X = rng.random((30, 2)) * [0.3, 1]
    noisy = TwoStepConstrainedBO(BOX, 1, random_state=0, noise="noisy", output_transform="none")
    noisy.tell(X, outputs(X) + 0.1 * rng.standard_normal((30, 2)))
    mean, std = noisy.predict(X, return_std=True)
    chance = norm.cdf(-mean[:, 1] / std[:, 1])
    found = noisy.recommend(1.0)
    np.testing.assert_array_equal(found.x, X[chance.argmax()])
    assert found.probability == pytest.approx(chance.max(), rel=1e-6)


def test_known_constraints_and_named_spaces_count():
    space = {"n": randint(0, 9), "k": ["a", "b"]}
    points = [{"n": n, "k": k} for n in (1, 3, 5, 7) for k in "ab"]
    optimizer = TwoStepConstrainedBO(
        space, known_constraints=lambda P: [4.5 - p["n"] for p in P], random_state=0
    ).tell(points, [float(p["n"]) for p in points])
    assert optimizer.recommend().x["n"] == 5


def test_bad_calls_are_named():
    with pytest.raises(NotFittedError):
        TwoStepConstrainedBO(BOX).recommend()
    with pytest.raises(ValueError, match="min_probability must be a float in"):
        told().recommend(1.5)


def test_a_row_whose_objective_failed_teaches_the_constraint_and_the_other_way_round():
    X = np.random.default_rng(1).random((30, 2))

    def outputs(X):
        return np.stack([np.sin(5 * X[:, 0]) * X[:, 1], np.cos(4 * X[:, 1]) - X[:, 0]], axis=1)

    y = outputs(X)
    y[10:20, 0] = np.nan
    y[20:, 1] = np.nan
    mean = fit_surrogate(X, y, output_transform="none").posterior
    seen = mean.mask.numpy() > 0
    np.testing.assert_array_equal(seen[0], ~np.isnan(y[:, 0]))
    np.testing.assert_array_equal(seen[1], ~np.isnan(y[:, 1]))
    assert seen[2].all()  # whether it runs
    whole, parts = (
        TwoStepConstrainedBO(BOX, 1, random_state=0).fit(X[rows], y[rows])
        for rows in (slice(10), slice(30))
    )
    grid = np.random.default_rng(2).random((200, 2))
    errors = [np.abs(o.predict(grid) - outputs(grid)).mean(axis=0) for o in (whole, parts)]
    assert (errors[1] < 0.5 * errors[0]).all()
    assert parts.is_feasible_[10:].sum() == 0
    assert parts.best_y_ == whole.best_y_


def test_partly_observed_rows_are_saved(tmp_path):
    optimizer = told(n=8).tell([[0.5, 0.5], [0.6, 0.6]], [[np.nan, -1.0], [0.1, np.nan]])
    optimizer.save(tmp_path / "run.json")
    restored = TwoStepConstrainedBO.load(tmp_path / "run.json")
    np.testing.assert_array_equal(restored.y_, optimizer.y_)
    np.testing.assert_array_equal(restored.ask(), optimizer.ask())
