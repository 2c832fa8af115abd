r"""MAP fit of one output's Gaussian process by scikit-learn.

Hyper-parameters maximise the posterior, with the dimension-scaled prior of Hvarfner, Hellsten and
Nardi, "Vanilla Bayesian optimization performs great in high dimensions", ICML 2024: length-scales
are log-normal with location sqrt(2) + log(d) / 2 and scale sqrt(3).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.stats import chi2
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk

from lookahead_sk._typing import FloatArray
from lookahead_sk.optimization._kernel_conversion import (
    has_trend,
    is_default,
    may_be_noisy,
    with_noise,
)
from lookahead_sk.optimization._likelihood import (
    centred_products,
    matern_log_likelihood,
    squared_differences,
)
from lookahead_sk.optimization._posterior import JITTER, MORE_JITTER
from lookahead_sk.optimization._transforms import Kind, OutputTransform, fit_transform

Noise = Literal["auto", "exact", "noisy"]

# Targets of "it runs": a failure weighs more than a success, so that its border is approached
# from the side that runs.
_RUN_LABELS = (-0.5, 1.5)
_NOISY_START = 0.1
_LARGE = 300  # data of which some decide
_ENOUGH = 200
_SETTLED, _UNDECIDED = 20, 1.25
# Noise is believed for so many nats and pairs of close points, unless the differences between these
# are so small that their chance is below this.
_NOISE_EVIDENCE, _FEWEST_PAIRS, _REFUTED = 3.0, 3, 0.01
_SURPRISE = 3.0  # standard deviations of the last datum, given the others: all is decided anew
# Relative to a log posterior of the order of n: far below what changes a prediction.
_TOLERANCE = 1e-7


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
            nu, y = self.kernel_.k1.k1.k2.nu, self.y_train_
            likelihood, slope = matern_log_likelihood(
                theta, constants.differences, y, self.alpha, nu, constants.products
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
            x, is_fast = self.X_train_, is_default(self.kernel_)
            cached = _FitConstants(
                x,
                squared_differences(x) if is_fast else None,
                centred_products(x) if is_fast and has_trend(self.kernel_) else None,
                make_prior(self.kernel_, x.shape[1]),
            )
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
    products: FloatArray | None  # (n n,), for the default kernel with a trend
    prior: Prior


def make_prior(kernel: sk.Kernel, n_features: int) -> Prior:
    """The prior of a kernel's free hyper-parameters, in scikit-learn's order."""
    columns: list[tuple[float, float, float]] = []
    # With a trend the rest of the function may be small.
    scale = (math.log(1e-2), 1 / 36, 0.0) if has_trend(kernel) else (0.0, 1.0, 0.0)
    terms = {
        # The density in the length-scale itself has the slope -1. Beside noise it is the one in its
        # logarithm: a process of tiny length-scales is noise by another name.
        "length_scale": (
            math.sqrt(2) + 0.5 * math.log(n_features),
            1 / 3,
            0.0 if may_be_noisy(kernel) else -1.0,
        ),
        "noise_level": (math.log(1e-8), 1 / 49, 0.0),
        "constant_value": scale,
        "linear_variance": (0.0, 1 / 9, 0.0),
        "quadratic_variance": (0.0, 1 / 9, 0.0),
    }
    for parameter in kernel.hyperparameters:
        if not parameter.fixed:
            flat = (0.0, 0.0, 0.0)
            own = [term for name, term in terms.items() if parameter.name.endswith(name)]
            columns += [*own, flat][:1] * parameter.n_elements
    location, precision, slope = np.array(columns).reshape(-1, 3).T
    return Prior(location, precision, slope)


@dataclass(frozen=True)
class FitStart:
    """Where the next fit of an output begins, and what need not be decided anew."""

    theta: FloatArray  # (p,)
    kind: Kind | None  # of the output's transform; None for "it runs"
    kernel: int  # place among the kernels that may be chosen
    n: int  # data that decided
    is_noisy: bool = False  # whether noise that is not rounding was found

    @property
    def choice(self) -> tuple[Any, int, bool]:
        """What was decided."""
        return self.kind, self.kernel, self.is_noisy

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
    evidence: float = 0.0


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
    noise: Noise = "auto",
) -> OutputFit:
    """Fit each kernel under each transform, keep the pair of largest evidence, user's units.

    What 20 data or more have decided holds until there are a quarter more, or the last datum is a
    surprise. Of many data 200 decide; only what they chose is fitted to all.

    Parameters
    ----------
    kernels : sequence of kernels
        Covariances to choose from; with a trend only for outputs as they are.
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
    noise : {"auto", "exact", "noisy"}, default="auto"
        Whether outputs are noisy; "auto": where there is evidence that misfit cannot fake.

    Returns
    -------
    OutputFit
        The fit of largest evidence.
    """
    output = _Output(x, column, is_constraint, takes_slope=len(kinds) > 1)
    choices = _choices(kernels, kinds, noise)
    n_decided, starts_anew = len(x), True
    is_settled = start is not None and start.choice in choices and start.settles(len(x))
    if start is not None and is_settled and not _is_surprising(output, kernels, start):
        choices, n_decided, starts_anew = [start.choice], start.n, False
    elif len(x) > _LARGE and len(choices) > 1:
        some = np.linspace(0, len(x) - 1, _ENOUGH).astype(int)
        begin = None if start is None else replace(start, n=0)
        few = fit_output(
            kernels, x[some], column[some], kinds, begin, is_constraint=is_constraint, noise=noise
        )
        choices, start, starts_anew = [few.start.choice], few.start, False
    search = _Search(kernels, start, n_decided, starts_anew)
    exact = _best_fit(output, [c for c in choices if not c[2]], search)
    with_noise_too = [c for c in choices if c[2] and (exact is None or c[0] == exact.start.kind)]
    noisy = _best_fit(output, with_noise_too, search)
    if noisy is not None and (exact is None or _is_noise(noisy, exact, x)):
        return noisy
    if exact is None:
        raise RuntimeError("no output transform to choose from")
    return exact


Choice = tuple[Any, int, bool]  # transform, place of the kernel, whether there is noise


@dataclass(frozen=True)
class _Output:
    """What is fitted."""

    x: FloatArray  # (n, d)
    column: FloatArray  # (n,), user's units
    is_constraint: bool
    takes_slope: bool  # whether densities under several transforms are compared

    def transform(self, kind: Kind) -> OutputTransform:
        """The map of a kind."""
        return fit_transform(self.column, kind, is_constraint=self.is_constraint)


@dataclass(frozen=True)
class _Search:
    """Where fits begin."""

    kernels: Sequence[sk.Kernel]
    start: FitStart | None
    n_decided: int
    starts_anew: bool  # noisy fits, also from a noisy start: few data suit both explanations


def _choices(kernels: Sequence[sk.Kernel], kinds: Sequence[Kind], noise: Noise) -> list[Choice]:
    """All that may be chosen; the noise of a kernel of the user's is in its own hands."""
    options = {"auto": (False, True), "exact": (False,), "noisy": (True,)}[noise]
    return [
        (kind, place, is_noisy)
        for is_noisy in (options if is_default(kernels[0]) else (False,))
        for kind in kinds
        for place, kernel in enumerate(kernels)
        if kind == "none" or not has_trend(kernel)
    ]


