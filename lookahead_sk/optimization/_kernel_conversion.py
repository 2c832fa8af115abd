"""scikit-learn's kernels as torch functions, and which of them are accepted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.gaussian_process import kernels as sk

from lookahead_sk._validation import reject
from lookahead_sk.optimization import _kernels
from lookahead_sk.optimization._kernels import Kernel
from lookahead_sk.optimization._trend import QuadraticTrend

# Of the variance of the noise, in parts of the outputs' variance. What is below the upper bound of
# exact outputs is rounding, and makes up for what a smooth kernel cannot follow.
EXACT_NOISE_BOUNDS = (1e-13, 1e-7)
NOISE_BOUNDS = (1e-13, 1.0)
# Smoothness of the default kernels: Matern 5/2 and its limit, the squared exponential.
DEFAULT_SMOOTHNESS = (2.5, math.inf)


def default_kernel(n_features: int, nu: float = 2.5, trend: bool = False) -> sk.Kernel:
    """Matern with a length-scale per dimension, times a variance, plus trend, plus white noise.

    Without a trend its part is there too, with fixed variances of zero, so that all outputs share
    one structure.
    """
    matern = sk.Matern(np.full(n_features, 0.5), (5e-3, 1e3), nu=nu)
    noise = sk.WhiteKernel(1e-8, EXACT_NOISE_BOUNDS)
    if trend:  # what the trend leaves may be small
        return sk.ConstantKernel(0.1, (1e-9, 1e2)) * matern + QuadraticTrend() + noise
    nothing = QuadraticTrend(0.0, "fixed", 0.0, "fixed")
    return sk.ConstantKernel(1.0, (1e-2, 1e2)) * matern + nothing + noise


def is_default(kernel: sk.Kernel) -> bool:
    """Whether a kernel has the structure of `default_kernel`, all of its own parameters free."""
    if not (
        isinstance(kernel, sk.Sum)
        and isinstance(kernel.k1, sk.Sum)
        and isinstance(kernel.k1.k1, sk.Product)
        and isinstance(kernel.k1.k2, QuadraticTrend)
    ):
        return False
    scale, matern, noise = kernel.k1.k1.k1, kernel.k1.k1.k2, kernel.k2
    return (
        type(scale) is sk.ConstantKernel
        and type(matern) is sk.Matern
        and matern.nu in DEFAULT_SMOOTHNESS
        and np.ndim(matern.length_scale) == 1
        and type(noise) is sk.WhiteKernel
        and not any(h.fixed for part in (scale, matern, noise) for h in part.hyperparameters)
    )


def has_trend(kernel: sk.Kernel) -> bool:
    """Whether a kernel has a free quadratic trend."""
    return any(h.name.endswith("linear_variance") and not h.fixed for h in kernel.hyperparameters)


def may_be_noisy(kernel: sk.Kernel) -> bool:
    """Whether a kernel is one that `with_noise` made."""
    return is_default(kernel) and kernel.k2.noise_level_bounds == NOISE_BOUNDS


def with_noise(kernel: sk.Kernel) -> sk.Kernel:
    """The default kernel of outputs that are not exact."""
    return kernel.k1 + sk.WhiteKernel(1e-7, NOISE_BOUNDS)


def kernels_to_try(kernel: Any, n_features: int) -> list[sk.Kernel]:
    """The user's kernel, or the default ones, among which the evidence chooses.

    Raises
    ------
    TypeError
        If it is no scikit-learn kernel, or one that cannot be converted.
    ValueError
        If its length-scales are for another number of features.
    """
    if kernel is None:
        return [
            default_kernel(n_features, nu, trend)
            for trend in (False, True)
            for nu in DEFAULT_SMOOTHNESS
        ]
    check_kernel(kernel, n_features)
    return [kernel]


def check_kernel(kernel: Any, n_features: int) -> None:
    """Raise for a kernel that cannot be converted.

    Raises
    ------
    TypeError
        If it is no scikit-learn kernel, or one that cannot be converted.
    ValueError
        If its length-scales are for another number of features.
    """
    if kernel is None:
        return
    for leaf in _leaves(kernel):
        size = np.size(getattr(leaf, "length_scale", 1.0))
        if size not in (1, n_features):
            accepted = f"a kernel with 1 or {n_features} length-scales, one a feature"
            reject("kernel", accepted, kernel)
        if isinstance(leaf, sk.Matern) and leaf.nu not in (0.5, 1.5, 2.5, math.inf):
            reject("kernel", "a Matern kernel with nu 0.5, 1.5, 2.5 or inf", kernel)


def _leaves(kernel: Any) -> list[sk.Kernel]:
    if isinstance(kernel, sk.Sum):
        return _leaves(kernel.k1) + _leaves(kernel.k2)
    if isinstance(kernel, sk.Exponentiation):
        if any(isinstance(x, sk.WhiteKernel) for x in _leaves(kernel.kernel)):
            reject("kernel", "a kernel without a power of its WhiteKernel", kernel)
        return _leaves(kernel.kernel)
    if isinstance(kernel, sk.Product):
        leaves = _leaves(kernel.k1) + _leaves(kernel.k2)
        noisy = [
            any(isinstance(x, sk.WhiteKernel) for x in _leaves(k)) for k in (kernel.k1, kernel.k2)
        ]
        plain = [isinstance(k, sk.ConstantKernel) for k in (kernel.k1, kernel.k2)]
        if (noisy[0] and not plain[1]) or (noisy[1] and not plain[0]):
            reject("kernel", "a kernel whose WhiteKernel is only scaled by a constant", kernel)
        return leaves
    if type(kernel) in _CONVERSIONS:
        return [kernel]
    accepted = "a scikit-learn kernel made of " + ", ".join(k.__name__ for k in _CONVERSIONS)
    return reject("kernel", f"{accepted}, sums, products and powers", kernel, kind=TypeError)


def _column(kernels: Sequence[Any], name: str) -> torch.Tensor:
    """One scalar hyper-parameter of every output, (J, 1, 1)."""
    return torch.tensor([[[float(getattr(k, name))]] for k in kernels], dtype=torch.float64)


def _scales(kernels: Sequence[Any]) -> torch.Tensor:
    """Length-scales of every output, (J, 1, d) or (J, 1, 1)."""
    rows = np.stack([np.atleast_1d(k.length_scale) for k in kernels])
    return torch.tensor(rows, dtype=torch.float64).unsqueeze(1)


_CONVERSIONS: dict[type, Callable[[Sequence[Any]], Kernel]] = {
    sk.ConstantKernel: lambda ks: _kernels.Constant(_column(ks, "constant_value")),
    sk.WhiteKernel: lambda ks: _kernels.White(_column(ks, "noise_level")),
    sk.RBF: lambda ks: _kernels.RBF(_scales(ks)),
    sk.Matern: lambda ks: _kernels.Matern(_scales(ks), tuple(float(k.nu) for k in ks)),
    sk.DotProduct: lambda ks: _kernels.DotProduct(_column(ks, "sigma_0")),
    QuadraticTrend: lambda ks: _kernels.QuadraticTrend(
        _column(ks, "linear_variance"), _column(ks, "quadratic_variance")
    ),
    sk.RationalQuadratic: lambda ks: _kernels.RationalQuadratic(_scales(ks), _column(ks, "alpha")),
}


def to_torch_kernel(kernels: Sequence[Any]) -> Kernel:
    """Convert scikit-learn kernels of one structure to one in torch, batched over outputs.

    Parameters
    ----------
    kernels : sequence of scikit-learn kernels
        One per output, same structure, own hyper-parameters.

    Returns
    -------
    Kernel
        Covariance of all outputs at once.

    Examples
    --------
    >>> x = torch.rand(3, 2, dtype=torch.float64)
    >>> kernel = sk.ConstantKernel(2.0) * sk.RBF([0.1, 0.3])
    >>> np.allclose(to_torch_kernel([kernel])(x, x)[0], kernel(x.numpy()))
    True
    """
    first = kernels[0]
    if isinstance(first, sk.Sum | sk.Product):
        combine = _kernels.Sum if isinstance(first, sk.Sum) else _kernels.Product
        return combine(
            to_torch_kernel([k.k1 for k in kernels]), to_torch_kernel([k.k2 for k in kernels])
        )
    if isinstance(first, sk.Exponentiation):
        base = to_torch_kernel([k.kernel for k in kernels])
        return _kernels.Power(base, float(first.exponent))
    return _CONVERSIONS[type(first)](kernels)
