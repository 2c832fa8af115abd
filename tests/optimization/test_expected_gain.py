"""What one more evaluation is expected to gain, in the user's units."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization._expected_gain import (
    expected_gains,
    expected_improvement_in_user_units,
)
from lookahead_sk.optimization._posterior import moments
from lookahead_sk.optimization._transforms import fit_transform

BOX = [(0, 1)] * 2


def outputs(X, scale=1.0, shift=0.0):
    objective = np.sin(6 * X[:, 0]) + (X[:, 1] - 0.3) ** 2
    return np.stack([shift + scale * objective, 0.6 - X[:, 0] - 0.3 * X[:, 1]], axis=1)


def told(n=10, scale=1.0, shift=0.0, **parameters):
    X = np.random.default_rng(0).random((n, 2))
    defaults = {"random_state": 0, "output_transform": "none", "noise": "exact"}
    optimizer = TwoStepConstrainedBO(BOX, 1, **{**defaults, **parameters})
    return optimizer.tell(X, outputs(X, scale, shift))


def closed_form(mean, std, best):
    z = (best - mean) / std
    return (best - mean) * norm.cdf(z) + std * norm.pdf(z)


def test_without_a_transform_it_is_the_closed_form_however_far_the_incumbent():
    transform = fit_transform(np.array([3.0, 5.0, 11.0]), "none", is_constraint=False)
    z = np.array([-30.0, -8.0, -3.0, -0.5, 0.0, 0.7, 4.0, 9.0, 40.0])
    std = np.geomspace(0.01, 3, len(z))
    found = expected_improvement_in_user_units(0.2 - std * z, std, 0.2, transform)
    unit = transform.inverse(np.array([1.0])) - transform.inverse(np.array([0.0]))
    # The textbook's form cancels far below the mean: there the asymptotic series is the reference.
    series = (
        norm.pdf(z[:2]) / z[:2] ** 2 * (1 - 3 / z[:2] ** 2 + 15 / z[:2] ** 4 - 105 / z[:2] ** 6)
    )
    np.testing.assert_allclose(found[:2], series * std[:2] * unit, rtol=1e-3)
    np.testing.assert_allclose(found[2:], closed_form(-z, 1.0, 0.0)[2:] * std[2:] * unit, rtol=1e-9)


@pytest.mark.parametrize("kind", ["none", "bilog", "log_tail", "copula"])
def test_it_is_the_mean_of_draws_in_the_users_units(kind):
    rng = np.random.default_rng(0)
    transform = fit_transform(rng.lognormal(size=40), kind, is_constraint=False)
    mean, std = np.array([-1.0, -0.3, 0.5, 1.5]), np.array([0.1, 0.5, 0.8, 1.0])
    found = expected_improvement_in_user_units(mean, std, -0.5, transform)
    draws = mean + std * rng.standard_normal((400_000, 4))
    gain = np.maximum(transform.inverse(np.array([-0.5])) - transform.inverse(draws), 0)
    error = gain.std(axis=0) / math.sqrt(len(gain))
    assert (np.abs(found - gain.mean(axis=0)) < 4 * error).all()
    assert (error < 0.05 * found).all()


@pytest.mark.parametrize("transform", ["none", "auto", "log_tail"])
def test_failures_and_constraints_count_as_in_draws_of_all_outputs(transform):
    optimizer = told(14, output_transform=transform).tell(
        [[0.9, 0.9], [0.5, 0.9]], [[np.nan] * 2] * 2
    )
    surrogate, incumbent = optimizer._fitted(), optimizer._problem().incumbent
    points = np.random.default_rng(1).random((12, 2))
    found = expected_gains(surrogate, torch.as_tensor(points), incumbent)
    at = moments(surrogate.posterior, torch.as_tensor(points))
    assert len(at.mean) == 3  # objective, constraint, "it runs"
    normal = np.random.default_rng(2).standard_normal((200_000, 3, len(points)))
    draws = at.mean.detach().numpy() + at.variance.detach().sqrt().numpy() * normal
    gain = np.maximum(optimizer.best_y_ - surrogate.transforms[0].inverse(draws[:, 0]), 0)
    gain *= (draws[:, 1:] <= 0).all(axis=1)
    error = gain.std(axis=0) / math.sqrt(len(gain))
    assert (np.abs(found - gain.mean(axis=0)) <= 4 * error + 1e-9).all()
    assert found.max() > 1e-4


def largest_on_a_grid(optimizer, centre, radius):
    axes = [np.clip(np.linspace(c - radius, c + radius, 101), 0, 1) for c in centre]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    mean, std = optimizer.predict(grid, return_std=True)
    std = np.maximum(std, 1e-12)
    chance = norm.cdf(-mean[:, 1] / std[:, 1])
    return (closed_form(mean[:, 0], std[:, 0], optimizer.best_y_) * chance).max()


def test_it_is_the_largest_of_a_grid():
    optimizer = told()
    largest = largest_on_a_grid(optimizer, [0.5, 0.5], 0.5)
    assert largest > 1e-3
    assert 0.999 * largest < optimizer.expected_gain_ < 1.05 * largest


def test_what_known_constraints_exclude_is_not_expected():
    free = told()
    best = free.best_x_
    bound = told(known_constraints=lambda X: np.abs(X - best).max(axis=1) - 0.02)
    assert bound.best_y_ == free.best_y_
    largest = largest_on_a_grid(bound, best, 0.02)
    assert 0.99 * largest < bound.expected_gain_ < 1.001 * largest
    assert bound.expected_gain_ < 0.7 * free.expected_gain_


def test_it_has_the_objectives_unit():
    plain, scaled = (told(scale=s, shift=t).expected_gain_ for s, t in ((1, 0), (1000, -50)))
    assert scaled == pytest.approx(1000 * plain, rel=1e-3)


def test_it_is_nan_before_the_model_is_used_and_while_nothing_is_feasible():
    optimizer = TwoStepConstrainedBO(BOX, 1, random_state=0)
    assert math.isnan(optimizer.expected_gain_)
    X = optimizer.ask(5)
    optimizer.tell(X[:4], outputs(X[:4]) - [0, 9])
    assert math.isnan(optimizer.expected_gain_)
    optimizer.tell(X[4:], outputs(X[4:]) - [0, 9])
    assert optimizer.expected_gain_ >= 0
    infeasible = TwoStepConstrainedBO(BOX, 1, random_state=0).tell(X, outputs(X) + [0, 9])
    assert math.isnan(infeasible.expected_gain_)
    failed = TwoStepConstrainedBO(BOX, 1, random_state=0).tell(X, np.full((5, 2), np.nan))
    assert math.isnan(failed.expected_gain_)


def test_reading_it_changes_nothing_and_it_is_saved(tmp_path):
    looked, other = told(), told()
    gain = looked.expected_gain_
    np.testing.assert_array_equal(looked.ask(), other.ask())
    assert looked.expected_gain_ == gain  # what is pending is not evaluated
    looked.save(tmp_path / "run.json")
    assert TwoStepConstrainedBO.load(tmp_path / "run.json").expected_gain_ == gain
    looked.tell(looked.pending_, outputs(looked.pending_))
    other.tell(other.pending_, outputs(other.pending_))
    assert looked.expected_gain_ != gain
    np.testing.assert_array_equal(looked.ask(), other.ask())


def test_a_run_that_stops_by_it_is_at_the_optimum():
    def evaluate(X):
        return ((X - [0.3, 0.7]) ** 2).sum(axis=1)

    optimizer, small = TwoStepConstrainedBO(BOX, random_state=0, acquisition="eic"), 0
    while small < 3:
        X = optimizer.ask()
        small = small + 1 if optimizer.expected_gain_ < 1e-3 else 0
        optimizer.tell(X, evaluate(X))
        assert len(optimizer.y_) < 25
    assert optimizer.best_y_ < 1e-3
