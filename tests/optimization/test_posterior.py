from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk

from lookahead_sk.optimization._kernel_conversion import to_torch_kernel
from lookahead_sk.optimization._posterior import condition, lookahead_update, moments
from lookahead_sk.optimization._trend import QuadraticTrend

KERNELS = [
    sk.RBF([0.3, 0.8]),
    sk.Matern([0.3, 0.8], nu=0.5),
    sk.Matern(0.4, nu=1.5),
    sk.ConstantKernel(2.5) * sk.Matern([0.3, 0.8], nu=2.5) + sk.WhiteKernel(0.01),
    sk.RationalQuadratic(0.4, 1.7) * sk.RBF(0.9) + sk.ConstantKernel(0.2),
    sk.DotProduct(0.6) * sk.DotProduct(0.3) + sk.RBF(0.9),
    sk.DotProduct(0.6) ** 2 + sk.RBF(0.9),
    QuadraticTrend(1.3, quadratic_variance=0.6) + sk.RBF(0.9),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_moments_agree_with_scikit_learn(kernel):
    rng = np.random.default_rng(3)
    x, y, points = rng.random((12, 2)), rng.standard_normal(12), rng.random((9, 2))
    model = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-10).fit(x, y)
    mean, std = model.predict(points, return_std=True)
    converted = to_torch_kernel([kernel])
    noise = torch.zeros(1).double() + converted.noise()
    posterior = condition(
        converted, torch.tensor(x), torch.tensor(y)[None], noise + 1e-10, torch.zeros(1).double()
    )
    at = moments(posterior, torch.tensor(points))
    np.testing.assert_allclose(at.mean[0], mean, rtol=1e-6, atol=1e-8)
    # scikit-learn's variance is that of an observation, ours of the latent function.
    np.testing.assert_allclose(at.variance[0] + noise, std**2, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("q", [1, 2, 3])
def test_rank_q_conditioning_equals_a_refit_on_the_longer_data(make_case, q):
    case = make_case(m=2, seed=q)
    rng = np.random.default_rng(q)
    batch, z = rng.random((q, 2)), rng.random((20, 2))
    step = lookahead_update(
        case.posterior, torch.tensor(batch)[None], moments(case.posterior, torch.tensor(z))
    )
    normals = torch.tensor(rng.standard_normal((3, q)))
    values = step.mean[0] + (step.factor[0] @ normals.unsqueeze(-1)).squeeze(-1)  # (J, q)
    updated = step.mean_z + torch.einsum("jq,jqg->jg", normals, step.gain[0])
    for j in range(3):
        x, y = np.concatenate([case.x, batch]), np.concatenate([case.y[j], values[j].numpy()])
        mean, covariance = case.numpy_posterior(j, z, x, y)
        np.testing.assert_allclose(updated[j], mean, atol=2e-4)
        np.testing.assert_allclose(step.variance[0, j], np.diag(covariance), atol=2e-5)


def test_a_missing_output_leaves_the_posterior_of_the_rest_exact(make_case):
    case = make_case(m=1)
    mask = torch.ones(2, 6).double()
    mask[0, [1, 4]] = 0
    y = torch.tensor(case.y)
    y[0, 1] = 1e6  # ignored
    masked = condition(
        case.posterior.kernel,
        case.posterior.x,
        y,
        torch.full((2,), 1e-6, dtype=torch.float64),
        torch.zeros(2).double(),
        mask,
    )
    points = np.random.default_rng(0).random((5, 2))
    at = moments(masked, torch.tensor(points))
    keep = [0, 2, 3, 5]
    smaller = replace(case, x=case.x[keep], y=case.y[:, keep])
    mean, covariance = smaller.numpy_posterior(0, points)
    np.testing.assert_allclose(at.mean[0], mean, atol=1e-6)
    np.testing.assert_allclose(at.variance[0], np.diag(covariance), atol=1e-6)


def test_a_batch_of_starts_equals_the_starts_one_by_one(make_case):
    case = make_case(m=1)
    batches = torch.rand(4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = moments(case.posterior, torch.rand(7, 2).double())
    together = lookahead_update(case.posterior, batches, z)
    for s in range(4):
        alone = lookahead_update(case.posterior, batches[s : s + 1], z)
        torch.testing.assert_close(together.gain[s], alone.gain[0])
        torch.testing.assert_close(together.variance[s], alone.variance[0])


def test_duplicated_points_in_a_batch_and_on_the_data_keep_everything_finite(make_case):
    case = make_case(m=1)
    point = torch.tensor(case.x[:1])
    batches = torch.stack([point.repeat(3, 1), torch.full((3, 2), 0.5).double()])
    step = lookahead_update(case.posterior, batches, moments(case.posterior, torch.tensor(case.x)))
    for value in (step.factor, step.gain, step.variance):
        assert torch.isfinite(value).all()
    assert (step.variance > 0).all()
