r"""Fit scikit-learn's Gaussian processes and lift them into torch.

Hyper-parameters maximise the posterior, with the dimension-scaled prior of Hvarfner, Hellsten and
Nardi, "Vanilla Bayesian optimization performs great in high dimensions", ICML 2024: length-scales
are log-normal with location sqrt(2) + log(d) / 2 and scale sqrt(3).

======  ==========  ========================================================
symbol  shape       meaning
======  ==========  ========================================================
x       (n, d)      data in the unit cube
y       (n, 1 + m)  outputs in the user's units; a row of NaN is a failure
theta   (p,)        log hyper-parameters of one output, scikit-learn's order
======  ==========  ========================================================
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk
from threadpoolctl import ThreadpoolController

from lookahead_sk._threads import ThreadLock
from lookahead_sk.optimization._kernels import Kernel
from lookahead_sk.optimization._lift import is_default, kernels_to_try, lift
from lookahead_sk.optimization._likelihood import matern_log_likelihood, squared_differences
from lookahead_sk.optimization._posterior import Posterior, condition, moments
from lookahead_sk.optimization._transforms import Array, Kind, OutputTransform, fit_transform

# Choice of the user: maps of the objective and of constraints; of several the evidence decides.
TRANSFORMS: dict[str, tuple[tuple[Kind, ...], tuple[Kind, ...]]] = {
    "auto": (("none", "log_tail", "bilog"), ("none", "bilog")),
    "bilog": (("bilog",), ("bilog",)),
    "log_tail": (("log_tail",), ("bilog",)),
    "copula": (("copula",), ("bilog",)),
    "none": (("none",), ("none",)),
}
# Targets of "it runs": a failure weighs more than a success, so that its border is approached
# from the safe side.
_RUN_LABELS = (-0.5, 1.5)
_NOISY_START = 0.1
_LARGE = 300
_ENOUGH = 200
# Relative to a log posterior of the order of n: far below what changes a prediction.
_TOLERANCE = 1e-7
_JITTER = 1e-11
_MORE_JITTER = (1e-9, 1e-7, 1e-5, 1e-3)  # where rounding asks for it, relative to the variance
# Below this share of the prior variance observations count as exact.
_EXACT_NOISE = 1e-4


@dataclass(frozen=True)
class Surrogate:
    """Fitted processes of objective, constraints and, after failures, of "it runs"."""

    posterior: Posterior
    transforms: tuple[OutputTransform, ...]  # objective, constraints
    thetas: tuple[Array, ...]  # one an output, "it runs" last
    noise: Array  # (J,), model units
    incumbent: float | None  # model units
    n_iter: int  # of the hyper-parameters, over all outputs


class MapGaussianProcess(GaussianProcessRegressor):
    """scikit-learn's regressor with a prior on its hyper-parameters."""

    def log_marginal_likelihood(
        self, theta: Any = None, eval_gradient: bool = False, clone_kernel: bool = True
    ) -> Any:
        """Log marginal likelihood plus log prior, up to a constant."""
        if theta is None:
            return super().log_marginal_likelihood()
        constants = self._constants()
        if constants.differences is not None:
            likelihood, slope = matern_log_likelihood(
                theta, constants.differences, self.y_train_, self.alpha, self.kernel_.k1.k2.nu
            )
        else:
            likelihood, slope = super().log_marginal_likelihood(theta, True, clone_kernel)
        prior, gradient = constants.prior.evaluate(theta)
        if eval_gradient:
            return likelihood + prior, slope + gradient
        return likelihood + prior

    def _constants(self) -> _FitConstants:
        """What does not change during a fit."""
        cached: _FitConstants | None = getattr(self, "_fit_constants", None)
        if cached is None or cached.x is not self.X_train_:
            x = self.X_train_
            fast = squared_differences(x) if is_default(self.kernel_) else None
            cached = _FitConstants(x, fast, make_prior(self.kernel_, x.shape[1]))
            self._fit_constants = cached
        return cached


@dataclass(frozen=True)
class Prior:
    """Log prior of log hyper-parameters, quadratic with a slope."""

    location: Array  # (p,)
    precision: Array  # (p,)
    slope: Array  # (p,)

    def evaluate(self, theta: Array) -> tuple[float, Array]:
        """Log density up to a constant, and its gradient (p,)."""
        centred = theta - self.location
        value = -0.5 * (self.precision * centred**2).sum() + (self.slope * theta).sum()
        return float(value), self.slope - self.precision * centred


@dataclass(frozen=True)
class _FitConstants:
    x: Array
    differences: Array | None  # (d, n n), for the default kernel
    prior: Prior


