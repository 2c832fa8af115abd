"""The estimator: ask for the next experiments, tell their outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import column_or_1d, validate_data

from lookahead_sk._device import resolve_device
from lookahead_sk._validation import as_float_array, check_choice, check_int, reject
from lookahead_sk.optimization import _persistence
from lookahead_sk.optimization._acquisition import log_eic_at
from lookahead_sk.optimization._gradient import ESTIMATORS
from lookahead_sk.optimization._history import HistoryMixin
from lookahead_sk.optimization._lift import check_kernel
from lookahead_sk.optimization._maximize import (
    Problem,
    Settings,
    believe,
    greedy_batch,
    maximize_eic,
    maximize_two_step,
    mean_value,
    second_candidates,
)
from lookahead_sk.optimization._normal import sobol_uniform
from lookahead_sk.optimization._posterior import moments
from lookahead_sk.optimization._predict import log_density, predict_moments
from lookahead_sk.optimization._space import (
    Array,
    Space,
    describe_bounds,
    make_space,
    restore_bounds,
    spanned_box,
)
from lookahead_sk.optimization._surrogate import (
    TRANSFORMS,
    Surrogate,
    few_threads,
    fit_surrogate,
    to_device,
)

_MAX_REDRAWS = 256  # of designed points that were asked for before
# Joint optimisation of more points than this costs more than it gains; the rest follows in turn.
_LARGEST_JOINT_BATCH = 8
_ANCHORS = 4
_VALUE_FANTASIES = 512
_LARGEST_OUTPUT = 1e150  # squares of larger ones overflow


class TwoStepConstrainedBO(HistoryMixin, RegressorMixin, BaseEstimator):
    """Two-step lookahead constrained Bayesian optimisation, by ask and tell.

    Minimises an expensive objective subject to expensive constraints ``c <= 0`` that are observed
    together with it. The next experiment is the one after which *two* evaluations are expected to
    improve the best feasible value most; constrained expected improvement (EIC), which looks one
    evaluation ahead, is left only when the gain is statistically significant. Every other ask is
    the second step of a plan and cashes in: it goes for what the model believes to be best [2]_, by
    maximising EIC with standard deviations of a tenth, if that keeps half of EIC's maximum;
    otherwise, and while nothing is feasible, it maximises EIC.

    Parameters
    ----------
    bounds : array-like of shape (d, 2) or mapping, default=None
        Box of the search; or names mapped to ``(low, high)``, a frozen `scipy.stats` distribution
        (``loguniform`` is searched on a log scale, ``randint`` gives integers) or a list of
        choices, then points are dicts. None: the box spanned by the points given to `fit`.
    n_constraints : int, default=0
        Number of constraints m; 0 is unconstrained optimisation.
    batch_size : int, default=1
        Points that `ask` returns.
    acquisition : {"two_step", "eic"}, default="two_step"
        Two-step value 2-OPT-C, or constrained expected improvement.
    gradient_estimator : {"stratified", "likelihood_ratio"}, default="stratified"
        How the two-step value is ascended; both are unbiased, "stratified" has less variance.
    kernel : scikit-learn kernel, default=None
        Covariance of every output, on the unit cube; RBF, Matern (1/2, 3/2, 5/2, inf),
        RationalQuadratic, Constant, White, their sums and products. None: Matern 5/2 or its limit,
        the squared exponential, whichever has more evidence, output by output; one length-scale a
        dimension, times a variance, plus white noise.
    output_transform : {"auto", "bilog", "log_tail", "copula", "none"}, default="auto"
        Monotone map of the outputs before the Gaussian process. "auto" lets the evidence choose,
        output by output, between none and a logarithm. Predictions are in the user's units,
        acquisition values in the model's. "log_tail" and "copula" are for the objective;
        constraints then take "bilog".
    n_initial : int, default=None
        Size of the initial Sobol design; None: ``max(5, d + 1)``.
    n_fantasies : int, default=32
        Imagined outcomes a step of the ascent; the final comparison uses more.
    n_restarts : int, default=6
        Starts of the ascents.
    max_iter : int, default=15
        Steps of the two-step ascent; 0 only screens.
    device : str or torch.device, default="auto"
        Where the acquisition is computed, in float64.
    random_state : int, RandomState instance or None, default=None
        Seed of design and acquisition.
    verbose : int, default=0
        1 prints a line an ask.

    Attributes
    ----------
    X_ : ndarray of shape (n, d) or list of dict
        Evaluated points.
    y_ : ndarray of shape (n, 1 + m)
        Their outputs, objective first; rows with NaN are failed evaluations.
    best_x_ : ndarray of shape (d,) or dict or None
        Best feasible point, None while there is none.
    best_y_ : float
        Its objective; NaN while there is none.
    is_feasible_ : ndarray of shape (n,)
        Which evaluated points are feasible.
    pending_ : ndarray of shape (p, d) or list of dict
        Points asked for and not told yet.
    n_features_in_ : int
        Number of variables d.
    n_iter_ : int
        Iterations that `fit` needed for the surrogate's hyper-parameters.

    See Also
    --------
    sklearn.gaussian_process.GaussianProcessRegressor : Fits the surrogate.

    Notes
    -----
    One ask costs O((1 + m) n^3) an iteration of the surrogate's fit and O((1 + m) n^2) a point of
    the acquisition; the number of fantasies does not multiply n. *Improvement* is that of the
    latent functions: imagined outcomes carry no observation noise. Under noise the incumbent is the
    smallest posterior mean among the points observed feasible.

    References
    ----------
    .. [1] Zhang, Zhang and Frazier, "Constrained two-step look-ahead Bayesian optimization",
       NeurIPS 2021.
    .. [2] De Ath, Everson, Rahat and Fieldsend, "Greed is good: exploration and exploitation
       trade-offs in Bayesian optimisation", ACM Transactions on Evolutionary Learning and
       Optimization 1, 2021: every so often, the model's own optimum does as well or better.

    Examples
    --------
    >>> def evaluate(X):
    ...     return np.stack([X.sum(axis=1), 1 - X[:, 0] * X[:, 1]], axis=1)
    >>> opt = TwoStepConstrainedBO([(0, 6), (0, 6)], n_constraints=1, random_state=0)
    >>> while len(opt.y_) < 12:
    ...     X = opt.ask()
    ...     opt = opt.tell(X, evaluate(X))
    >>> bool(opt.best_y_ < 2.1)
    True
    """

    def __init__(
        self,
        bounds: Any = None,
        n_constraints: int = 0,
        *,
        batch_size: int = 1,
        acquisition: str = "two_step",
        gradient_estimator: str = "stratified",
        kernel: Any = None,
        output_transform: str = "auto",
        n_initial: int | None = None,
        n_fantasies: int = 32,
        n_restarts: int = 6,
        max_iter: int = 15,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.bounds = bounds
        self.n_constraints = n_constraints
        self.batch_size = batch_size
        self.acquisition = acquisition
        self.gradient_estimator = gradient_estimator
        self.kernel = kernel
        self.output_transform = output_transform
        self.n_initial = n_initial
        self.n_fantasies = n_fantasies
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Several outputs as soon as there are constraints."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.n_constraints != 0
        return tags

    def ask(self, n_points: int | None = None, remaining: int | None = None) -> Any:
        """Return the next points to evaluate.

        Parameters
        ----------
        n_points : int, optional
            How many; by default ``batch_size``.
        remaining : int, optional
            Evaluations left in the budget, this ask's included. With no evaluation left after this
            ask there is no second step, and EIC is maximised.

        Returns
        -------
        ndarray of shape (n_points, d) or list of dict
            The points; they are pending until told.

        Raises
        ------
        ValueError
            If a parameter is invalid.
        """
        self._check_parameters()
        q = check_int(self.batch_size if n_points is None else n_points, "n_points", 1)
        if remaining is not None:
            check_int(remaining, "remaining", 1)
        before = dict(vars(self))
        try:
            self._begin()
            with few_threads(len(self._unit)):
                unit = self._next(q, is_last=remaining is not None and remaining <= q)
            points = self.space_.decode(unit)
            # As `tell` will read them: where floats are coarse, a point is not quite its own.
            self._pending = np.concatenate([self._pending, self.space_.encode(points)])
            self._n_asked += 1
        except BaseException:  # an interrupted ask has not happened: arrays are never written to
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        if self.verbose:
            print(f"ask {self._n_asked}: {points}")  # noqa: T201
        return points

    def tell(self, X: Any, y: Any) -> Self:
        """Add outcomes, in any order, of points asked for or not.

        Parameters
        ----------
        X : array-like of shape (q, d) or list of dict
            Evaluated points, inside the bounds.
        y : array-like of shape (q, 1 + m), or (q,) without constraints
            Outputs, objective first; a row with NaN is a failed evaluation.

        Returns
        -------
        Self
            The optimiser.

        Raises
        ------
        ValueError
            If a point or a shape is invalid; nothing is added then.
        """
        self._check_parameters()
        space = self.space_ if hasattr(self, "space_") else self._make_space()
        unit = space.encode(X)
        outputs = self._check_outputs(y, len(unit))
        self._begin()
        self._append(self._as_told(X), unit, outputs)
        return self

    def fit(self, X: Any, y: Any) -> Self:
        """Replace the data and fit the surrogate.

        Parameters
        ----------
        X : array-like of shape (n, d) or list of dict
            Evaluated points.
        y : array-like of shape (n, 1 + m), or (n,) without constraints
            Their outputs; rows with NaN are failed evaluations, at least one row has none.

        Returns
        -------
        Self
            The fitted optimiser.
        """
        self._check_parameters()
        is_named = hasattr(self.bounds, "items")
        if not is_named:
            if y is None:
                raise ValueError(
                    "This TwoStepConstrainedBO estimator requires y to be passed, "
                    "but the target y is None."
                )
            X = validate_data(self, X, dtype=np.float64)
        y = np.asarray(y)
        if self.n_constraints == 0 and y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)  # what scikit-learn's regressors say of such a y
        space = make_space(spanned_box(X)) if self.bounds is None else self._make_space()
        unit = space.encode(X)
        outputs = self._check_outputs(y, len(unit))
        if np.isnan(outputs).any(axis=1).all():
            reject("y", "outputs with at least one row without NaN", outputs)
        check_kernel(self.kernel, space.n_unit)
        self._reset(space)
        self._append(self._as_told(X), unit, outputs)
        self._surrogate = self._fit_surrogate()
        self.n_iter_ = self._surrogate.n_iter
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the latent outputs in the user's units.

        Parameters
        ----------
        X : array-like of shape (n, d) or list of dict
            Points.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        mean : ndarray of shape (n, 1 + m), or (n,) without constraints
            Expected outputs, objective first.
        std : ndarray of the same shape
            Their standard deviations, without observation noise; only if ``return_std``.
        """
        mean, std = predict_moments(self._fitted(), self._encode_for_prediction(X))
        if self.n_constraints == 0:
            mean, std = mean[:, 0], std[:, 0]
        return (mean, std) if return_std else mean

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Coefficient of determination R^2 of `predict`.

        Parameters
        ----------
        X : array-like of shape (n, d), or list of n dict
            Points.
        y : array-like of shape (n, 1 + m), or (n,) without constraints
            Their true outputs.
        sample_weight : array-like of shape (n,), default=None
            Weight of each point.

        Returns
        -------
        float
            1 less the share of the variance that is not explained; mean over the outputs.
        """
        return float(super().score(X, y, sample_weight))

    def log_predictive_density(self, X: Any, y: Any) -> float:
        """Mean log predictive density of observations, a score for comparing kernels.

        Parameters
        ----------
        X : array-like of shape (n, d) or list of dict
            Points.
        y : array-like of shape (n, 1 + m), or (n,) without constraints
            Observed outputs, in the user's units.

        Returns
        -------
        float
            Mean over points of the sum over outputs, nats; failed rows are left out.
        """
        unit = self._encode_for_prediction(X)
        outputs = self._check_outputs(y, len(unit))
        ran = ~np.isnan(outputs).any(axis=1)
        return float(log_density(self._fitted(), unit[ran], outputs[ran]).mean())

    def acquisition_value(self, X: Any) -> Array:
        """Acquisition of single points, in the units of the transformed objective.

        Parameters
        ----------
        X : array-like of shape (n, d) or list of dict
            Points inside the bounds.

        Returns
        -------
        ndarray of shape (n,)
            Expected improvement of the next two evaluations, or EIC; while nothing is feasible the
            chance of a feasible point.
        """
        problem, settings = self._problem(), self._settings()
        points = self._tensor(self.space_.encode(X))
        if self.acquisition == "eic":
            at = moments(problem.posterior, points)
            return torch.exp(log_eic_at(at, problem.incumbent)).cpu().numpy()
        optima, _ = maximize_eic(problem, settings, self.seed_)
        candidates = second_candidates(problem, optima, settings, self.seed_)
        batches = points.unsqueeze(1)
        value = mean_value(problem, candidates, batches, _VALUE_FANTASIES, self.seed_, 0.0)
        return value.cpu().numpy()

    def acquisition_gradient(self, X: Any) -> Array:
        """Gradient of `acquisition_value` by the estimator ``gradient_estimator``.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Points inside the bounds; not available for named search spaces.

        Returns
        -------
        ndarray of shape (n, d)
            Derivatives with respect to the user's coordinates.
        """
        problem, settings = self._problem(), self._settings()
        if self.space_.names is not None:
            reject("bounds", "an array of shape (d, 2) for gradients", "a mapping")
        points = self._tensor(self.space_.encode(X))
        width = np.array([d.high - d.low for d in self.space_.dimensions])  # type: ignore[attr-defined]
        if self.acquisition == "eic":
            points.requires_grad_(True)
            value = torch.exp(log_eic_at(moments(problem.posterior, points), problem.incumbent))
            (gradient,) = torch.autograd.grad(value.sum(), points)
            return gradient.cpu().numpy() / width
        optima, _ = maximize_eic(problem, settings, self.seed_)
        candidates = second_candidates(problem, optima, settings, self.seed_)
        uniform = sobol_uniform(_VALUE_FANTASIES, len(candidates.mean), self.seed_)
        _, gradient = ESTIMATORS[self.gradient_estimator](
            problem.posterior,
            points.unsqueeze(1),
            candidates,
            uniform.unsqueeze(-1).to(points),
            problem.incumbent,
        )
        return gradient[:, 0].cpu().numpy() / width

    def save(self, path: str | Path) -> None:
        """Write parameters and data as JSON.

        Parameters
        ----------
        path : str or Path
            File to write.
        """
        parameters = self.get_params(deep=False)
        parameters["bounds"] = describe_bounds(self.bounds)
        parameters["kernel"] = _persistence.describe_kernel(self.kernel)
        parameters["device"] = str(self.device)
        if not isinstance(self.random_state, int | np.integer | None):
            parameters["random_state"] = None  # the seed drawn from it is part of the state
        _persistence.write(path, {"parameters": parameters, "state": self._state()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Restore an optimiser that asks for the very same points as the saved one would have.

        Parameters
        ----------
        path : str or Path
            File written by `save`.

        Returns
        -------
        TwoStepConstrainedBO
            The optimiser.

        Raises
        ------
        ValueError
            If the file is damaged or of another version; the message names it.
        OSError
            If it cannot be read.
        """
        content = _persistence.read(path)
        try:
            parameters = content["parameters"]
            parameters["bounds"] = restore_bounds(parameters["bounds"])
            parameters["kernel"] = _persistence.restore_kernel(parameters["kernel"])
            restored = cls(**parameters)
            restored._check_settings()
            if restored.random_state is not None:
                check_int(restored.random_state, "random_state")
            if content["state"] is not None:
                restored._restore(content["state"])
        except _persistence.SENSELESS as error:
            raise _persistence.damaged(path, error) from error
        return restored

    def _check_parameters(self) -> None:
        self._check_settings()
        if resolve_device(self.device).type == "mps":
            reject("device", "a device with float64", str(self.device))

    def _check_settings(self) -> None:
        """Raise for a parameter that is wrong on every machine."""
        check_int(self.n_constraints, "n_constraints", 0)
        check_int(self.batch_size, "batch_size", 1)
        check_choice(self.acquisition, "acquisition", ("two_step", "eic"))
        check_choice(self.gradient_estimator, "gradient_estimator", tuple(ESTIMATORS))
        check_choice(self.output_transform, "output_transform", tuple(TRANSFORMS))
        check_int(self.n_fantasies, "n_fantasies", 2)
        check_int(self.n_restarts, "n_restarts", 1)
        check_int(self.max_iter, "max_iter", 0)
        if self.n_initial is not None:
            check_int(self.n_initial, "n_initial", 1)

    def _make_space(self) -> Space:
        if self.bounds is None:
            reject("bounds", "given before ask or tell", None, hint="Only fit can infer them.")
        space = make_space(self.bounds)
        check_kernel(self.kernel, space.n_unit)
        return space

    def _begin(self) -> None:
        if not hasattr(self, "space_"):
            self._reset(self._make_space())
        n_told = self._outputs.shape[1] - 1
        if self.n_constraints != n_told:
            hint = "Data with other constraints are for another optimiser, or for fit."
            reject("n_constraints", f"{n_told}, as at the first ask", self.n_constraints, hint=hint)

    def _check_outputs(self, y: Any, n: int) -> Array:
        outputs = as_float_array(y, "y")
        if outputs.ndim == 1 and self.n_constraints == 0:
            outputs = outputs[:, None]
        wanted = (n, 1 + self.n_constraints)
        if outputs.shape != wanted:
            hint = "Objective first, then one column a constraint."
            reject("y", f"an array of shape {wanted}", f"shape {outputs.shape}", hint=hint)
        if np.isinf(outputs).any():
            raise ValueError("y must be finite or NaN; got infinity.")
        if (np.abs(outputs) > _LARGEST_OUTPUT).any():
            largest = float(outputs.flat[np.nanargmax(np.abs(outputs))])
            hint = "A failed evaluation is a row of NaN."
            reject("y", f"no larger than {_LARGEST_OUTPUT:g} in magnitude", largest, hint=hint)
        return outputs

    def _encode_for_prediction(self, X: Any) -> Array:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                "This TwoStepConstrainedBO instance is not fitted yet: call fit or tell first."
            )
        if self.space_.names is not None:
            return self.space_.encode(X)
        return self.space_.encode_anywhere(validate_data(self, X, dtype=np.float64, reset=False))

    def _fit_surrogate(self) -> Surrogate:
        fitted = fit_surrogate(
            self._unit,
            self._outputs,
            self.kernel,
            self._starts,
            self.output_transform,
        )
        return to_device(fitted, resolve_device(self.device))

    def _fitted(self) -> Surrogate:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                "This TwoStepConstrainedBO instance is not fitted yet: call fit or tell first."
            )
        if self._surrogate is None:
            self._surrogate = self._fit_surrogate()
        return self._surrogate

    def _tensor(self, unit: Array) -> torch.Tensor:
        return torch.as_tensor(unit).to(resolve_device(self.device))

    def _settings(self) -> Settings:
        return Settings(
            estimator=self.gradient_estimator,
            n_fantasies=self.n_fantasies,
            n_restarts=self.n_restarts,
            max_iter=self.max_iter,
        )

    def _problem(self) -> Problem:
        surrogate = self._fitted()
        order = np.where(self.is_feasible_, self._outputs[:, 0], np.inf).argsort(kind="stable")
        best = order[: min(_ANCHORS, max(1, int(self.is_feasible_.sum())))]

        def snap(points: torch.Tensor) -> torch.Tensor:
            legal = self.space_.snap(points.detach().cpu().numpy())
            return torch.as_tensor(legal).to(points)

        is_free = torch.as_tensor(self.space_.is_continuous).to(surrogate.posterior.x.device)
        anchor = self._tensor(self._unit[best])
        return Problem(surrogate.posterior, surrogate.incumbent, anchor, snap, is_free)

    def _next(self, q: int, is_last: bool) -> Array:
        n_initial = self.n_initial or max(5, self.space_.n_features + 1)
        n_known = len(self._unit) + len(self._pending)
        n_design = q if not self.__sklearn_is_fitted__() else max(0, min(q, n_initial - n_known))
        design = self._design(n_design)
        if n_design == q:
            return design
        problem = self._problem()
        self._next_starts = self._fitted().starts
        waiting = np.concatenate([self._pending, design])
        if len(waiting):
            problem = believe(problem, self._tensor(waiting))
        return np.concatenate([design, self._search(problem, q - n_design, is_last)])

    def _search(self, problem: Problem, q: int, is_last: bool) -> Array:
        settings = self._settings()
        chosen: list[torch.Tensor] = []
        # A plan is carried out: its second step cashes in, else that is put off forever.
        is_myopic = self.acquisition == "eic" or is_last
        cashes_in = self._owes_second_step and not is_myopic
        plans_ahead = not (is_myopic or cashes_in)
        self._owes_second_step = False
        while q > 0:
            size = min(q, _LARGEST_JOINT_BATCH)
            entropy = [self.seed_, self._n_asked, len(chosen)]
            seed = int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)
            if plans_ahead:
                batch, is_plan = maximize_two_step(problem, settings, size, seed)
                may_cash_in = settings.caution < 1 and problem.incumbent is not None
                self._owes_second_step |= is_plan or may_cash_in
            else:
                batch, _ = greedy_batch(problem, settings, size, seed, cashes_in and not chosen)
            chosen.append(batch)
            q -= size
            problem = believe(problem, batch) if q else problem
        return torch.cat(chosen).cpu().numpy()

    def _design(self, n: int) -> Array:
        """The next n points of one scrambled Sobol sequence, as far as they are new.

        In a finite space many fall on the same choice: the sequence goes on until n are new, or
        hardly any can be.
        """
        seen = {row.tobytes() for row in np.concatenate([self._unit, self._pending])}
        found: list[Array] = []
        spare = [np.empty((0, self.space_.n_unit))]
        start = end = self._n_designed
        while len(found) < n and end < start + n + _MAX_REDRAWS:
            end += n - len(found)
            points = sobol_uniform(end, self.space_.n_unit, self.seed_)[self._n_designed :]
            self._n_designed = end
            for row in self.space_.snap(points.numpy()):
                (spare if row.tobytes() in seen else found).append(row[None])
                seen.add(row.tobytes())
        return np.concatenate([*found, *spare[::-1]])[:n]
