"""Small exact posteriors, and a Gaussian process written a second time in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lookahead_sk.optimization._kernels import Constant, Matern, Product
from lookahead_sk.optimization._posterior import Posterior, condition

NOISE = 1e-6


def matern52(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Matern 5/2 by its formula."""
    r = np.sqrt(5) * np.sqrt((((a[:, None] - b[None]) / scale) ** 2).sum(-1))
    return (1 + r + r**2 / 3) * np.exp(-r)


@dataclass(frozen=True)
class Case:
    """One random data set with its posterior in torch and the means to rebuild it in numpy."""

    x: np.ndarray  # (n, d)
    y: np.ndarray  # (J, n)
    scales: np.ndarray  # (J,)
    posterior: Posterior

    def numpy_posterior(
        self, j: int, points: np.ndarray, x: np.ndarray | None = None, y: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of output j at points by the textbook's inverse."""
        x = self.x if x is None else x
        y = self.y[j] if y is None else y
        # Fantasised points, beyond the first len(self.x), carry no observation noise.
        noise = np.where(np.arange(len(x)) < len(self.x), NOISE, 0.0)
        inverse = np.linalg.inv(matern52(x, x, self.scales[j]) + np.diag(noise))
        cross = matern52(points, x, self.scales[j])
        prior = matern52(points, points, self.scales[j])
        return cross @ inverse @ y, prior - cross @ inverse @ cross.T


def _draw_case(
    m: int, d: int = 2, n: int = 6, seed: int = 0, is_infeasible: bool = False, noise: float = NOISE
) -> Case:
    """Draw a data set; an infeasible one has no feasible point and none that is certain."""
    rng = np.random.default_rng([seed, m, d, n])
    x, y = rng.random((n, d)), rng.standard_normal((1 + m, n))
    if is_infeasible:
        y[1:] = 0.2 + np.abs(y[1:])
    scales = rng.uniform(0.3, 0.6, 1 + m)
    lengths = torch.tensor(scales).reshape(-1, 1, 1).expand(-1, 1, d)
    kernel = Product(Constant(torch.ones(1 + m, 1, 1).double()), Matern(lengths, (2.5,) * (1 + m)))
    noises, offset = torch.full((1 + m,), noise, dtype=torch.float64), torch.zeros(1 + m).double()
    posterior = condition(kernel, torch.tensor(x), torch.tensor(y), noises, offset)
    return Case(x, y, scales, posterior)


@pytest.fixture
def make_case():
    """Maker of random data sets with exact posteriors."""
    return _draw_case


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors: more threads only cost."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
