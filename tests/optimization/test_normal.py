import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import log_ndtr as scipy_log_ndtr
from scipy.special import ndtri_exp
from scipy.stats import kstest, norm, truncnorm

from lookahead_sk.optimization._normal import (
    log_h,
    log_ndtr,
    sobol_normal,
    sobol_uniform,
    truncated_above,
    truncated_below,
)


def _tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("z", [-6.3, -2.0, -1.0001, -0.9999, 0.4, 3.0])
def test_log_h_is_the_integral_that_defines_it(z):
    expected, _ = quad(
        lambda t: (z - t) * norm.pdf(t), z - 40, z, epsabs=0, epsrel=1e-11, limit=200
    )
    assert log_h(_tensor([z])).exp().item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("z", [-1e3, -1e5, -1e7, -1e12])
def test_log_h_follows_its_asymptote_where_the_expectation_underflows(z):
    expected = norm.logpdf(z) - 2 * np.log(-z)  # z Phi(z) + phi(z) ~ phi(z) / z^2
    assert log_h(_tensor([z])).item() == pytest.approx(expected, rel=1e-9)


def test_the_derivative_of_log_h_is_finite_and_matches_central_differences():
    z = _tensor([-1e8, -50.0, -1.3, -1.0, 0.0, 2.0, 50.0]).requires_grad_()
    (slope,) = torch.autograd.grad(log_h(z).sum(), z)
    step = 1e-6 * z.detach().abs().clamp_min(1.0)
    central = (log_h(z.detach() + step) - log_h(z.detach() - step)) / (2 * step)
    np.testing.assert_allclose(slope, central, rtol=1e-4)


def test_log_ndtr_agrees_with_scipy_and_keeps_a_finite_slope():
    z = np.array([-1e9, -1e6, -1e5 - 1, -37.0, -3.0, 0.3, 12.0])
    x = _tensor(z).requires_grad_()
    np.testing.assert_allclose(log_ndtr(x).detach(), scipy_log_ndtr(z), rtol=1e-9, atol=1e-300)
    (slope,) = torch.autograd.grad(log_ndtr(x).sum(), x)
    assert torch.isfinite(slope).all()
    np.testing.assert_allclose(slope[:3], -z[:3], rtol=1e-4)  # d log Phi(z) ~ -z


@pytest.mark.parametrize("bound", [-3.0, -0.2, 1.5])
@pytest.mark.parametrize("side", ["below", "above"])
def test_truncated_draws_follow_the_truncated_distribution(bound, side):
    u = _tensor(np.random.default_rng(7).random(4000))
    if side == "below":
        draws, limits = truncated_below(u, _tensor(bound)), (-np.inf, bound)
    else:
        draws, limits = truncated_above(u, _tensor(bound)), (bound, np.inf)
    assert kstest(draws.numpy(), truncnorm(*limits).cdf).pvalue > 1e-3


@pytest.mark.parametrize("bound", [-5.0, -15.0, -19.99, -20.01, -30.0, -200.0])
@pytest.mark.parametrize("u", [1e-9, 0.1, 0.9])
def test_truncated_draws_are_exact_in_the_deep_tail(bound, u):
    exact = ndtri_exp(np.log(u) + scipy_log_ndtr(bound))
    b = _tensor(bound).requires_grad_()
    draw = truncated_below(_tensor(u), b)
    assert draw.item() == pytest.approx(exact, rel=1e-4)
    (slope,) = torch.autograd.grad(draw, b)
    assert 0.5 < slope.item() < 1.01


def test_sobol_normals_have_the_moments_of_the_normal_and_depend_on_the_seed():
    points = sobol_normal(4096, 3, seed=1)
    np.testing.assert_allclose(points.mean(0), 0.0, atol=5e-3)
    np.testing.assert_allclose(np.cov(points.T), np.eye(3), atol=2e-2)
    assert not torch.equal(points, sobol_normal(4096, 3, seed=2))
    assert torch.equal(points, sobol_normal(4096, 3, seed=1))
    assert sobol_uniform(8, 0, seed=0).shape == (8, 0)