def _kernel_of(kernels: Sequence[sk.Kernel], choice: Choice) -> sk.Kernel:
    kernel = kernels[choice[1]]
    return with_noise(kernel) if choice[2] else kernel


def _is_surprising(output: _Output, kernels: Sequence[sk.Kernel], start: FitStart) -> bool:
    """Whether the last datum was unlikely under what all data before it had chosen."""
    kernel = _kernel_of(kernels, start.choice)
    if start.kind is None or len(start.theta) != len(kernel.theta):
        return True
    transform = output.transform(start.kind)
    target = transform.forward(output.column) - transform.offset
    covariance = kernel.clone_with_theta(start.theta)(output.x)
    covariance[np.diag_indices(len(target))] += JITTER
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return True
    # The last row of L^-1 y is the standardised error of the prediction from all rows before.
    return bool(abs(solve_triangular(factor, target, lower=True)[-1]) > _SURPRISE)


def _best_fit(output: _Output, choices: Sequence[Choice], search: _Search) -> OutputFit | None:
    """The fit of largest evidence."""
    fits = [_fit_choice(output, choice, search) for choice in choices]
    return max(fits, key=lambda fit: fit.evidence, default=None)


def _fit_choice(output: _Output, choice: Choice, search: _Search) -> OutputFit:
    """The fit of one kernel under one transform."""
    kind, place, is_noisy = choice
    transform = output.transform(kind)
    target = transform.forward(output.column)
    kernel = _kernel_of(search.kernels, choice)
    tries_noise = search.starts_anew and (is_noisy or not is_default(kernel))
    model, n_iter = _fit_one(kernel, output.x, target - transform.offset, search.start, tries_noise)
    # The density of the data themselves: that of the targets times the slope of the map.
    slopes = np.log(transform.slope(output.column)).sum() if output.takes_slope else 0.0
    evidence = model.log_marginal_likelihood_value_ + float(slopes)
    begin = FitStart(model.kernel_.theta, kind, place, search.n_decided, is_noisy)
    return OutputFit(transform, target, transform.offset, model, n_iter, begin, evidence)


def _is_noise(noisy: OutputFit, exact: OutputFit, x: FloatArray) -> bool:
    """Whether noise explains the data far better than any exact function, and close points show it.

    Misfit of a kernel vanishes between close points, noise does not.
    """
    # Both in densities of the logarithms of length-scales, see `make_prior`.
    gain = noisy.evidence - exact.evidence
    gain -= np.log(exact.model.kernel_.k1.k1.k2.length_scale).sum()
    if gain < _NOISE_EVIDENCE:
        return False
    kernel = noisy.model.kernel_
    level = kernel.k2.noise_level
    latent = kernel.k1(x)
    variance = np.diag(latent)
    expected = variance[:, None] + variance[None] - 2 * latent  # of a difference, without noise
    np.fill_diagonal(expected, np.inf)
    nearest = expected.argmin(axis=1)
    rows = np.arange(len(x))
    is_close = expected[rows, nearest] < 2 * level
    first, second = rows[is_close], nearest[is_close]
    if len(first) < _FEWEST_PAIRS:
        return False
    square = (noisy.target[first] - noisy.target[second]) ** 2
    total = (square / (2 * level + expected[first, second])).sum()
    return bool(chi2.cdf(total, len(first)) > _REFUTED)


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
            self.n_iter += int(result.get("nit", 0))  # none where bounds leave nothing to fit
            if result.fun < best[1]:
                best = (result.x, float(result.fun))
        return best
