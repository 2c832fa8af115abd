"""ConstrainedSearchCV: hyper-parameter search under limits."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from lookahead_sk._validation import check_choice, check_float, check_int, reject
from lookahead_sk.model_selection._limits import NoFeasibleCandidateWarning
from lookahead_sk.model_selection._metrics import Metrics, read_metrics
from lookahead_sk.model_selection._proposals import Proposals, read_distributions
from lookahead_sk.model_selection._race import Race
from lookahead_sk.model_selection._results_file import append_rows, check_writable, read_file
from lookahead_sk.model_selection._search_state import Results, SearchState
from lookahead_sk.model_selection._sklearn import (
    BaseSearchCV,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from lookahead_sk.model_selection._splits import SameSplits
from lookahead_sk.model_selection._warm_start import joined, read_results
from lookahead_sk.optimization import TwoStepConstrainedBO
from lookahead_sk.optimization._space import make_space


class ConstrainedSearchCV(BaseSearchCV):
    """Hyper-parameter search that maximises one metric while others stay inside limits.

    What is searched, evaluated and reported is that of `RandomizedSearchCV`; which candidates are
    evaluated is planned: `TwoStepConstrainedBO` models the metric and every limited quantity by
    Gaussian processes, and proposes the candidates after which two evaluations are expected to
    improve the best feasible score most. No limited quantity has to be known before a candidate was
    evaluated: times, sizes of models, fairness gaps, money per prompt.

    Parameters
    ----------
    estimator : estimator object
        The estimator to tune; cloned for every fit.
    param_distributions : dict or list of dict
        Names of parameters mapped to frozen `scipy.stats` distributions of bounded support
        (``loguniform`` is searched on a log scale, ``randint`` gives integers), ranges or growing
        numbers, which are ordered, or lists of choices; see `TwoStepConstrainedBO`. A list of such
        dicts is a space of branches, such as one a model: a candidate has the parameters of one of
        them. No two may have a candidate in common.
    objective : str, callable or None, default=None
        What is maximised: a metric of ``scoring``, the name of a scorer or a scorer; greater is
        better, as for all scorers. None: the only metric of ``scoring``.
    constraints : mapping, default=None
        Limits ``(low, high)``, None for an open end, of: a metric of ``scoring``; the name of a
        scorer, or a scorer; a column of ``cv_results_``, such as ``"mean_fit_time"``,
        ``"mean_score_time"`` or ``"mean_test_<metric>"``. A scorer's value is limited as it is
        returned: ``neg_log_loss`` is negative.
    known_constraints : callable, constraint or list of these, default=None
        Limits that are formulas of the parameters: no candidate is evaluated that violates one. A
        callable gets a list of candidates, dicts as in ``cv_results_["params"]``, and returns one
        value a candidate, or a row of values, met where ``<= 0``; constraints of `scipy.optimize`
        are taken too, see `TwoStepConstrainedBO`.
    n_iter : int, default=10
        Candidates to evaluate.
    batch_size : int, default=1
        Candidates evaluated at once. Each batch is ``batch_size`` times the number of splits fits;
        more than 1 fills more workers, and plans with less knowledge.
    n_initial : int, default=None
        Size of the initial design; None: ``max(5, n_parameters + 1)``, and no less than the number
        of dicts.
    acquisition : {"two_step", "eic"}, default="two_step"
        How the next candidate is chosen, see `TwoStepConstrainedBO`.
    tol : float, default=None
        Stop before ``n_iter`` when one more candidate is expected to improve the best feasible
        score by less than this, in the objective's units, before ``n_iter_no_change`` batches in a
        row. While nothing is feasible the search goes on. None: never stop early.
    n_iter_no_change : int, default=3
        Batches in a row that are expected to gain less than ``tol``; only used with ``tol``.
    racing : bool, default=False
        Whether a candidate is dropped before it was fitted on all splits, as soon as it is unlikely
        to be feasible and better than the best candidate of the batches before; see Notes. Saves
        fits where there are several splits; with a single one it changes nothing.
    initial_results : dict, default=None
        ``cv_results_`` of an earlier search with the same metrics and splits, also of another
        class, and a DataFrame of them, also from a CSV file. Its candidates come first in
        ``cv_results_``, may be the best, and are not evaluated again; ``n_iter`` counts new
        candidates only.
    results_file : str or Path, default=None
        File to which candidates are appended as they finish, JSON, one line each; with ``n_jobs``
        above 1 those of a batch, when all of it has finished. A search that was killed is continued
        by running it again: candidates in the file are taken over as those of ``initial_results``
        are, and count towards ``n_iter``; one more is evaluated at least. Estimators among the
        choices are kept by their ``repr``.
    scoring : str, callable, list, tuple or dict, default=None
        Metrics to compute, as in `RandomizedSearchCV`; those that ``objective`` and ``constraints``
        name by a scorer are added.
    n_jobs : int, default=None
        Fits in parallel, in joblib's backend. Results do not depend on it.
    refit : bool, "always" or callable, default=True
        Refit the best feasible candidate on all data; if none is feasible, warn and refit none.
        "always" then refits the candidate with the smallest violation. A callable gets
        ``cv_results_`` and returns the index to refit, feasible or not.
    cv : int, cross-validation generator or iterable, default=None
        As in `RandomizedSearchCV`; all candidates see the same splits.
    verbose : int, default=0
        1 shows a progress bar; more shows scikit-learn's messages of level ``verbose - 1`` as well.
    pre_dispatch : int or str, default="2*n_jobs"
        Jobs dispatched ahead.
    random_state : int, RandomState instance or None, default=None
        Seed of the candidates.
    error_score : "raise" or numeric, default=nan
        Score of a failed fit. A candidate with a failed fit is never feasible, and is a failed
        evaluation for the optimiser, which learns to avoid similar ones.
    return_train_score : bool, default=False
        Whether to compute training scores.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        The columns of `RandomizedSearchCV`, and ``is_feasible``, and ``violation``: the summed
        excess over the limits, each in parts of its limit, 0 if feasible, NaN if failed. Times of
        a candidate all of whose fits failed are NaN. ``n_splits_evaluated``: on how many splits it
        was fitted, int. If not on all, which only happens with ``racing``, its columns of the other
        splits are NaN, its means and standard deviations are estimates, it is not feasible, and it
        ranks behind all that were.
    best_index_ : int
        Row of the best feasible candidate; of that with the smallest violation if none is.
    best_params_ : dict
        Its parameters.
    best_score_ : float
        Its mean objective.
    n_feasible_ : int
        Candidates that meet all constraints.
    n_fits_ : int
        Fits of this search, all candidates', without the refit.
    best_estimator_ : estimator
        Refitted on all data; missing without refit.
    optimizer_ : TwoStepConstrainedBO
        The optimiser with all that it was told, for predictions of metrics not yet computed.
    scorer_ : callable or dict
        The scorers used.
    n_splits_ : int
        Number of splits.
    refit_time_ : float
        Seconds of the refit.
    multimetric_ : bool
        Whether several metrics were computed.
    partial_results_ : dict
        ``cv_results_`` of the candidates that had finished when `fit` was interrupted or failed, to
        be continued as ``initial_results``; missing otherwise.
    classes_ : ndarray
        Of ``best_estimator_``, if it is a classifier.
    n_features_in_ : int
        Of ``best_estimator_``.
    feature_names_in_ : ndarray
        Of ``best_estimator_``, if it has them.

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : Blind search, for cheap candidates.
    TwoStepConstrainedBO : The optimiser, by ask and tell.

    Notes
    -----
    Planning costs some tenths of a second a batch, beyond the fits: for fits that take less,
    `RandomizedSearchCV` with more candidates is the better choice.

    Limits on times make a search depend on the machine and its load; limits on counted quantities
    (parameters, operations, tokens) do not.

    With ``racing`` the candidates of a batch are fitted on the first split, those that are left on
    the next one, and so on: a blocking race [1]_, [2]_, in which all see the same splits. A value
    on a split is taken to be the sum of an effect of the candidate, an effect of the split and a
    normal residual. The last two are estimated from the half of the complete candidates whose
    values on the splits seen are most similar. They give, by Student's t, the chance that the mean
    over all splits meets a limit or exceeds the best feasible score; while nothing is feasible,
    that the violation is below the smallest so far. A candidate is dropped if the product of these
    chances is below 0.05. The optimiser is told the expected means. The first three candidates are
    always completed, a failed one is given up at once, limits on standard deviations are judged on
    all splits only, and so are those on times while fewer than three candidates of this very search
    are complete.

    References
    ----------
    .. [1] A. W. Moore and M. S. Lee (1994), Efficient algorithms for minimizing cross validation
       error, ICML.
    .. [2] M. Birattari, T. Stützle, L. Paquete and K. Varrentrapp (2002), A racing algorithm for
       configuring metaheuristics, GECCO.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression(l1_ratio=1, solver="liblinear"))
    >>> def n_features(model, X, y):
    ...     return float((model[-1].coef_ != 0).sum())
    >>> search = ConstrainedSearchCV(
    ...     model,
    ...     {"logisticregression__C": loguniform(1e-3, 1e3)},
    ...     objective="roc_auc",
    ...     constraints={n_features: (None, 8)},
    ...     n_iter=10,
    ...     cv=3,
    ...     random_state=0,
    ... ).fit(X, y)
    >>> bool(search.cv_results_["mean_test_n_features"][search.best_index_] <= 8)
    True
    """

    # Our own parameters are checked by _check_parameters.
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        key: value for key, value in BaseSearchCV._parameter_constraints.items() if key != "refit"
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        objective: Any = None,
        constraints: Any = None,
        known_constraints: Any = None,
        n_iter: int = 10,
        batch_size: int = 1,
        n_initial: int | None = None,
        acquisition: str = "two_step",
        tol: float | None = None,
        n_iter_no_change: int = 3,
        racing: bool = False,
        initial_results: Any = None,
        results_file: str | Path | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.param_distributions = param_distributions
        self.objective = objective
        self.constraints = constraints
        self.known_constraints = known_constraints
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.n_initial = n_initial
        self.acquisition = acquisition
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.racing = racing
        self.initial_results = initial_results
        self.results_file = results_file
        self.random_state = random_state
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and refit the best feasible candidate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data; whatever the estimator accepts.
        y : array-like of shape (n_samples,) or (n_samples, n_output), default=None
            Target.
        **params : dict
            Passed to the estimator, the scorers and the splitter, as in `RandomizedSearchCV`.

        Returns
        -------
        Self
            The search.

        Raises
        ------
        ValueError
            If a parameter is invalid, no candidate meets the known constraints, or all fits of all
            candidates failed.
        """
        metrics = self._check_parameters()
        state = self._make_state(metrics)
        before = dict(vars(self))
        before.pop("partial_results_", None)
        self._prepare(state)
        try:
            super().fit(X, y, **params)
        except BaseException:
            found = state.partial(super()._format_results)
            self.__dict__.clear()  # a call that fails changes nothing
            self.__dict__.update(before)
            if found is not None:
                self.partial_results_ = found
            raise
        state = self._search_state
        self.refit, self.verbose = before["refit"], before["verbose"]
        for name in ("_search_state", "_has_bar", "_refits_infeasible"):
            delattr(self, name)
        self._describe_best(state)
        return self

    def _make_state(self, metrics: Metrics) -> SearchState:
        """The state before the first batch, or raise for results that cannot be continued."""
        space = make_space(read_distributions(self.param_distributions))
        path = None if self.results_file is None else Path(self.results_file)
        if path is not None:
            check_writable(space)
        earlier = {
            "initial_results": self.initial_results,
            "results_file": None if path is None else read_file(path),
        }
        columns = [f"mean_test_{metrics.objective}", *(x.column for x in metrics.limits)]
        given = {name: table for name, table in earlier.items() if table is not None}
        tables = [read_results(table, space, columns, name) for name, table in given.items()]
        n_in_file = len(tables[-1]["params"]) if "results_file" in given else 0
        return SearchState(metrics, joined(tables), self.error_score, path, n_in_file)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether a fit has ended."""
        return "cv_results_" in vars(self)

    def _prepare(self, state: SearchState) -> None:
        """Set what only lives during a fit."""
        for name in [n for n in vars(self) if n.endswith("_") and not n.startswith("_")]:
            delattr(self, name)
        self._search_state = state
        self._has_bar = self.verbose > 0
        self._refits_infeasible = callable(self.refit) or self.refit == "always"
        # scikit-learn decides by ``refit`` whether to refit; here it depends on the results too.
        if self.refit and not callable(self.refit):
            self.refit = state.metrics.objective
        self.verbose = max(0, int(self.verbose) - 1)

    def score(self, X: Any, y: Any = None, **params: Any) -> float:
        """Score the refitted candidate by the objective.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,) or (n_samples, n_output), default=None
            Target.
        **params : dict
            Passed to the scorer, with metadata routing enabled.

        Returns
        -------
        float
            The objective; greater is better.
        """
        check_is_fitted(self)
        estimator = self.best_estimator_
        _raise_for_params(params, self, "score")
        routed = (
            process_routing(self, "score", **params).scorer["score"] if _routing_enabled() else {}
        )
        name = self._read_metrics().objective
        if isinstance(self.scorer_, dict):
            return float(self.scorer_[name](estimator, X, y, **routed))
        value = self.scorer_(estimator, X, y, **routed)
        return float(value[name] if isinstance(value, dict) else value)

    def __getattr__(self, name: str) -> Any:
        """Say why there is no refitted estimator."""
        if name in ("best_estimator_", "refit_time_") and "cv_results_" in vars(self):
            reason = "refit=False"
            if self.refit:
                reason = "no candidate meets the constraints; refit='always' refits even so"
            raise AttributeError(f"{type(self).__name__} has no {name}: {reason}.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _check_parameters(self) -> Metrics:
        """Check what scikit-learn does not, before anything changes."""
        read_distributions(self.param_distributions)
        check_int(self.n_iter, "n_iter", 1)
        check_int(self.batch_size, "batch_size", 1)
        check_int(int(self.verbose), "verbose", 0)
        if self.n_initial is not None:
            check_int(self.n_initial, "n_initial", 1)
        check_choice(self.acquisition, "acquisition", ("two_step", "eic"))
        if self.tol is not None:
            check_float(self.tol, "tol", 0.0)
        check_int(self.n_iter_no_change, "n_iter_no_change", 1)
        if not isinstance(self.racing, bool | np.bool_):
            reject("racing", "a bool", self.racing, kind=TypeError)
        if not (isinstance(self.refit, bool | np.bool_) or callable(self.refit)):
            check_choice(self.refit, "refit", (True, False, "always"))
        if self.results_file is not None and not isinstance(self.results_file, str | Path):
            reject("results_file", "a path or None", self.results_file, kind=TypeError)
        return self._read_metrics()

    def _read_metrics(self) -> Metrics:
        return read_metrics(
            self.estimator,
            self.scoring,
            self.objective,
            self.constraints,
            has_train_scores=bool(self.return_train_score),
            raises=self.error_score == "raise",
        )

    def _get_scorers(self) -> tuple[Any, str]:
        """The scorers of scoring, objective and constraints, and the name of the objective."""
        metrics = self._read_metrics()
        if metrics.scorers is None:
            return super()._get_scorers()[0], metrics.objective
        return metrics.scorers, metrics.objective

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        """Evaluate batches of candidates, each planned with the results of all before it."""
        state = self._search_state
        splits = SameSplits(self._checked_cv_orig)
        state.begin(self.n_splits_, has_train_scores=bool(self.return_train_score))
        if state.path is not None:
            append_rows(state.path, [])  # raises where nothing can be written
        proposals = self._make_proposals()
        n_iter = max(1, self.n_iter - state.n_in_file)
        # With a file, and one after the other: each candidate is on disk before the next begins.
        is_alone = state.path is not None and effective_n_jobs(self.n_jobs) == 1
        size = 1 if is_alone else self.batch_size
        n_batches, rest = divmod(n_iter, self.batch_size)
        n_portions = n_batches * -(-self.batch_size // size) + -(-rest // size)
        search = callback_ctx.subcontext(task_name="search", max_subtasks=n_portions)
        search.call_on_fit_task_begin(estimator=self)
        n_done, stops = 0, False
        with tqdm(total=n_iter, disable=not self._has_bar, desc="search") as bar:
            while n_done < n_iter and not stops and not self._gains_little(proposals):
                left = n_iter - n_done
                candidates = proposals.propose(min(self.batch_size, left), remaining=left)
                if not candidates:
                    message = f"The search space has only {n_done} candidates, n_iter={self.n_iter}"
                    warnings.warn(f"{message}: all were evaluated.", UserWarning, stacklevel=2)
                    break
                evaluate = self._make_evaluate(evaluate_candidates, splits)
                for start in range(0, len(candidates), size):
                    portion = candidates[start : start + size]
                    stops = self._run_portion(portion, search, proposals, evaluate)
                    n_done += len(portion)
                    bar.set_postfix_str(self._progress(state), refresh=False)
                    bar.update(len(portion))
                    if stops:
                        break
        state.finish(super()._format_results)
        self.optimizer_ = proposals.optimizer
        self.n_fits_ = state.log.n_fits
        self.n_feasible_ = int(state.latest["is_feasible"].sum())
        if self.n_feasible_ == 0 and not self._refits_infeasible:
            self.refit = False
        search.call_on_fit_task_end(estimator=self)

    def _gains_little(self, proposals: Proposals) -> bool:
        """Whether ``tol`` ends the search before the next batch."""
        if self.tol is None:
            return False
        is_small = proposals.n_small_gains(self.tol) >= self.n_iter_no_change
        return is_small and self._search_state.log.has_results

    def _make_evaluate(self, evaluate_candidates: Any, splits: SameSplits) -> Any:
        """How the candidates of one batch are evaluated: on all splits, or in a race."""
        state = self._search_state
        if self.racing and self.n_splits_ > 1:
            return Race(self, state, evaluate_candidates, splits)
        evaluate = partial(evaluate_candidates, cv=splits)
        return partial(state.evaluate, evaluate, splits=range(self.n_splits_))

    def _run_portion(
        self, portion: list[Any], search: Any, proposals: Proposals, evaluate: Any
    ) -> bool:
        """Evaluate candidates and tell their outcomes; returns whether a callback stops it all."""
        task = search.subcontext(
            task_name="batch",
            max_subtasks=len(portion) * self.n_splits_,
            sequential_subtasks=False,
        ).call_on_fit_task_begin(estimator=self)
        rows = self._search_state.log.add(portion)
        evaluate(rows=rows, callback_ctx=task)
        proposals.record(portion, self._search_state.close(rows, self._format_quietly))
        return bool(task.call_on_fit_task_end(estimator=self))

    def _make_proposals(self) -> Proposals:
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=2)
        optimizer = TwoStepConstrainedBO(
            read_distributions(self.param_distributions),
            self._search_state.metrics.n_constraints,
            known_constraints=self.known_constraints,
            acquisition=self.acquisition,
            exploit="coarse",  # no score from cross-validation is worth polishing
            n_initial=self.n_initial,
            random_state=int(seeds[0]),
        )
        proposals = Proposals(optimizer, int(seeds[1]))
        earlier = self._search_state.earlier
        if earlier is not None:
            known = earlier["params"]
            proposals.record(known, self._search_state.outputs(earlier, len(known)))
        return proposals

    @staticmethod
    def _progress(state: SearchState) -> str:
        if not state.latest:
            return "no candidate ran yet"
        feasible = state.latest["is_feasible"]
        if not feasible.any():
            return "none feasible yet"
        best = state.latest[f"mean_test_{state.metrics.objective}"][state.best_index(state.latest)]
        return f"best {best:.4g}, {feasible.sum()} feasible"

    def _format_results(
        self, candidate_params: Any, n_splits: int, out: Any, more_results: Any = None
    ) -> Results:
        """``cv_results_`` with feasibility, see `SearchState.format`."""
        return self._search_state.format(self._format_quietly, out, more_results)

    def _format_quietly(self, *args: Any) -> Results:
        with warnings.catch_warnings():
            # Each batch would repeat it for all candidates so far: it comes at the end, once.
            warnings.filterwarnings("ignore", "One or more of the", UserWarning)
            return super()._format_results(*args)

    def _select_best_index(self, refit: Any, refit_metric: str, results: Results) -> int:
        """The choice of a callable, or of `SearchState.best_index`."""
        if callable(refit):
            return int(super()._select_best_index(refit, refit_metric, results))
        return self._search_state.best_index(results)

    def _describe_best(self, state: SearchState) -> None:
        """Set ``best_*`` also where scikit-learn leaves them out, and warn if none is feasible."""
        results = self.cv_results_
        if not hasattr(self, "best_index_"):
            self.best_index_ = state.best_index(results)
            self.best_params_ = results["params"][self.best_index_]
        self.best_score_ = float(results[f"mean_test_{state.metrics.objective}"][self.best_index_])
        if self.n_feasible_ or not state.metrics.limits:
            return
        consequence = "It was refitted all the same."
        if self.refit is True:
            consequence = "It was not refitted: refit='always' would."
        warnings.warn(
            f"None of {len(results['params'])} candidates meets the constraints. The least "
            f"violating one is {self.best_params_} "
            f"({state.describe_violations(results, self.best_index_)}). {consequence} "
            "Raise n_iter, widen the search space or loosen a limit.",
            NoFeasibleCandidateWarning,
            stacklevel=3,
        )
