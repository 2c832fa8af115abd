import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from lookahead_sk.optimization._acquisition import (
    log_eic,
    log_eic_at,
    log_expected_improvement,
    two_step_samples,
)
from lookahead_sk.optimization._normal import sobol_normal
from lookahead_sk.optimization._posterior import moments

BOXED = np.random.default_rng(11).random((24, 2))  # candidates of step two


def _tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("mean", "std", "incumbent"), [(0.0, 1.0, 0.0), (2.0, 0.5, 1.0), (-3.0, 2.0, 1)]
)
def test_log_ei_is_the_integral_that_defines_it(mean, std, incumbent):
    expected, _ = quad(
        lambda f: (incumbent - f) * norm.pdf(f, mean, std), mean - 40 * std, incumbent, limit=200
    )
    actual = log_expected_improvement(_tensor(mean), _tensor(std), incumbent).exp().item()
    assert actual == pytest.approx(expected, rel=1e-9)


def test_eic_is_the_expected_feasible_improvement_by_simulation():
    rng = np.random.default_rng(5)
    mean, std = np.array([0.2, 0.3, -0.4]), np.array([0.8, 0.5, 0.9])
    draws = mean + std * rng.standard_normal((400_000, 3))
    gain = np.maximum(0.5 - draws[:, 0], 0) * (draws[:, 1:] <= 0).all(1)
    value = log_eic(_tensor(mean)[:, None], _tensor(std)[:, None], 0.5).exp().item()
    assert abs(value - gain.mean()) < 4 * gain.std() / np.sqrt(len(gain))


def test_eic_reproduces_ei_when_constraints_are_certain_or_absent():
    mean, std = _tensor([[0.3, -0.2], [-50.0, -80.0]]), _tensor([[0.7, 1.1], [1.0, 2.0]])
    expected = log_expected_improvement(mean[0], std[0], 0.1)
    torch.testing.assert_close(log_eic(mean, std, 0.1), expected)
    torch.testing.assert_close(log_eic(mean[:1], std[:1], 0.1), expected)


@pytest.mark.parametrize("m", [1, 2])
def test_eic_agrees_with_botorch_on_the_same_gaussian_process(make_case, m):
    botorch_models = pytest.importorskip("botorch.models")
    from botorch.acquisition.analytic import LogConstrainedExpectedImprovement
    from gpytorch.kernels import MaternKernel
    from gpytorch.means import ZeroMean

    case = make_case(m=m, seed=4, noise=1e-3)
    peers = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for j in range(1 + m):
            kernel = MaternKernel(nu=2.5).double()
            kernel.lengthscale = case.scales[j]
            x, y = _tensor(case.x), _tensor(case.y[j])[:, None]
            peer = botorch_models.SingleTaskGP(
                x,
                y,
                train_Yvar=torch.full_like(y, 1e-3),
                covar_module=kernel,
                mean_module=ZeroMean(),
                outcome_transform=None,
            )
            peers.append(peer.eval())
        model = botorch_models.ModelListGP(*peers)
        limits = dict.fromkeys(range(1, 1 + m), (None, 0.0))
        best = _tensor(0.3)  # as a float BoTorch would round it to single precision
        peer_eic = LogConstrainedExpectedImprovement(model, best, 0, limits, maximize=False)
        points = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        expected = peer_eic(points.unsqueeze(1)).detach()
    ours = log_eic_at(moments(case.posterior, points), 0.3)
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-8)


def _nested_monte_carlo(case, batch, incumbent, n, seed):
    """Two-step value by refitting the numpy process for every fantasy, mean and error."""
    rng = np.random.default_rng(seed)
    priors = [case.numpy_posterior(j, batch) for j in range(len(case.y))]
    roots = [np.linalg.cholesky(c + 1e-12 * np.eye(len(batch))) for _, c in priors]
    x = np.concatenate([case.x, batch])
    total = np.empty(n)
    for i in range(n):
        draws = [
            mean + root @ rng.standard_normal(len(batch))
            for (mean, _), root in zip(priors, roots, strict=True)
        ]
        feasible = np.all(np.array(draws[1:]) <= 0, axis=0) if len(draws) > 1 else [True]
        after = [
            case.numpy_posterior(j, BOXED, x, np.concatenate([case.y[j], draw]))
            for j, draw in enumerate(draws)
        ]
        stds = [np.sqrt(np.maximum(np.diag(c), 1e-14)) for _, c in after]
        chance = np.ones(len(BOXED))
        for (mean, _), std in zip(after[1:], stds[1:], strict=True):
            chance = chance * norm.cdf(-mean / std)
        if incumbent is None:
            total[i] = 1.0 if np.any(feasible) else chance.max()
            continue
        best = min([incumbent, *np.array(draws[0])[np.asarray(feasible)]])
        z = (best - after[0][0]) / stds[0]
        total[i] = incumbent - best + (chance * stds[0] * (z * norm.cdf(z) + norm.pdf(z))).max()
    return total.mean(), total.std() / np.sqrt(n)


@pytest.mark.parametrize("incumbent", [0.4, None])
@pytest.mark.parametrize(("m", "q"), [(1, 1), (2, 1), (1, 2), (2, 3)])
def test_two_step_value_agrees_with_a_brute_force_nested_monte_carlo(make_case, m, q, incumbent):
    case = make_case(m=m, seed=10 * m + q, is_infeasible=incumbent is None)
    batch = np.random.default_rng(q).random((q, 2))
    mean, error = _nested_monte_carlo(case, batch, incumbent, 1500, seed=m)
    normals = sobol_normal(2**13, (1 + m) * q, seed=3).reshape(-1, 1 + m, q)
    candidates = moments(case.posterior, _tensor(BOXED))
    samples = two_step_samples(case.posterior, _tensor(batch)[None], candidates, normals, incumbent)
    assert error > 0
    assert abs(samples.mean().item() - mean) < 4 * error


def test_unconstrained_two_step_value_is_the_limit_of_a_certain_constraint(make_case):
    case = make_case(m=0, seed=2)
    batch = _tensor([[[0.3, 0.6]]])
    normals = sobol_normal(2**12, 1, seed=0).reshape(-1, 1, 1)
    free = two_step_samples(
        case.posterior, batch, moments(case.posterior, _tensor(BOXED)), normals, 0.2
    ).mean()
    values, error = _nested_monte_carlo(case, batch[0].numpy(), 0.2, 1500, seed=1)
    assert abs(free.item() - values) < 4 * error


def test_a_second_step_can_only_add_to_the_first(make_case):
    case = make_case(m=2, seed=8)
    batches = torch.rand(30, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    candidates = moments(case.posterior, _tensor(BOXED))
    normals = sobol_normal(64, 3, seed=0).reshape(-1, 3, 1)
    value = two_step_samples(case.posterior, batches, candidates, normals, 0.3).mean(0)
    one_step = log_eic_at(moments(case.posterior, batches[:, 0]), 0.3).exp()
    assert (value >= one_step).all()
    assert value.max() >= log_eic_at(candidates, 0.3).exp().max() * 0.99
