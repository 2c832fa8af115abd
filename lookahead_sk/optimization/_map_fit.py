r"""MAP fit of one output's Gaussian process by scikit-learn.

Hyper-parameters maximise the posterior, with the dimension-scaled prior of Hvarfner, Hellsten and
Nardi, "Vanilla Bayesian optimization performs great in high dimensions", ICML 2024: length-scales
are log-normal with location sqrt(2) + log(d) / 2 and scale sqrt(3).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._kernel_conversion import is_default
from lookahead_sk.optimization._likelihood import matern_log_likelihood, squared_differences
from lookahead_sk.optimization._transforms import Kind, OutputTransform, fit_transform

# Targets of "it runs": a failure weighs more than a success, so that its border is approached
# from the side that runs.
_RUN_LABELS = (-0.5, 1.5)
_NOISY_START = 0.1
_LARGE = 300  # data of which some decide
_ENOUGH = 200
_SETTLED, _UNDECIDED = 100, 1.25
# Relative to a log posterior of the order of n: far below what changes a prediction.
_TOLERANCE = 1e-7
JITTER = 1e-11
MORE_JITTER = (1e-9, 1e-7, 1e-5, 1e-3)  # where rounding asks for it, relative to the variance


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

    location: FloatArray  # (p,)
    precision: FloatArray  # (p,)
    slope: FloatArray  # (p,)

    def evaluate(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Log density up to a constant, and its gradient (p,)."""
        centred = theta - self.location
        value = -0.5 * (self.precision * centred**2).sum() + (self.slope * theta).sum()
        return float(value), self.slope - self.precision * centred


@dataclass(frozen=True)
class _FitConstants:
    x: FloatArray
    differences: FloatArray | None  # (d, n n), for the default kernel
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


@dataclass(frozen=True)
class FitStart:
    """Where the next fit of an output begins, and what need not be decided anew."""

    theta: FloatArray  # (p,)
    kind: Kind | None  # of the output's transform; None for "it runs"
    kernel: int  # place among the kernels that may be chosen
    n: int  # data that decided on the two

    @property
    def pair(self) -> tuple[Any, int]:
        """What was decided."""
        return self.kind, self.kernel

    def settles(self, n: int) -> bool:
        """Whether what was decided still holds for n data."""
        return self.n >= _SETTLED and n <= _UNDECIDED * self.n


@dataclass(frozen=True)
class OutputFit:
    """A fitted process of one output."""

    transform: OutputTransform | None
    target: FloatArray
    offset: float
    model: MapGaussianProcess
    n_iter: int
    start: FitStart


def fit_runs(
    kernels: Sequence[sk.Kernel], x: FloatArray, ran: Any, start: FitStart | None
) -> OutputFit:
    """Fit the learned constraint "it runs", negative where it does."""
    labels = np.where(ran, *_RUN_LABELS)
    share = float(labels.mean())
    model, n_iter = _fit_one(kernels[0], x, labels - share, start)
    return OutputFit(
        None, labels, share, model, n_iter, FitStart(model.kernel_.theta, None, 0, len(x))
    )


def fit_output(
    kernels: Sequence[sk.Kernel],
    x: FloatArray,
    column: FloatArray,
    kinds: tuple[Kind, ...],
    start: FitStart | None,
    *,
    is_constraint: bool,
) -> OutputFit:
    """Fit each kernel under each transform, keep the pair of largest evidence, user's units.

    What 100 data or more have decided holds until there are a quarter more. Of many data 200 decide
    on the pair and whether there is noise; only this one is fitted to all.

    Parameters
    ----------
    kernels : sequence of kernels
        Covariances to choose from.
    x : ndarray of shape (n, d)
        Points of the unit cube.
    column : ndarray of shape (n,)
        The output, user's units, finite.
    kinds : tuple of str
        Transforms to choose from.
    start : FitStart or None
        That of the last fit.
    is_constraint : bool
        Whether 0 is a threshold that must stay at 0.

    Returns
    -------
    OutputFit
        The fit of largest evidence.
    """
    pairs: list[tuple[Kind, int]] = list(itertools.product(kinds, range(len(kernels))))
    n_decided, tries_noise = len(x), True
    if start is not None and start.settles(len(x)) and start.pair in pairs:
        pairs = [start.pair]
        n_decided, tries_noise = start.n, False
    elif len(x) > _LARGE and len(pairs) > 1:
        some = np.linspace(0, len(x) - 1, _ENOUGH).astype(int)
        unsettled = None if start is None else replace(start, n=0)
        few = fit_output(
            kernels, x[some], column[some], kinds, unsettled, is_constraint=is_constraint
        )
        pairs, start, tries_noise = [few.start.pair], few.start, False
    best, best_evidence = None, -math.inf
    for kind, place in pairs:
        transform = fit_transform(column, kind, is_constraint=is_constraint)
        target = transform.forward(column)
        model, n_iter = _fit_one(kernels[place], x, target - transform.offset, start, tries_noise)
        # The density of the data themselves: that of the targets times the slope of the map.
        slopes = np.log(transform.slope(column)).sum() if len(kinds) > 1 else 0.0
        evidence = model.log_marginal_likelihood_value_ + float(slopes)
        if best is None or evidence > best_evidence:
            begin = FitStart(model.kernel_.theta, kind, place, n_decided)
            best = OutputFit(transform, target, transform.offset, model, n_iter, begin)
            best_evidence = evidence
    if best is None:
        raise RuntimeError("no output transform to choose from")
    return best


def _fit_one(
    kernel: sk.Kernel,
    x: FloatArray,
    y: FloatArray,
    start: FitStart | None,
    tries_noise: bool = True,
) -> tuple[MapGaussianProcess, int]:
    """MAP fit of one output and the iterations it took."""
    # The kernel may have been replaced since the last fit.
    theta = None
    if start is not None and len(start.theta) == len(kernel.theta):
        theta = start.theta
    prior = max(1.0, float(kernel.diag(x[:1])[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound may be the right answer
        for jitter in (JITTER, *(jitter * prior for jitter in MORE_JITTER)):
            search = _MapSearch(kernel, theta, tries_noise)
            regressor = MapGaussianProcess(kernel, alpha=jitter, optimizer=search)
            try:
                regressor.fit(x, y)
                break
            except np.linalg.LinAlgError:
                if jitter == MORE_JITTER[-1] * prior:
                    raise
    return regressor, max(1, search.n_iter)


class _MapSearch:
    """L-BFGS-B from the last optimum and from a noisy start: few data suit both explanations."""

    def __init__(
        self, kernel: sk.Kernel, start: FloatArray | None, tries_noise: bool = True
    ) -> None:
        self.start, self.tries_noise, self.n_iter = start, tries_noise, 0
        names = [h.name for h in kernel.hyperparameters if not h.fixed for _ in range(h.n_elements)]
        self.is_noise = np.array(["noise_level" in name for name in names], dtype=bool)

    def __call__(
        self, loss: Callable[..., Any], initial: FloatArray, bounds: FloatArray
    ) -> tuple[FloatArray, float]:
        starts = [initial if self.start is None else self.start]
        if self.tries_noise and self.is_noise.any():
            starts.append(np.where(self.is_noise, math.log(_NOISY_START), initial))
        best: tuple[FloatArray, float] = (initial, math.inf)
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
