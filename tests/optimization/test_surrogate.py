import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from scipy.stats import lognorm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk

from lookahead_sk.optimization import _map_fit
from lookahead_sk.optimization._kernel_conversion import (
    default_kernel,
    is_default,
    to_torch_kernel,
    with_noise,
)
from lookahead_sk.optimization._likelihood import (
    centred_products,
    matern_log_likelihood,
    squared_differences,
)
from lookahead_sk.optimization._map_fit import MapGaussianProcess, make_prior
from lookahead_sk.optimization._predictive import latent_moments, predict_moments
from lookahead_sk.optimization._surrogate import fit_surrogate
from lookahead_sk.optimization._transforms import fit_transform
from lookahead_sk.optimization._trend import QuadraticTrend


def _data(n=25, seed=0):
    x = np.random.default_rng(seed).random((n, 2))
    return x, np.stack([np.sin(5 * x[:, 0]) + x[:, 1], x.sum(axis=1) - 1], axis=1)


@pytest.mark.parametrize("trend", [False, True])
@pytest.mark.parametrize("nu", [2.5, np.inf])
def test_the_fast_likelihood_is_scikit_learns_with_its_gradient(nu, trend):
    rng = np.random.default_rng(1)
    x, y = rng.random((17, 3)), rng.standard_normal(17)
    kernel = default_kernel(3, nu, trend)
    theta = kernel.theta + 0.5 * rng.standard_normal(len(kernel.theta))
    theta[-1] = np.log(1e-3)  # else the squared exponential's condition number hides the digits
    model = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-9).fit(x, y)
    expected, slope = model.log_marginal_likelihood(theta, eval_gradient=True)
    products = centred_products(x) if trend else None
    value, gradient = matern_log_likelihood(theta, squared_differences(x), y, 1e-9, nu, products)
    assert value == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gradient, slope, rtol=1e-8)


def test_a_covariance_that_is_not_positive_definite_has_likelihood_zero():
    x = np.zeros((4, 1))
    value, gradient = matern_log_likelihood(
        np.array([0.0, 0.0, -40.0]), squared_differences(x), np.arange(4.0), 0.0, 2.5
    )
    assert value == -np.inf
    assert np.isfinite(gradient).all()


def test_the_prior_of_a_length_scale_is_the_log_normal_of_the_paper():
    d = 3
    prior = make_prior(sk.RBF(np.ones(d)), d)
    law = lognorm(s=np.sqrt(3), scale=np.exp(np.sqrt(2) + np.log(d) / 2))
    a, b = np.array([0.1, 0.5, 2.0]), np.array([0.4, 0.2, 1.0])
    expected = law.logpdf(a).sum() - law.logpdf(b).sum()
    actual = prior.evaluate(np.log(a))[0] - prior.evaluate(np.log(b))[0]
    assert actual == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "kernel",
    [
        default_kernel(2),
        default_kernel(2, trend=True),
        with_noise(default_kernel(2, trend=True)),
        1.0 * sk.RBF(0.3) + sk.WhiteKernel(1e-3),
        sk.DotProduct(0.7) ** 2 + 1.0 * sk.RBF(0.3) + sk.WhiteKernel(1e-3),
    ],
)
def test_the_posterior_of_hyper_parameters_has_the_gradient_it_claims(kernel):
    x, y = _data()
    model = MapGaussianProcess(kernel, optimizer=None).fit(x, y[:, 0])
    theta = kernel.theta + 0.2
    _, gradient = model.log_marginal_likelihood(theta, eval_gradient=True)
    numeric = approx_fprime(theta, lambda t: model.log_marginal_likelihood(t), 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-3)


def test_only_the_default_structure_takes_the_fast_path():
    assert is_default(default_kernel(4))
    assert is_default(default_kernel(4, trend=True))
    assert is_default(with_noise(default_kernel(4)))
    assert not is_default(1.0 * sk.RBF(np.ones(2)) + sk.WhiteKernel())
    assert not is_default(
        sk.ConstantKernel(1.0, "fixed") * sk.Matern([1, 1], nu=2.5)
        + QuadraticTrend()
        + sk.WhiteKernel()
    )


def test_a_fit_interpolates_exact_data_and_warms_the_next_one():
    x, y = _data()
    surrogate = fit_surrogate(x, y)
    mean, std = predict_moments(surrogate, x)
    np.testing.assert_allclose(mean, y, atol=1e-2)
    assert (std < 0.05).all()
    again = fit_surrogate(x, y, starts=surrogate.starts)
    assert again.n_iter < surrogate.n_iter