def make_prior(kernel: sk.Kernel, n_features: int) -> Prior:
    """The prior of a kernel's free hyper-parameters, in scikit-learn's order."""
    location: list[float] = []
    precision: list[float] = []
    slope: list[float] = []
    for parameter in kernel.hyperparameters:
        if parameter.fixed:
            continue
        n = parameter.n_elements
        if "length_scale" in parameter.name:
            # The density of a log-normal in the length-scale itself: hence the slope of -1.
            terms = (math.sqrt(2) + 0.5 * math.log(n_features), 1 / 3, -1.0)
        elif "noise_level" in parameter.name:
            terms = (math.log(1e-8), 1 / 49, 0.0)
        elif "constant_value" in parameter.name:
            terms = (0.0, 1.0, 0.0)
        else:
            terms = (0.0, 0.0, 0.0)
        for values, term in zip((location, precision, slope), terms, strict=True):
            values.extend([term] * n)
    return Prior(np.array(location), np.array(precision), np.array(slope))


def fit_surrogate(
    x: Array,
    y: Array,
    kernel: Any = None,
    thetas: Sequence[Array] | None = None,
    output_transform: str = "auto",
) -> Surrogate:
    """Fit one Gaussian process an output.

    Parameters
    ----------
    x : ndarray of shape (n, d)
        Points of the unit cube.
    y : ndarray of shape (n, 1 + m)
        Outputs, objective first; rows of NaN are failed evaluations, and at least one is not.
    kernel : scikit-learn kernel, optional
        Covariance to fit; by default the evidence chooses between Matern 5/2 and squared
        exponential, output by output.
    thetas : sequence of ndarray, optional
        Hyper-parameters of the last fit, where the search starts besides the prior's mode.
    output_transform : {"auto", "bilog", "log_tail", "copula", "none"}, default="auto"
        Maps before the fit, see `TRANSFORMS`.

    Returns
    -------
    Surrogate
        The fitted processes; cost O(J n^3) an iteration of the fit.
    """
    kernels = kernels_to_try(kernel, x.shape[1])
    ran = ~np.isnan(y).any(axis=1)
    fits = []
    with few_threads(len(x)):
        for j, column in enumerate(y[ran].T):
            kinds = TRANSFORMS[output_transform][min(j, 1)]
            start = _start(thetas, j, y.shape[1])
            fits.append(_fit_output(kernels, x[ran], column, kinds, start, is_constraint=j > 0))
        if not ran.all():
            fits.append(_fit_runs(kernels[0], x, ran, _start(thetas, len(fits), len(fits) + 1)))
    masks = [ran] * y.shape[1] + [np.ones_like(ran)] * (len(fits) - y.shape[1])
    return _assemble(x, y, fits, masks)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


