r"""All outputs' Gaussian processes, fitted by scikit-learn, conditioned in torch.

======  ==========  ========================================================
symbol  shape       meaning
======  ==========  ========================================================
x       (n, d)      data in the unit cube
y       (n, 1 + m)  outputs in the user's units; a row with NaN is a failure
======  ==========  ========================================================
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from lookahead_sk._threads import fork_safe_lock
from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk.optimization._kernel_conversion import kernels_to_try, to_torch_kernel
from lookahead_sk.optimization._map_fit import (
    FitStart,
    Noise,
    OutputFit,
    fit_output,
    fit_runs,
)
from lookahead_sk.optimization._posterior import Posterior, condition_safely, moments
from lookahead_sk.optimization._transforms import Kind, OutputTransform

# By the parameter's value: maps of the objective and of constraints; the evidence chooses.
TRANSFORMS: dict[str, tuple[tuple[Kind, ...], tuple[Kind, ...]]] = {
    "auto": (("none", "log_tail", "bilog"), ("none", "bilog")),
    "bilog": (("bilog",), ("bilog",)),
    "log_tail": (("log_tail",), ("bilog",)),
    "copula": (("copula",), ("bilog",)),
    "none": (("none",), ("none",)),
}
# Below this share of the prior variance observations count as exact.
_EXACT_NOISE = 1e-4


@dataclass(frozen=True)
class Surrogate:
    """Fitted processes of objective, constraints and, after failures, of "it runs"."""

    posterior: Posterior
    transforms: tuple[OutputTransform, ...]  # objective, constraints
    starts: tuple[FitStart, ...]  # of the next fit, one per output, "it runs" last
    noise: FloatArray  # (J,), model units
    objective: torch.Tensor  # (n,), model units
    n_iter: int  # of the hyper-parameters, over all outputs

    @property
    def is_exact(self) -> bool:
        """Whether the noise of every output is too small to matter."""
        prior = self.posterior.kernel.diag(self.posterior.x).mean(-1).cpu().numpy()
        n = len(self.transforms)  # without "it runs"
        return bool((self.noise[:n] <= _EXACT_NOISE * prior[:n]).all())

    def incumbent_among(self, feasible: BoolArray) -> float | None:
        """Best feasible objective; under noise, the best posterior mean at a feasible point.

        Parameters
        ----------
        feasible : ndarray of shape (n,)
            Which of the data are feasible.

        Returns
        -------
        float or None
            In model units; None while nothing is feasible.
        """
        rows = torch.as_tensor(feasible)
        if not rows.any():
            return None
        prior = self.posterior.kernel.diag(self.posterior.x)[0].mean()
        if self.noise[0] <= _EXACT_NOISE * float(prior):
            return float(self.objective[rows].min())
        with torch.no_grad():
            mean = moments(self.posterior, self.posterior.x).mean[0]
        return float(mean[rows.to(mean.device)].min())


def fit_surrogate(
    x: FloatArray,
    y: FloatArray,
    kernel: Any = None,
    starts: Sequence[FitStart] = (),
    output_transform: str = "auto",
    noise: Noise = "auto",
) -> Surrogate:
    """Fit one Gaussian process per output.

    Parameters
    ----------
    x : ndarray of shape (n, d)
        Points of the unit cube.
    y : ndarray of shape (n, 1 + m)
        Outputs, objective first; a row with NaN is a failed evaluation, of which the other outputs
        are used, and at least one row has none.
    kernel : scikit-learn kernel, optional
        Covariance to fit; by default the evidence chooses between Matern 5/2 and squared
        exponential, with a quadratic trend or without, output by output.
    starts : sequence of FitStart, optional
        Those of the last fit: hyper-parameters to search from, and what has been decided.
    output_transform : {"auto", "bilog", "log_tail", "copula", "none"}, default="auto"
        Maps before the fit, see `TRANSFORMS`.
    noise : {"auto", "exact", "noisy"}, default="auto"
        Whether outputs are noisy; "auto": those for which there is evidence that misfit cannot
        fake.

    Returns
    -------
    Surrogate
        The fitted processes; cost O(J n^3) an iteration of the fit.
    """
    kernels = kernels_to_try(kernel, x.shape[1])
    seen = ~np.isnan(y)
    ran = seen.all(axis=1)
    fits = []
    with one_thread:
        for j, rows in enumerate(seen.T):
            kinds = TRANSFORMS[output_transform][min(j, 1)]
            start = starts[j] if starts else None
            fit = fit_output(
                kernels, x[rows], y[rows, j], kinds, start, is_constraint=j > 0, noise=noise
            )
            fits.append(fit)
        if not ran.all():
            start = starts[-1] if len(starts) > len(fits) else None
            fits.append(fit_runs(kernels, x, ran, start))
    masks = [*seen.T] + [np.ones_like(ran)] * (len(fits) - y.shape[1])
    return _assemble(x, fits, masks)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


class _OneThread:
    """Limits torch in the calling thread and BLAS in all, until the last caller is out.

    torch counts by thread, but a new thread begins with what any thread has set last: so what
    comes back is what the first caller found, never what another caller has set meanwhile.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._depth = fork_safe_lock(), threading.local(), 0
        self._n_torch = 1
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                self._n_torch = torch.get_num_threads()
                self._limiter = _thread_pools().limit(limits=1, user_api="blas")
                self._limiter.__enter__()
            self._depth += 1
            own = getattr(self._inside, "depth", 0)
            if not own:
                torch.set_num_threads(1)
            self._inside.depth = own + 1

    def __exit__(self, *exception: Any) -> None:
        with self._lock:
            self._depth -= 1
            self._inside.depth -= 1
            if not self._inside.depth:
                torch.set_num_threads(self._n_torch)
            if not self._depth:
                self._limiter.__exit__(*exception)


# More threads wait for each other and burn the CPU: at 300 data two of them take ten times the CPU
# time of one, and at 2,000 they still are several times as slow.
one_thread = _OneThread()


def to_device(surrogate: Surrogate, device: torch.device) -> Surrogate:
    """The same surrogate with its tensors on a device."""
    if surrogate.posterior.x.device == device:
        return surrogate
    return replace(surrogate, posterior=_moved(surrogate.posterior, device))


def _moved(value: Any, device: torch.device) -> Any:
    """A tree of frozen dataclasses with every tensor on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value)}
        )
    return value


def _assemble(x: FloatArray, fits: list[OutputFit], masks: list[Any]) -> Surrogate:
    kernels = [fit.model.kernel_ for fit in fits]
    kernel = to_torch_kernel(kernels)
    noise = torch.zeros(len(fits), dtype=torch.float64) + kernel.noise()
    mask = torch.tensor(np.stack(masks), dtype=torch.float64)
    values = torch.zeros_like(mask)
    for j, (fit, rows) in enumerate(zip(fits, masks, strict=True)):
        values[j, torch.tensor(rows)] = torch.tensor(fit.target)
    offset = torch.tensor([fit.offset for fit in fits], dtype=torch.float64)
    posterior = condition_safely(kernel, torch.tensor(x), values, noise, offset, mask)
    starts = tuple(fit.start for fit in fits)
    transforms = tuple(fit.transform for fit in fits if fit.transform is not None)
    n_iter = sum(fit.n_iter for fit in fits)
    return Surrogate(posterior, transforms, starts, noise.numpy(), values[0], n_iter)
