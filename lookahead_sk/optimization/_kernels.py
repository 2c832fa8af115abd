"""Covariance functions in torch, one set of hyper-parameters per output.

Source: Rasmussen and Williams, "Gaussian processes for machine learning", 2006, chapter 4. Each
class computes what the scikit-learn kernel of the same name does.

============  ===========  ==========================================
symbol        shape        meaning
============  ===========  ==========================================
x1, x2        (..., n, d)  points of the unit cube
J = 1 + m                  outputs, objective first
length_scale  (J, 1, d)    or (J, 1, 1)
scalars       (J, 1, 1)    variances, alpha, sigma_0, noise level
============  ===========  ==========================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Keeps sqrt differentiable; its derivative is multiplied by zero at coinciding points.
_TINY = 1e-30


class Kernel(Protocol):
    """A covariance between points, batched over outputs."""

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""

    def diag(self, x: Tensor) -> Tensor:
        """Variance at each point, (..., J, n)."""

    def noise(self) -> Tensor | float:
        """Variance of the white noise that the kernel contains, (J,)."""


def _squared_distance(x1: Tensor, x2: Tensor, length_scale: Tensor) -> Tensor:
    """Squared scaled distances, (..., J, n1, n2)."""
    a = (x1 - 0.5).unsqueeze(-3) / length_scale
    b = (x2 - 0.5).unsqueeze(-3) / length_scale
    norms = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
    return (norms - 2 * a @ b.transpose(-1, -2)).clamp_min(0.0)


class _WithoutNoise:
    def noise(self) -> Tensor | float:
        """No white noise."""
        return 0.0


@dataclass(frozen=True)
class _Stationary(_WithoutNoise):
    length_scale: Tensor

    def diag(self, x: Tensor) -> Tensor:
        outputs = self.length_scale.shape[0]
        return x.new_ones(*x.shape[:-2], outputs, x.shape[-2])


@dataclass(frozen=True)
class RBF(_Stationary):
    """Squared exponential, eq. (4.9)."""

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        return torch.exp(-0.5 * _squared_distance(x1, x2, self.length_scale))


@dataclass(frozen=True)
class Matern(_Stationary):
    """Matern with nu in {1/2, 3/2, 5/2, inf}, one per output, eq. (4.17)."""

    nu: tuple[float, ...]  # J

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        squared = _squared_distance(x1, x2, self.length_scale)
        kinds = sorted(set(self.nu))
        covariance = _matern(squared, kinds[0])
        for nu in kinds[1:]:
            is_other = torch.tensor([own == nu for own in self.nu], device=squared.device)
            covariance = torch.where(is_other[:, None, None], _matern(squared, nu), covariance)
        return covariance


def _matern(squared: Tensor, nu: float) -> Tensor:
    if nu == math.inf:
        return torch.exp(-0.5 * squared)
    r = torch.sqrt(2 * nu * squared.clamp_min(_TINY))
    if nu == 0.5:
        return torch.exp(-r)
    if nu == 1.5:
        return (1 + r) * torch.exp(-r)
    return (1 + r + r.square() / 3) * torch.exp(-r)


@dataclass(frozen=True)
class RationalQuadratic(_Stationary):
    """Scale mixture of squared exponentials, eq. (4.19)."""

    alpha: Tensor

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        squared = _squared_distance(x1, x2, self.length_scale)
        return (1 + squared / (2 * self.alpha)) ** -self.alpha


@dataclass(frozen=True)
class DotProduct(_WithoutNoise):
    """Linear functions with a constant, table 4.1."""

    sigma_0: Tensor

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        return self.sigma_0.square() + (x1 @ x2.transpose(-1, -2)).unsqueeze(-3)

    def diag(self, x: Tensor) -> Tensor:
        """Variance at each point, (..., J, n)."""
        return self.sigma_0[..., 0].square() + x.square().sum(-1).unsqueeze(-2)


@dataclass(frozen=True)
class QuadraticTrend(_WithoutNoise):
    """Quadratic functions of the centred point, see `_trend.QuadraticTrend`."""

    linear: Tensor
    quadratic: Tensor

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        inner = ((x1 - 0.5) @ (x2 - 0.5).transpose(-1, -2)).unsqueeze(-3)
        return self.linear * (1 + inner) + self.quadratic * (1 + inner.square())

    def diag(self, x: Tensor) -> Tensor:
        """Variance at each point, (..., J, n)."""
        square = (x - 0.5).square().sum(-1).unsqueeze(-2)
        linear, quadratic = self.linear[..., 0], self.quadratic[..., 0]
        return linear * (1 + square) + quadratic * (1 + square.square())


@dataclass(frozen=True)
class Constant(_WithoutNoise):
    """A constant covariance."""

    value: Tensor

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        shape = (*x1.shape[:-2], self.value.shape[0], x1.shape[-2], x2.shape[-2])
        return self.value.expand(shape)

    def diag(self, x: Tensor) -> Tensor:
        """Variance at each point, (..., J, n)."""
        return self.value[..., 0].expand(*x.shape[:-2], self.value.shape[0], x.shape[-2])


@dataclass(frozen=True)
class White:
    """Observation noise: no covariance between latent values, not even at the same point."""

    level: Tensor

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Zero, (..., J, n1, n2)."""
        return x1.new_zeros(*x1.shape[:-2], self.level.shape[0], x1.shape[-2], x2.shape[-2])

    def diag(self, x: Tensor) -> Tensor:
        """Zero, (..., J, n)."""
        return x.new_zeros(*x.shape[:-2], self.level.shape[0], x.shape[-2])

    def noise(self) -> Tensor | float:
        """Noise variance, (J,)."""
        return self.level[:, 0, 0]


@dataclass(frozen=True)
class Sum:
    """Sum of two kernels."""

    first: Kernel
    second: Kernel

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        return self.first(x1, x2) + self.second(x1, x2)

    def diag(self, x: Tensor) -> Tensor:
        """Variance at each point, (..., J, n)."""
        return self.first.diag(x) + self.second.diag(x)

    def noise(self) -> Tensor | float:
        """Noise variance, (J,)."""
        return self.first.noise() + self.second.noise()


@dataclass(frozen=True)
class Power(_WithoutNoise):
    """A kernel to a power that is the same for all outputs."""

    base: Kernel
    exponent: float

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        return self.base(x1, x2) ** self.exponent

    def diag(self, x: Tensor) -> Tensor:
        """Variance at each point, (..., J, n)."""
        return self.base.diag(x) ** self.exponent


@dataclass(frozen=True)
class Product:
    """Product of two kernels; white noise may only be scaled by a constant kernel."""

    first: Kernel
    second: Kernel

    def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance, (..., J, n1, n2)."""
        return self.first(x1, x2) * self.second(x1, x2)

    def diag(self, x: Tensor) -> Tensor:
        """Variance at each point, (..., J, n)."""
        return self.first.diag(x) * self.second.diag(x)

    def noise(self) -> Tensor | float:
        """Noise variance, (J,)."""
        for scale, other in ((self.first, self.second), (self.second, self.first)):
            if isinstance(scale, Constant):
                return scale.value[:, 0, 0] * other.noise()
        return 0.0
