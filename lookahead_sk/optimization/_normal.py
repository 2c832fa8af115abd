r"""The standard normal distribution in tails, truncated, and by quasi-Monte Carlo.

Source: Ament et al., "Unexpected improvements to expected improvement", NeurIPS 2023, for
:math:`\log h`; inverse-CDF sampling for the rest.

======  ========  ============================================
symbol  shape     meaning
======  ========  ============================================
z       (...)     standard normal deviate
u       (...)     uniform deviate in (0, 1)
b       (...)     truncation point, standardised units
h(z)    (...)     z Phi(z) + phi(z), standardised improvement
======  ========  ============================================
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_LOG_SQRT_HALF_PI = 0.5 * math.log(math.pi / 2)
# Below this point 1 - |z| erfcx(...) cancels completely in float64 and the asymptote is exact.
_ASYMPTOTE = -1e6
_LOG_NDTR_ASYMPTOTE = -1e5
# Phi underflows at -38 and its inverse loses digits before; from here the Mills ratio is used.
_DEEP_TAIL = -20.0


def log_ndtr(z: Tensor) -> Tensor:
    """Log of the normal distribution function, exact in the lower tail.

    Parameters
    ----------
    z : Tensor of shape (...)
        Standardised values.

    Returns
    -------
    Tensor of shape (...)
        ``log Phi(z)``.
    """
    if not z.requires_grad:
        return torch.special.log_ndtr(z)
    deep = z < _LOG_NDTR_ASYMPTOTE
    body = torch.special.log_ndtr(torch.where(deep, torch.zeros_like(z), z))
    # torch's derivative overflows far out, where the leading term is exact.
    z_deep = torch.where(deep, z, torch.full_like(z, _LOG_NDTR_ASYMPTOTE))
    tail = -0.5 * z_deep.square() - torch.log(-z_deep) - _LOG_SQRT_2PI
    return torch.where(deep, tail, body)


def log_h(z: Tensor) -> Tensor:
    """Log of the standardised expected improvement, exact where it underflows.

    Parameters
    ----------
    z : Tensor of shape (...)
        Standardised distance of the mean below the incumbent.

    Returns
    -------
    Tensor of shape (...)
        ``log(z Phi(z) + phi(z))``; finite and with a finite gradient for all finite ``z``.

    References
    ----------
    .. [1] Ament et al., "Unexpected improvements to expected improvement", NeurIPS 2023, eq. (9).

    Examples
    --------
    >>> log_h(torch.tensor([0.0, -1.0], dtype=torch.float64))
    tensor([-0.9189, -2.4851], dtype=torch.float64)
    """
    near = z > -1
    asymptotic = z < _ASYMPTOTE
    # Each branch sees only arguments at which it and its derivative are finite.
    z_near = torch.where(near, z, torch.zeros_like(z))
    density = torch.exp(-0.5 * z_near.square() - _LOG_SQRT_2PI)
    value_near = torch.log(density + z_near * torch.special.ndtr(z_near))
    z_far = torch.where(near | asymptotic, torch.full_like(z, -2.0), z)
    mills = torch.log(torch.special.erfcx(-z_far / math.sqrt(2)) * -z_far) + _LOG_SQRT_HALF_PI
    value_far = -0.5 * z_far.square() - _LOG_SQRT_2PI + _log1mexp(mills)
    z_deep = torch.where(asymptotic, z, torch.full_like(z, _ASYMPTOTE))
    value_deep = -0.5 * z_deep.square() - _LOG_SQRT_2PI - 2 * torch.log(-z_deep)
    return torch.where(near, value_near, torch.where(asymptotic, value_deep, value_far))


def _log1mexp(x: Tensor) -> Tensor:
    """``log(1 - exp(x))`` for ``x < 0``, without cancellation at either end."""
    close = x > -math.log(2)
    small = torch.log(-torch.expm1(torch.where(close, x, torch.full_like(x, -0.5))))
    large = torch.log1p(-torch.exp(torch.where(close, torch.full_like(x, -1.0), x)))
    return torch.where(close, small, large)


def truncated_below(u: Tensor, b: Tensor) -> Tensor:
    """Standard normal deviates conditioned to lie below ``b``, smooth in ``b``.

    Parameters
    ----------
    u : Tensor of shape (...)
        Uniform deviates in (0, 1).
    b : Tensor broadcastable to (...)
        Upper truncation points.

    Returns
    -------
    Tensor of shape (...)
        ``Phi^-1(u Phi(b))``, increasing in ``u`` and in ``b``.

    Examples
    --------
    >>> truncated_below(torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.0)).item()
    -0.674489...
    """
    u, b = torch.broadcast_tensors(u, b)
    deep = b < _DEEP_TAIL
    # torch's ndtr is 0 below -14; its log is exact.
    mass = torch.exp(log_ndtr(torch.where(deep, torch.zeros_like(b), b)))
    body = torch.special.ndtri(u * mass)
    # Phi(z) ~ exp(-z^2 / 2) / |z|: Phi(z) = u Phi(b) by two fixed-point steps.
    b_deep = torch.where(deep, b, torch.full_like(b, _DEEP_TAIL))
    target = b_deep.square() - 2 * torch.log(u)
    first = torch.sqrt(target)
    tail = -torch.sqrt(target - 2 * torch.log(first / -b_deep))
    return torch.where(deep, tail, body)


def truncated_above(u: Tensor, b: Tensor) -> Tensor:
    """Standard normal deviates conditioned to lie above ``b``; see `truncated_below`."""
    return -truncated_below(u, -b)


def sobol_uniform(n: int, dim: int, seed: int, like: Tensor | None = None) -> Tensor:
    """Scrambled Sobol points, kept away from 0 and 1.

    Parameters
    ----------
    n, dim : int
        Number of points, a power of two for full balance, and of coordinates.
    seed : int
        Seed of the scrambling; independent seeds give independent unbiased point sets.
    like : Tensor, optional
        Where the points are wanted; drawn on the CPU, so that every device gets the same.

    Returns
    -------
    Tensor of shape (n, dim)
        Points in the open unit cube, float64.
    """
    engine = torch.quasirandom.SobolEngine(max(dim, 1), scramble=True, seed=seed)
    points = engine.draw(n, dtype=torch.float64)[:, :dim]
    points = points.clamp(1e-10, 1 - 1e-10)
    return points if like is None else points.to(like.device)


def sobol_normal(n: int, dim: int, seed: int, like: Tensor | None = None) -> Tensor:
    """Scrambled Sobol points through the inverse normal distribution; see `sobol_uniform`."""
    return torch.special.ndtri(sobol_uniform(n, dim, seed, like))