def test_the_evidence_chooses_the_smoothness_of_every_output():
    """A smooth objective and a rough constraint, each drawn from its own kernel's prior."""
    rng = np.random.default_rng(7)
    x = rng.random((60, 2))
    rough = sk.Matern(np.full(2, 0.5), nu=0.5)(x)
    draw = np.linalg.cholesky(rough + 1e-9 * np.eye(60)) @ rng.standard_normal(60)
    y = np.stack([np.sin(3 * x[:, 0]) * np.cos(2 * x[:, 1]), draw], axis=1)
    surrogate = fit_surrogate(x, y, output_transform="none")
    nu = surrogate.posterior.kernel.first.first.second.nu
    assert nu == (np.inf, 2.5)


def _count_fits(monkeypatch):
    fitted = []
    fit_one = _map_fit._fit_one

    def counted(kernel, x, *arguments):
        fitted.append(len(x))
        return fit_one(kernel, x, *arguments)

    monkeypatch.setattr(_map_fit, "_fit_one", counted)
    return fitted


def test_what_some_data_decided_holds_until_there_are_a_quarter_more(monkeypatch):
    fitted = _count_fits(monkeypatch)
    x = np.random.default_rng(0).random((126, 1))
    y = np.sin(6 * x)
    fit_surrogate(x[:19], y[:19], starts=fit_surrogate(x[:18], y[:18]).starts)
    assert fitted.count(19) == fitted.count(18) > 1
    decided = fit_surrogate(x[:100], y[:100])
    fitted.clear()
    kept = fit_surrogate(x[:125], y[:125], starts=decided.starts)
    assert fitted == [125]
    assert kept.starts[0].choice == decided.starts[0].choice
    fresh = fit_surrogate(x[:125], y[:125])
    grid = np.linspace(0, 1, 9)[:, None]
    for found, wanted in zip(
        predict_moments(kept, grid), predict_moments(fresh, grid), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-3)
    fitted.clear()
    fit_surrogate(x, y, starts=kept.starts)
    assert fitted == [126] * fitted.count(126)
    assert len(fitted) > 1


def test_a_surprise_decides_anew(monkeypatch):
    fitted = _count_fits(monkeypatch)
    x = np.random.default_rng(0).random((41, 1))
    y = np.sin(6 * x)
    decided = fit_surrogate(x[:40], y[:40])
    fitted.clear()
    fit_surrogate(x, y, starts=decided.starts)
    assert fitted == [41]
    y[40] += 1.0
    fit_surrogate(x, y, starts=decided.starts)
    assert len(fitted) > 2


def test_after_a_surprise_some_of_many_data_decide(monkeypatch):
    fitted = _count_fits(monkeypatch)
    x = np.random.default_rng(0).random((311, 1))
    y = np.sin(6 * x)
    decided = fit_surrogate(x[:310], y[:310])
    y[310] += 1.0
    fitted.clear()
    fit_surrogate(x, y, starts=decided.starts)
    assert fitted[-1] == 311
    assert set(fitted[:-1]) == {200}


def test_of_many_data_some_decide_and_all_are_fitted():
    x = np.random.default_rng(0).random((310, 1))
    surrogate = fit_surrogate(x, np.sin(6 * x))
    assert surrogate.posterior.kernel.first.first.second.nu == (np.inf,)
    points = np.linspace(0.05, 0.95, 20)[:, None]
    mean, _ = predict_moments(surrogate, points)
    np.testing.assert_allclose(mean, np.sin(6 * points), atol=1e-4)
    assert surrogate.posterior.x.shape == (310, 1)


def test_outputs_of_different_smoothness_share_one_kernel_in_torch():
    kernels = [default_kernel(2, nu, nu == np.inf) for nu in (2.5, np.inf, 2.5)]
    a, b = np.random.default_rng(0).random((2, 5, 2))
    together = to_torch_kernel(kernels)(torch.tensor(a), torch.tensor(b)).numpy()
    for one, kernel in zip(together, kernels, strict=True):
        np.testing.assert_allclose(one, kernel(a, b), rtol=1e-12)


@pytest.mark.parametrize("level", [0.03, 0.3])
def test_noise_is_recognised_as_noise(level):
    x, y = _data(80)
    noisy = y + level * np.random.default_rng(3).standard_normal(y.shape)
    surrogate = fit_surrogate(x, noisy, output_transform="none")
    observed = surrogate.noise * np.array([t.spread * t.scale for t in surrogate.transforms]) ** 2
    np.testing.assert_allclose(np.sqrt(observed), level, rtol=0.35)
    assert not surrogate.is_exact
    assert fit_surrogate(x, noisy, noise="exact").is_exact
    assert fit_surrogate(x[:8], noisy[:8], noise="noisy").starts[0].is_noisy


