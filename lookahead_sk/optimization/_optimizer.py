"""The estimator: ask for the next experiments, tell their outcomes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Self, get_args

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import column_or_1d, validate_data

from lookahead_sk._device import gradients, resolve_device
from lookahead_sk._typing import BoolArray, FloatArray
from lookahead_sk._validation import (
    Words,
    check_choice,
    check_float,
    check_int,
    reject,
)
from lookahead_sk.optimization import _persistence
from lookahead_sk.optimization._acquisition_map import (
    eic_gradient,
    eic_value,
    two_step_gradient,
    two_step_value,
)
from lookahead_sk.optimization._design import next_design
from lookahead_sk.optimization._expected_gain import largest_expected_gain
from lookahead_sk.optimization._first_points import make_region
from lookahead_sk.optimization._gradient import ESTIMATORS
from lookahead_sk.optimization._kernel_conversion import check_kernel
from lookahead_sk.optimization._known_constraints import read_known_constraints
from lookahead_sk.optimization._map_fit import Noise
from lookahead_sk.optimization._next_batch import search_batch
from lookahead_sk.optimization._predictive import log_density, predict_medians, predict_moments
from lookahead_sk.optimization._problem import (
    Problem,
    SearchOptions,
    condition_on_pending,
    is_exact,
    make_problem,
)
from lookahead_sk.optimization._recommendation import recommended_row
from lookahead_sk.optimization._region import Region
from lookahead_sk.optimization._run_state import RunState, check_outputs
from lookahead_sk.optimization._space import (
    Space,
    is_named,
    make_space,
    spanned_box,
)
from lookahead_sk.optimization._surrogate import (
    TRANSFORMS,
    Surrogate,
    fit_surrogate,
    one_thread,
    to_device,
)
from lookahead_sk.optimization._trust_region import ExploitStep, TrustRegion


class TwoStepConstrainedBO(RegressorMixin, BaseEstimator):
    """Two-step lookahead constrained Bayesian optimisation, by ask and tell.

    Minimises an expensive objective subject to expensive constraints ``c <= 0`` that are observed
    together with it. The next experiment is the one after which *two* evaluations are expected to
    improve the best feasible value most; constrained expected improvement (EIC), which looks one
    evaluation ahead, is left only when the gain is statistically significant. Asks take turns with
    exploit steps, the second steps of plans: these go for what the model expects to be best [2]_,
    in a trust region around the best point, and after a success another one follows. Where the
    processes' step does not pay, the next one is that of a quadratic through the nearest points.

    Parameters
    ----------
    bounds : array-like of shape (d, 2), mapping or list of mappings, default=None
        Box of the search; or names mapped to ``(low, high)``, a frozen `scipy.stats` distribution
        (``loguniform`` is searched on a log scale, ``randint`` gives integers), a ``range`` or
        growing numbers (of an array, or three and more of a list: ordered, on a log scale where
        their ratios vary less than their differences), or a list of choices; then points are dicts.
        A list of such mappings is a space of branches: a point has the variables of one of them.
        None: the box spanned by the points given to `fit`. Bounds
        may change during a run: data outside of new bounds teach the model, and are not feasible.
    n_constraints : int, default=0
        Number of constraints m; 0 is unconstrained optimisation.
    known_constraints : constraint, callable or list of these, default=None
        Constraints that are formulas: no point is asked for that violates one. A
        `scipy.optimize.LinearConstraint` or `~scipy.optimize.NonlinearConstraint` of the variables,
        or a callable that gets all points at once, an array (n, d) or for named variables a list of
        dicts, and returns values (n,) or (n, k), met where ``<= 0``. Rows of a LinearConstraint
        with ``lb == ub`` are equalities, of variables given as ``(low, high)``. They may change
        during a run.
    batch_size : int, default=1
        Points that `ask` returns.
    acquisition : {"two_step", "eic"}, default="two_step"
        Two-step value 2-OPT-C, or constrained expected improvement.
    gradient_estimator : {"stratified", "likelihood_ratio"}, default="stratified"
        How the two-step value is ascended; both are unbiased, "stratified" has less variance.
    kernel : scikit-learn kernel, default=None
        Covariance of every output, on the unit cube; RBF, Matern (1/2, 3/2, 5/2, inf),
        RationalQuadratic, DotProduct, Constant, White, their sums, products and powers. None:
        Matern 5/2 or its limit, the squared exponential, with one length-scale per dimension, with
        or without a quadratic trend, whichever has more evidence, output by output.
    output_transform : {"auto", "bilog", "log_tail", "copula", "none"}, default="auto"
        Monotone map of the outputs before the Gaussian process. "auto" lets the evidence choose,
        output by output, between none and a logarithm. Predictions are in the user's units,
        acquisition values in the model's. "log_tail" and "copula" are for the objective;
        constraints then take "bilog".
    noise : {"auto", "exact", "noisy"}, default="auto"
        Whether the outputs are noisy, for the default kernel. "auto": where points that were
        evaluated again have given other outputs; where none was, an output is taken as noisy if
        noise explains it far better than any exact function does and close points do not belie it.
    exploit : bool or "coarse", default=True
        Whether exploit steps take turns with the acquisition. "coarse": only where they promise
        more than a tenth of the expected improvement, and no further than they gain a twentieth of
        the distance from the median to the best outcome. That is for outcomes whose last digits
        mean nothing, such as scores from cross-validation, and it is always so in a space of
        branches.
    n_initial : int, default=None
        Size of the initial Sobol design, dealt to the branches in turn; None: ``max(5, d + 1)``,
        and no less than one for each branch.
    n_fantasies : int, default=32
        Fantasies (imagined outcomes) a step of the ascent; the final comparison uses more.
    n_restarts : int, default=6
        Starts of the ascents.
    max_iter : int, default=15
        Steps of the two-step ascent; 0 only screens.
    device : str or torch.device, default="auto"
        Where the acquisition is computed, in float64. "auto" is the CPU: up to 400 points a GPU was
        no faster.
    random_state : int, RandomState instance or None, default=None
        Seed of design and acquisition.
    verbose : int, default=0
        1 prints a line per ask.

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
    expected_gain_ : float
        What one further evaluation is expected to improve the best feasible objective by, in the
        user's units: the constrained expected improvement at its maximiser. NaN while the initial
        design is not complete or nothing is feasible. Computed from the evaluations told, whenever
        it is read; points that are pending count as not evaluated.
    is_feasible_ : ndarray of shape (n,)
        Which evaluated points are feasible.
    pending_ : ndarray of shape (p, d) or list of dict
        Points asked for and not told yet.
    plan_pending_ : bool
        Whether the next ask is the second step of a plan.
    space_ : Space
        The search space, once there has been an ask, a tell or a fit.
    seed_ : int
        Seed of design and acquisition, drawn from ``random_state``.
    n_features_in_ : int
        Number of variables d; in a space of branches that of all of them, constants left out, and
        one for the branch.
    n_iter_ : int
        Iterations that `fit` needed for the surrogate's hyper-parameters.

    See Also
    --------
    sklearn.gaussian_process.GaussianProcessRegressor : Fits the surrogate.

    Notes
    -----
    One ask costs O((1 + m) n^3) an iteration of the surrogate's fit and O((1 + m) n^2) a point of
    the acquisition; the number of fantasies does not multiply n. *Improvement* is that of the
    latent functions: fantasies carry no observation noise. Under noise the incumbent is the
    smallest posterior mean among the points observed feasible.

    Points that are asked for meet inequalities of ``known_constraints`` exactly, and equalities to
    1e-9 of the largest sum that a row can take. Points that are told may violate them: they teach
    the model, and are not feasible if they miss one by more than 1e-6 (in the units of a callable;
    for linear rows, of the largest sum).

    In a space of branches, a variable that branches have with the same range is one coordinate of
    the model, and what a point does not have is held in the middle of the cube. There
    ``known_constraints`` are callables, which get each point with its own variables, and ``fixed``
    leaves the branches that take the values together.

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

    _state: RunState | None = None  # None before the first ask, tell or fit
    _seeded_by: Any = None  # the parameter ``random_state`` that the state's seed is drawn from
    _surrogate: Surrogate | None = None  # cached: the fit to the data of the state
    _fitted_with: Any = None  # the parameters of that fit

    def __init__(
        self,
        bounds: Any = None,
        n_constraints: int = 0,
        *,
        known_constraints: Any = None,
        batch_size: int = 1,
        acquisition: str = "two_step",
        gradient_estimator: str = "stratified",
        kernel: Any = None,
        output_transform: str = "auto",
        noise: str = "auto",
        exploit: bool | str = True,
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
        self.known_constraints = known_constraints
        self.batch_size = batch_size
        self.acquisition = acquisition
        self.gradient_estimator = gradient_estimator
        self.kernel = kernel
        self.output_transform = output_transform
        self.noise = noise
        self.exploit = exploit
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

    @property
    def X_(self) -> Any:
        """Evaluated points."""
        if self._state is None:
            return np.empty((0, 0))
        return self._state.space.copy(self._state.told)

    @property
    def y_(self) -> FloatArray:
        """Outputs of the evaluated points, (n, 1 + m)."""
        if self._state is None:
            return np.empty((0, 1 + self.n_constraints))
        return self._state.outputs.copy()

    @property
    def is_feasible_(self) -> BoolArray:
        """Which evaluated points are feasible."""
        state = self._seen_state()
        return np.zeros(0, dtype=bool) if state is None else state.is_feasible.copy()

    @property
    def best_x_(self) -> Any:
        """Best feasible point, None while there is none."""
        state = self._seen_state()
        if state is None or state.best_index is None:
            return None
        (best,) = state.space.copy(state.told[state.best_index : state.best_index + 1])
        return best

    @property
    def best_y_(self) -> float:
        """Objective of the best feasible point, NaN while there is none."""
        state = self._seen_state()
        if state is None or state.best_index is None:
            return float("nan")
        return float(state.outputs[state.best_index, 0])

    @property
    def expected_gain_(self) -> float:
        """What one further evaluation is expected to improve ``best_y_`` by."""
        state = self._state
        is_designed = state is not None and len(state.unit) >= self._design_size(state)
        if state is None or not is_designed or not state.has_data:
            return float("nan")
        sequence = np.random.SeedSequence([state.seed, len(state.unit)])
        seed = int(sequence.generate_state(1)[0] >> 1)
        with one_thread, gradients():
            options = self.get_search_options()
            return largest_expected_gain(self._problem(), self._fitted(), options, seed)

    @property
    def pending_(self) -> Any:
        """Points asked for and not told yet."""
        if self._state is None:
            return np.empty((0, 0))
        return self._state.space.decode(self._state.pending)

    @property
    def plan_pending_(self) -> bool:
        """Whether the next ask is the second step of a plan."""
        return self._state is not None and self._state.plan_pending

    @property
    def space_(self) -> Space:
        """The search space."""
        return self._missing("space_") if self._state is None else self._state.space

    @property
    def seed_(self) -> int:
        """Seed of design and acquisition."""
        return self._missing("seed_") if self._state is None else self._state.seed

    def _missing(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is an evaluation to learn from."""
        return self._state is not None and self._state.has_data

    @gradients()
    def ask(
        self,
        n_points: int | None = None,
        remaining: int | None = None,
        plan_pending: bool | None = None,
        *,
        fixed: Mapping[Any, Any] | None = None,
    ) -> Any:
        """Return the next points to evaluate.

        Parameters
        ----------
        n_points : int, optional
            How many; by default ``batch_size``.
        remaining : int, optional
            Evaluations left in the budget, this ask's included. With no evaluation left after this
            ask there is no second step, and EIC is maximised.
        plan_pending : bool, optional
            Whether this ask is the second step of a plan; by default as ``plan_pending_`` says. For
            those who keep it elsewhere, such as a study that many workers share; False begins a
            plan at every ask.
        fixed : mapping, optional
            Variables that are held, by name or by index, and their values: a machine that is set
            up, a customer's choice. The others are optimised for these values.

        Returns
        -------
        ndarray of shape (n_points, d) or list of dict
            The points; they are pending until told.

        Raises
        ------
        ValueError
            If a parameter is invalid, or no point meets the known constraints and fixed values.
        """
        self._check_parameters()
        q = check_int(self.batch_size if n_points is None else n_points, "n_points", 1)
        if remaining is not None:
            check_int(remaining, "remaining", 1)
        check_choice(plan_pending, "plan_pending", (True, False, None))
        state = self._current_state()
        if plan_pending is not None:
            state = replace(state, plan_pending=plan_pending)
        is_last = remaining is not None and remaining <= q
        self._warn_of_a_small_budget(state, remaining)
        with one_thread:
            region = self._region(state, fixed)
            unit, after, surrogate = self._search(state, q, is_last, region)
        points = state.space.decode(unit)
        # As `tell` will read them: where floats are coarse, a point is not quite its own.
        unit = state.space.encode(points)
        if _repeats_in_vain(state, region, unit, surrogate):
            message = (
                "Every point of the search space was evaluated or is pending: some are repeated."
            )
            warnings.warn(message, UserWarning, stacklevel=2)
        state = after.with_asked(unit)
        self._assign(state, surrogate)
        if self.verbose:
            print(f"ask {state.n_asked}: {points}")  # noqa: T201
        return points

    def tell(self, X: Any, y: Any) -> Self:
        """Add outcomes, in any order, of points asked for or not.

        Parameters
        ----------
        X : array-like of shape (q, d) or list of dict
            Evaluated points, inside the bounds.
        y : array-like of shape (q, 1 + m), or (q,) without constraints
            Outputs, objective first; a row with NaN is a failed evaluation. It is avoided, and the
            outputs that it has are learned from: constraints although the objective failed.

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
        state = self._current_state()
        unit = state.space.encode(X)
        outputs = check_outputs(y, len(unit), self.n_constraints)
        self._assign(state.with_told(X, unit, outputs))
        return self

    def add_pending(self, X: Any) -> Self:
        """Wait for points that someone else asked for, as for points of one's own.

        Parameters
        ----------
        X : array-like of shape (q, d) or list of dict
            Points inside the bounds.

        Returns
        -------
        Self
            The optimiser.

        Raises
        ------
        ValueError
            If a parameter or a point is invalid; nothing is added then.
        """
        self._check_parameters()
        state = self._current_state()
        self._assign(state.with_pending(state.space.encode(X)), self._surrogate)
        return self

    def forget_pending(self, X: Any = None) -> Self:
        """Drop points asked for and not told: their outcomes will never come.

        Parameters
        ----------
        X : array-like of shape (q, d) or list of dict, optional
            The points; by default all that are pending.

        Returns
        -------
        Self
            The optimiser.

        Raises
        ------
        ValueError
            If one of the points is not pending; none is dropped then.
        """
        if X is not None:
            self._assign(self._current_state().without_pending(X), self._surrogate)
        elif self._state is not None:
            self._state = self._state.without_pending()
        return self

    @gradients()
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
        # The data are replaced, so that all parameters may have changed.
        if not is_named(self.bounds):
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
        outputs = check_outputs(y, len(unit), self.n_constraints)
        if np.isnan(outputs).any(axis=1).all():
            reject("y", "outputs with at least one row without NaN", outputs)
        check_kernel(self.kernel, space.n_unit)
        state = self._new_state(space).with_told(X, unit, outputs)
        self._region(state)
        surrogate = self._fit_surrogate(state)
        self.n_iter_ = surrogate.n_iter
        self._assign(state, surrogate)
        return self

    @gradients()
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

    @gradients()
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
        outputs = check_outputs(y, len(unit), self.n_constraints)
        ran = ~np.isnan(outputs).any(axis=1)
        return float(log_density(self._fitted(), unit[ran], outputs[ran]).mean())

    @gradients()
    def acquisition_value(self, X: Any) -> FloatArray:
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
        problem = self._problem()
        unit = self.space_.encode(X)
        if self.acquisition == "eic":
            return eic_value(problem, unit)
        return two_step_value(problem, unit, self.get_search_options(), self.seed_)

    @gradients()
    def acquisition_gradient(self, X: Any) -> FloatArray:
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
        problem = self._problem()
        if self.space_.names is not None:
            reject("bounds", "an array of shape (d, 2) for gradients", Words("a mapping"))
        unit = self.space_.encode(X)
        width = np.array([d.high - d.low for d in self.space_.dimensions])  # type: ignore[attr-defined]
        if self.acquisition == "eic":
            return eic_gradient(problem, unit) / width
        options = self.get_search_options()
        return two_step_gradient(problem, unit, options, self.seed_) / width

    def get_search_options(self) -> SearchOptions:
        """Return what the search for the next points may spend, and what it must keep.

        Override it in a subclass to change what is no parameter of the estimator, as ablations do,
        by ``dataclasses.replace(super().get_search_options(), n_screen=4096)``.

        Returns
        -------
        SearchOptions
            Those of the parameters, and defaults.
        """
        return SearchOptions(
            estimator=self.gradient_estimator,
            exploit=bool(self.exploit),
            is_coarse=self.exploit == "coarse",
            n_fantasies=self.n_fantasies,
            n_restarts=self.n_restarts,
            max_iter=self.max_iter,
        )

    @gradients()
    def recommend(self, min_probability: float = 0.5) -> Bunch:
        """Return the evaluated point to use in the end.

        Where outputs are exact it is ``best_x_``. Under noise the best observation is luck: then it
        is the point with the smallest posterior mean of the objective, among those that are
        feasible with at least ``min_probability``. Where there is none, it is the point that is
        feasible most probably.

        Parameters
        ----------
        min_probability : float, default=0.5
            Least probability that all constraints are met, without noise. The larger, the farther
            inside the limits.

        Returns
        -------
        Bunch
            ``x``: the point, ndarray of shape (d,) or dict. ``mean`` and ``std``: its expected
            latent outputs and their standard deviations, ndarrays of shape (1 + m,), objective
            first, in the user's units; where outputs are exact those observed, and 0.
            ``probability``: that it is feasible, a float.

        Raises
        ------
        NotFittedError
            If no evaluation succeeded yet.
        """
        check_float(min_probability, "min_probability", 0.0, 1.0)
        state, surrogate = self._fitted_state(), self._fitted()
        row, probability, is_known = recommended_row(
            state, surrogate, min_probability, is_noisy=self.noise == "noisy"
        )
        (x,) = state.space.copy(state.told[row : row + 1])
        (mean,), (std,) = predict_moments(surrogate, state.unit[row : row + 1])
        if is_known:
            seen = state.outputs[row]
            is_seen = ~np.isnan(seen)
            mean, std = np.where(is_seen, seen, mean), np.where(is_seen, 0.0, std)
        return Bunch(x=x, mean=mean, std=std, probability=probability)

    def save(self, path: str | Path) -> None:
        """Write parameters and data as JSON, all but ``known_constraints``.

        Parameters
        ----------
        path : str or Path
            File to write.

        Raises
        ------
        ValueError
            If `load` would not restore the optimiser; nothing is written then.
        TypeError
            If a parameter is of a kind that JSON does not know; nothing is written then.
        OSError
            If the file cannot be written.
        """
        parameters = _persistence.describe_parameters(self.get_params(deep=False))
        state = None
        if self._state is not None:
            state = self._current_state().to_json(with_box=self.bounds is None)
        content = _persistence.as_json({"parameters": parameters, "state": state})
        try:
            restored = self._from_content(content, self.known_constraints)
            if restored._state is not None and restored.space_.key != self.space_.key:
                reject("bounds", "made of what JSON keeps", self.bounds)
        except _persistence.SENSELESS as error:
            message = f"The optimiser must be one that load restores to be saved; {error}"
            raise type(error)(message) from error
        _persistence.write(path, content)

    @classmethod
    def load(cls, path: str | Path, *, known_constraints: Any = None) -> Self:
        """Restore an optimiser that asks for the very same points as the saved one would have.

        Parameters
        ----------
        path : str or Path
            File written by `save`.
        known_constraints : constraint, callable or list of these, default=None
            Those of the saved optimiser: a file cannot hold formulas.

        Returns
        -------
        TwoStepConstrainedBO
            The optimiser.

        Raises
        ------
        ValueError
            If the file is damaged or of another version, the message names it; or if the saved
            optimiser had known constraints and none are given.
        OSError
            If it cannot be read.
        """
        content = _persistence.read(path)
        _persistence.check_known_constraints(path, content, known_constraints)
        try:
            return cls._from_content(content, known_constraints)
        except _persistence.SENSELESS as error:
            raise _persistence.damaged(path, error) from error

    @classmethod
    def _from_content(cls, content: dict[str, Any], known_constraints: Any) -> Self:
        """The optimiser that `save` described, or raise."""
        parameters = _persistence.restore_parameters(content["parameters"])
        restored = cls(**{**parameters, "known_constraints": known_constraints})
        restored._check_settings()
        if restored.random_state is not None:
            check_int(restored.random_state, "random_state")
        if content["state"] is not None:
            restored._restore(content["state"])
        return restored

    def _check_parameters(self) -> None:
        self._check_settings()
        if resolve_device(self.device, auto="cpu").type == "mps":
            reject("device", "a device with float64", str(self.device))

    def _check_settings(self) -> None:
        """Raise for a parameter that is wrong on every machine."""
        check_int(self.n_constraints, "n_constraints", 0)
        check_int(self.batch_size, "batch_size", 1)
        check_choice(self.acquisition, "acquisition", ("two_step", "eic"))
        check_choice(self.gradient_estimator, "gradient_estimator", tuple(ESTIMATORS))
        check_choice(self.output_transform, "output_transform", tuple(TRANSFORMS))
        check_choice(self.noise, "noise", get_args(Noise))
        check_choice(self.exploit, "exploit", (True, False, "coarse"))
        check_int(self.n_fantasies, "n_fantasies", 2)
        check_int(self.n_restarts, "n_restarts", 1)
        check_int(self.max_iter, "max_iter", 0)
        if self.n_initial is not None:
            check_int(self.n_initial, "n_initial", 1)

    def _restore(self, content: dict[str, Any]) -> None:
        """Take over a run that `save` described."""
        space = make_space(self.bounds if content["box"] is None else content["box"])
        check_random_state(self.random_state)
        self._assign(RunState.from_json(content, space, self.n_constraints, self.kernel))

    def _make_space(self) -> Space:
        if self.bounds is None:
            reject("bounds", "given before ask or tell", None, hint="Only fit can infer them.")
        space = make_space(self.bounds)
        check_kernel(self.kernel, space.n_unit)
        return space

    def _current_state(self) -> RunState:
        """The run's state, before the first ask or tell a new one."""
        state = self._state
        if state is None:
            return self._new_state(self._make_space())
        state = self._with_known(state)
        check_kernel(self.kernel, state.space.n_unit)
        hint = "Tell the data to another optimiser, or replace them by fit."
        if self.n_constraints != state.n_constraints:
            accepted = f"{state.n_constraints}, as at the first ask"
            reject("n_constraints", accepted, self.n_constraints, hint=hint)
        if not _is_same_seed(self.random_state, self._seeded_by):
            accepted = f"{self._seeded_by!r}, as at the first ask"
            reject("random_state", accepted, self.random_state, hint=hint)
        return state if self.bounds is None else self._in_bounds(state)

    def _in_bounds(self, state: RunState) -> RunState:
        """The state in the space of the parameter ``bounds``, which may have changed."""
        space = make_space(self.bounds)
        if space.key == state.space.key:
            return state
        if space.layout != state.space.layout:
            hint = "Tell the data to another optimiser, or replace them by fit."
            reject("bounds", "of the same variables as at the first ask", self.bounds, hint=hint)
        check_kernel(self.kernel, space.n_unit)
        try:
            return self._with_known(state.with_space(space))
        except ValueError as error:
            hint = "Tell the data to another optimiser, or replace them by fit."
            raise ValueError(
                f"bounds must leave the data a place on their scale; {error} {hint}"
            ) from error

    def _new_state(self, space: Space) -> RunState:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return self._with_known(RunState.empty(space, self.n_constraints, seed))

    def _with_known(self, state: RunState) -> RunState:
        """The state with the known constraints that the parameter means at the moment."""
        return replace(state, known=read_known_constraints(self.known_constraints, state.space))

    def _seen_state(self) -> RunState | None:
        """The run's state for looking at it, None before the first ask or tell."""
        return None if self._state is None else self._with_known(self._state)

    def _region(self, state: RunState, fixed: Mapping[Any, Any] | None = None) -> Region:
        """Where points may be asked for."""
        if fixed is not None and not isinstance(fixed, Mapping):
            reject("fixed", "a mapping of variables to values, or None", fixed, kind=TypeError)
        space = state.space.holding(fixed) if fixed else state.space
        held = space.encode_fixed(fixed) if fixed else None
        points = np.concatenate([state.unit, state.pending])
        return make_region(space, state.known, held, points, state.seed)

    def _assign(self, state: RunState, surrogate: Surrogate | None = None) -> None:
        """Change the state, which is all that an ask or a tell changes."""
        is_new = surrogate is not None and surrogate is not self._surrogate
        self.n_features_in_ = state.space.n_features
        self._surrogate = None  # never that of another state, even if this is interrupted
        self._state, self._seeded_by = replace(state, known=None), self.random_state
        if is_new:
            self._fitted_with = self._fit_parameters(state)
        self._surrogate = surrogate

    def _encode_for_prediction(self, X: Any) -> FloatArray:
        space = self._fitted_state().space
        if space.names is not None:
            return space.encode(X)
        return space.encode_anywhere(validate_data(self, X, dtype=np.float64, reset=False))

    def _fitted_state(self) -> RunState:
        if self._state is None or not self._state.has_data:
            raise NotFittedError(
                "This TwoStepConstrainedBO instance is not fitted yet: call fit or tell first."
            )
        return self._with_known(self._state)

    def _fit_surrogate(self, state: RunState) -> Surrogate:
        noise: Any = self.noise
        if noise == "auto" and state.repeats_agree is not None:
            noise = "exact" if state.repeats_agree else "noisy"
        fitted = fit_surrogate(
            state.unit, state.outputs, self.kernel, state.starts, self.output_transform, noise
        )
        return to_device(fitted, resolve_device(self.device, auto="cpu"))

    def _fit_parameters(self, state: RunState) -> Any:
        """What a fit depends on besides the data of the state."""
        return (
            state.space.key,
            repr(self.kernel),
            self.output_transform,
            self.noise,
            str(resolve_device(self.device, auto="cpu")),
        )

    def _cached_or_fitted(self, state: RunState) -> Surrogate:
        """The surrogate of the run's state by the present parameters."""
        if self._surrogate is not None and self._fitted_with == self._fit_parameters(state):
            return self._surrogate
        return self._fit_surrogate(state)

    def _fitted(self) -> Surrogate:
        state = self._fitted_state()
        surrogate = self._cached_or_fitted(state)
        self._fitted_with, self._surrogate = self._fit_parameters(state), surrogate
        return surrogate

    def _problem(self) -> Problem:
        state = self._fitted_state()
        return make_problem(state, self._fitted(), self._region(state))

    def _search(
        self, state: RunState, q: int, is_last: bool, region: Region
    ) -> tuple[FloatArray, RunState, Surrogate | None]:
        """The next q unit points, and the state and the surrogate after the search for them."""
        n_design = self._n_design(state, q, is_last)
        design, n_designed = next_design(state, n_design, region)
        designed = replace(state, n_designed=n_designed)
        if n_design == q:
            return design, designed, self._surrogate
        surrogate = self._cached_or_fitted(state)
        problem = make_problem(state, surrogate, region)
        pending = np.concatenate([state.pending, design])
        if len(pending):
            points = torch.as_tensor(pending).to(problem.posterior.x)
            problem = condition_on_pending(problem, points)
        options = self.get_search_options()
        if len(state.space.name_sets) > 1:  # what another branch promises is more than polish
            options = replace(options, is_coarse=True)
        # A run that begins to use its model exploits first: what it knows already may be enough.
        ends_plan = state.plan_pending or (options.exploit and not state.starts)
        exploits = options.exploit and ends_plan and problem.incumbent is not None
        exact = problem.known is not None
        trust_region = TrustRegion() if region.fixed is not None else state.exploit_region(exact)
        found, is_plan, step = search_batch(
            problem,
            options,
            q - n_design,
            (state.seed, state.n_asked),
            trust_region=trust_region if exploits else None,
            is_myopic=self.acquisition == "eic" or is_last or (ends_plan and not options.exploit),
        )
        begins_plan = is_plan or (options.exploit and problem.incumbent is not None)
        after = replace(
            designed,
            plan_pending=begins_plan and step is None,
            next_starts=surrogate.starts,
        )
        if step is not None and region.fixed is None:  # the trust region is that of all variables
            after = after.with_exploit_step(
                step, _expected(step, surrogate), is_exact=exact, is_coarse=options.is_coarse
            )
        return np.concatenate([design, found]), after, surrogate

    def _n_design(self, state: RunState, q: int, is_last: bool) -> int:
        """How many of the next q points belong to the initial design."""
        if not state.has_data:
            return q
        if is_last:  # nothing is left to profit from what a design would teach
            return 0
        n_known = len(state.unit) + len(state.pending)
        return max(0, min(q, self._design_size(state) - n_known))

    def _design_size(self, state: RunState) -> int:
        space = state.space
        return self.n_initial or max(5, space.n_features + 1, space.n_branches)

    def _warn_of_a_small_budget(self, state: RunState, remaining: int | None) -> None:
        if remaining is None:
            return
        budget, size = len(state.unit) + len(state.pending) + remaining, self._design_size(state)
        if budget <= size:
            message = (
                f"A budget of {budget} evaluations is no larger than the initial design of {size}: "
                "only the last one uses a model. Set n_initial, or have more evaluations."
            )
            warnings.warn(message, UserWarning, stacklevel=3)


def _expected(step: ExploitStep, surrogate: Surrogate) -> FloatArray:
    """Outputs (1 + m,) that the model of an exploit step expects."""
    if step.expected is not None:
        return step.expected
    medians: FloatArray = predict_medians(surrogate, step.point[None])[0]
    return medians


def _is_same_seed(given: Any, before: Any) -> bool:
    """Whether the parameter ``random_state`` still is the one of before."""
    is_int = isinstance(given, int | np.integer) and isinstance(before, int | np.integer)
    return given is before or (is_int and given == before)


def _repeats_in_vain(
    state: RunState, region: Region, unit: FloatArray, surrogate: Surrogate | None
) -> bool:
    """Whether points are asked for again that are known exactly, as there are no others."""
    n_values = region.n_values
    before = np.concatenate([state.unit, state.pending])
    before = before[region.contains(before)]
    if n_values > len(before) + len(unit):
        return False
    n_before, n_after = (
        len(np.unique(points.round(12), axis=0))
        for points in (before, np.concatenate([before, unit]))
    )
    if n_after < n_values or n_after == n_before + len(unit):
        return False
    if surrogate is None:
        return state.repeats_agree is not False
    return is_exact(state, surrogate)