class _OneThread:
    """Limits torch in the calling thread and BLAS in all, until the last caller is out.

    torch counts by thread, but a new thread begins with what any thread has set last: so what
    comes back is what the first caller found, never what another caller has set meanwhile.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._depth = ThreadLock(), threading.local(), 0
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


_one_thread = _OneThread()


def few_threads(n: int) -> AbstractContextManager[None]:
    """One thread while matrices are small: more only wait for each other, and burn the CPU."""
    return _one_thread if n < _LARGE else nullcontext()


def _fit_runs(kernel: sk.Kernel, x: Array, ran: Any, start: Array | None) -> _OutputFit:
    """Fit the learned constraint "it runs", negative where it does."""
    labels = np.where(ran, *_RUN_LABELS)
    share = float(labels.mean())
    return _OutputFit(None, labels, share, *_fit_one(kernel, x, labels - share, start))


@dataclass(frozen=True)
class _OutputFit:
    transform: OutputTransform | None
    target: Array
    offset: float
    model: MapGaussianProcess
    n_iter: int


def _fit_output(
    kernels: Sequence[sk.Kernel],
    x: Array,
    column: Array,
    kinds: tuple[Kind, ...],
    start: Array | None,
    *,
    is_constraint: bool,
) -> _OutputFit:
    """Fit each kernel under each transform, keep the pair of largest evidence, user's units.

    Of many data 200 decide on the pair and whether there is noise; only this one is fitted to all.
    """
    tries_noise = True
    if len(x) > _LARGE and len(kinds) * len(kernels) > 1:
        some = np.linspace(0, len(x) - 1, _ENOUGH).astype(int)
        decided = _fit_output(
            kernels, x[some], column[some], kinds, start, is_constraint=is_constraint
        )
        if decided.transform is not None:
            kinds = (decided.transform.kind,)
        kernels = [decided.model.kernel]
        start, tries_noise = decided.model.kernel_.theta, False
    best, best_evidence = None, -math.inf
    for kind, kernel in itertools.product(kinds, kernels):
        transform = fit_transform(column, kind, is_constraint=is_constraint)
        target = transform.forward(column)
        model, n_iter = _fit_one(kernel, x, target - transform.offset, start, tries_noise)
        # The density of the data themselves: that of the targets times the slope of the map.
        slopes = np.log(transform.slope(column)).sum() if len(kinds) > 1 else 0.0
        evidence = model.log_marginal_likelihood_value_ + float(slopes)
        if best is None or evidence > best_evidence:
            best = _OutputFit(transform, target, transform.offset, model, n_iter)
            best_evidence = evidence
    if best is None:
        raise RuntimeError("no output transform to choose from")
    return best


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


def _start(thetas: Sequence[Array] | None, j: int, n_outputs: int) -> Array | None:
    return thetas[j] if thetas is not None and len(thetas) == n_outputs else None


def _assemble(x: Array, y: Array, fits: list[_OutputFit], masks: list[Any]) -> Surrogate:
    kernels = [fit.model.kernel_ for fit in fits]
    twin = lift(kernels)
    noise = torch.zeros(len(fits), dtype=torch.float64) + twin.noise()
    mask = torch.tensor(np.stack(masks), dtype=torch.float64)
    values = torch.zeros_like(mask)
    for j, (fit, rows) in enumerate(zip(fits, masks, strict=True)):
        values[j, torch.tensor(rows)] = torch.tensor(fit.target)
    offset = torch.tensor([fit.offset for fit in fits], dtype=torch.float64)
    posterior = _condition_safely(twin, torch.tensor(x), values, noise, offset, mask)
    incumbent = _incumbent(posterior, y, values[0], noise[0])
    thetas = tuple(np.array(k.theta) for k in kernels)
    transforms = tuple(fit.transform for fit in fits if fit.transform is not None)
    n_iter = sum(fit.n_iter for fit in fits)
    return Surrogate(posterior, transforms, thetas, noise.numpy(), incumbent, n_iter)


def _condition_safely(
    kernel: Kernel,
    x: torch.Tensor,
    y: torch.Tensor,
    noise: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
) -> Posterior:
    """Condition with the smallest jitter that keeps the Cholesky factor."""
    prior = kernel.diag(x[:1])[:, 0]
    for jitter in (_JITTER, *_MORE_JITTER[:-1]):
        try:
            return condition(kernel, x, y, noise + jitter * prior, offset, mask)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            continue
    return condition(kernel, x, y, noise + _MORE_JITTER[-1] * prior, offset, mask)


def _incumbent(
    posterior: Posterior, y: Array, objective: torch.Tensor, noise: torch.Tensor
) -> float | None:
    """Best feasible objective; under noise, the best posterior mean at a feasible point."""
    feasible = torch.tensor((y[:, 1:] <= 0).all(axis=1) & ~np.isnan(y).any(axis=1))
    if not feasible.any():
        return None
    if noise <= _EXACT_NOISE * posterior.kernel.diag(posterior.x[:1])[0, 0]:
        return float(objective[feasible].min())
    return float(moments(posterior, posterior.x).mean[0, feasible].min())


def _fit_one(
    kernel: sk.Kernel, x: Array, y: Array, start: Array | None, tries_noise: bool = True
) -> tuple[MapGaussianProcess, int]:
    """MAP fit of one output and the iterations it took."""
    prior = max(1.0, float(kernel.diag(x[:1])[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound may be the right answer
        for jitter in (_JITTER, *(jitter * prior for jitter in _MORE_JITTER)):
            search = _MapSearch(kernel, start, tries_noise)
            regressor = MapGaussianProcess(kernel, alpha=jitter, optimizer=search)
            try:
                regressor.fit(x, y)
                break
            except np.linalg.LinAlgError:
                if jitter == _MORE_JITTER[-1] * prior:
                    raise
    return regressor, max(1, search.n_iter)


class _MapSearch:
    """L-BFGS-B from the last optimum and from a noisy start: few data suit both explanations."""

    def __init__(self, kernel: sk.Kernel, start: Array | None, tries_noise: bool = True) -> None:
        self.start, self.tries_noise, self.n_iter = start, tries_noise, 0
        names = [h.name for h in kernel.hyperparameters if not h.fixed for _ in range(h.n_elements)]
        self.is_noise = np.array(["noise_level" in name for name in names], dtype=bool)

    def __call__(
        self, loss: Callable[..., Any], initial: Array, bounds: Array
    ) -> tuple[Array, float]:
        starts = [initial if self.start is None else self.start]
        if self.tries_noise and self.is_noise.any():
            starts.append(np.where(self.is_noise, math.log(_NOISY_START), initial))
        best: tuple[Array, float] = (initial, math.inf)
        for theta in starts:
            result = minimize(
                loss,
                np.clip(theta, *bounds.T),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": 60, "ftol": _TOLERANCE},
            )
            self.n_iter += int(result.nit)
            if result.fun < best[1]:
                best = (result.x, float(result.fun))
        return best