def test_what_no_smooth_function_follows_is_no_noise_while_close_points_agree():
    """A step and a spike, seen from near: residuals are large everywhere but between neighbours."""
    rng = np.random.default_rng(0)
    x = rng.random((30, 2))
    x = np.concatenate([x, x + 1e-3 * rng.standard_normal(x.shape)]).clip(0, 1)
    y = np.stack([np.round(4 * x[:, 0]) + 20 * np.exp(-100 * ((x - 0.4) ** 2).sum(1)), x[:, 0]], 1)
    assert fit_surrogate(x, y).is_exact


@pytest.mark.parametrize("dimension", [2, 5])
def test_a_quadratic_is_known_from_as_many_points_as_it_has_coefficients(dimension):
    rng = np.random.default_rng(dimension)
    n = (dimension + 1) * (dimension + 2) // 2 + 2
    x, points = rng.random((n, dimension)), rng.random((50, dimension))
    half = rng.standard_normal((dimension, dimension))
    curvature, slope = half @ half.T, rng.standard_normal(dimension)

    def outputs(x):
        quadratic = np.einsum("ni,ij,nj->n", x, curvature, x)
        return np.stack([quadratic + x @ slope, x @ slope - 0.1], axis=1)

    surrogate = fit_surrogate(x, outputs(x))
    assert [start.kernel > 1 for start in surrogate.starts] == [True, True]
    mean, _ = predict_moments(surrogate, points)
    np.testing.assert_allclose(mean, outputs(points), atol=2e-3 * np.ptp(outputs(points)))


def test_a_failed_row_is_ignored_by_the_outputs_and_learned_as_a_failure():
    x, y = _data()
    failing = x[:, 0] > 0.7
    y[failing] = np.nan
    surrogate = fit_surrogate(x, y)
    rest = fit_surrogate(x[~failing], y[~failing])
    points = np.random.default_rng(5).random((6, 2))
    for a, b in zip(latent_moments(surrogate, points), latent_moments(rest, points), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert len(surrogate.posterior.offset) == 3
    from lookahead_sk.optimization._posterior import moments

    runs = moments(surrogate.posterior, surrogate.posterior.x).mean[2].numpy()
    assert (runs[failing] > 0).all()
    assert (runs[~failing] < 0).all()


@pytest.mark.parametrize("kind", ["none", "bilog", "log_tail", "copula"])
@pytest.mark.parametrize("is_constraint", [True, False])
def test_a_transform_is_increasing_invertible_and_knows_its_slope(kind, is_constraint):
    values = np.random.default_rng(2).standard_t(2, 40) * 50 + 7
    transform = fit_transform(values, kind, is_constraint=is_constraint)
    grid = np.linspace(values.min() - 20, values.max() + 20, 301)
    mapped = transform.forward(grid)
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_allclose(transform.inverse(mapped), grid, rtol=1e-9, atol=1e-7)
    numeric = (transform.forward(grid + 1e-4) - transform.forward(grid - 1e-4)) / 2e-4
    if kind != "copula" or is_constraint:  # piecewise linear: no slope at a knot
        np.testing.assert_allclose(transform.slope(grid), numeric, rtol=1e-3)


@pytest.mark.parametrize("kind", ["none", "bilog"])
def test_the_threshold_of_a_constraint_stays_at_zero(kind):
    transform = fit_transform(np.array([3.0, 900.0, -2.0]), kind, is_constraint=True)
    assert transform.forward(np.array([0.0]))[0] == 0.0
    assert transform.offset == pytest.approx(transform.forward(np.array([3.0, 900.0, -2.0])).mean())


def test_the_evidence_prefers_a_logarithm_for_a_heavy_tail_and_none_for_a_smooth_output():
    x = np.random.default_rng(0).random((40, 2))
    smooth = np.sin(3 * x[:, 0]) + x[:, 1]
    y = np.stack([np.exp(6 * smooth), smooth - 0.5], axis=1)
    objective, constraint = fit_surrogate(x, y).transforms
    assert objective.kind != "none"
    assert constraint.kind == "none"


def test_the_incumbent_is_the_best_feasible_value_and_under_noise_a_posterior_mean():
    x, y = _data(60)
    exact, feasible = fit_surrogate(x, y), y[:, 1] <= 0
    best, incumbent = y[feasible, 0].min(), exact.incumbent_among(feasible)
    assert exact.transforms[0].inverse(np.array([incumbent]))[0] == pytest.approx(best)
    noisy = y.copy()
    noisy[:, 0] += 0.5 * np.random.default_rng(1).standard_normal(60)
    smoothed = fit_surrogate(x, noisy, output_transform="none")
    raw = smoothed.transforms[0].forward(noisy[noisy[:, 1] <= 0, 0]).min()
    assert smoothed.incumbent_among(feasible) > raw
    assert exact.incumbent_among(np.zeros(60, dtype=bool)) is None
