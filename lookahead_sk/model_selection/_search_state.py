"""The state of a search while it runs: its results so far, and what the optimiser is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import as_float_array, reject
from lookahead_sk.model_selection._fit_log import FitLog, Fits, is_all_failed
from lookahead_sk.model_selection._limits import column_of, excess_table, violation_of
from lookahead_sk.model_selection._metrics import Metrics
from lookahead_sk.model_selection._results_file import append, append_rows
from lookahead_sk.model_selection._warm_start import (
    N_EVALUATED,
    check_columns,
    counts,
    prepend,
    rank,
)

Results = dict[str, Any]


class SearchState:
    """Results of one search so far.

    Parameters
    ----------
    metrics : Metrics
        What is maximised and limited.
    earlier : dict or None
        ``cv_results_`` to continue.
    error_score : "raise" or float
        Score of a failed fit.
    path : Path or None
        File to which finished candidates are appended.
    n_in_file : int
        Candidates that it has already.
    """

    def __init__(
        self,
        metrics: Metrics,
        earlier: Any,
        error_score: Any,
        path: Path | None = None,
        n_in_file: int = 0,
    ) -> None:
        self.metrics = metrics
        self.earlier = earlier
        self.error_score = error_score
        self.path = path
        self.n_in_file = n_in_file
        self.n_splits = 0
        self.log = FitLog()
        self.latest: Results = {}
        self._needed: list[str] = []
        self._fitted: tuple[Any, Any] = ((), None)

    def begin(self, n_splits: int, *, has_train_scores: bool) -> None:
        """Raise before the first fit if the earlier results lack a column of the new ones."""
        self.n_splits = n_splits
        if self.earlier is None:
            return
        columns = [f"{kind}_{step}_time" for kind in ("mean", "std") for step in ("fit", "score")]
        for part in ("test", "train") if has_train_scores else ("test",):
            for name in self.metrics.names:
                kinds = ["mean", "std", *(f"split{i}" for i in range(n_splits))]
                columns += [f"{kind}_{part}_{name}" for kind in kinds]
        name = "results_file" if self.n_in_file else "initial_results"
        check_columns(self.earlier, columns, name)
        self._needed = columns

    def evaluate(
        self,
        evaluate_candidates: Callable[..., Results],
        rows: Sequence[int],
        splits: Sequence[int],
        **options: Any,
    ) -> None:
        """Fit candidates of the log on some splits."""
        self.log.begin_call(rows, splits)
        try:
            evaluate_candidates([self.log.candidates[row] for row in rows], **options)
        except ValueError as error:
            if self.error_score == "raise" or not is_all_failed(error):
                raise
            self.log.end_call(error)
        else:
            self.log.end_call()

    def close(self, rows: Sequence[int], make: Callable[..., Results]) -> FloatArray:
        """Write the results of the last candidates to the file; returns what to tell of them.

        Parameters
        ----------
        rows : sequence of int
            The candidates, in the log.
        make : callable
            scikit-learn's own ``_format_results``.

        Returns
        -------
        ndarray of shape (n, 1 + m)
            See `outputs`.
        """
        if self.log.has_results:
            self.refresh(make)
        if self.path is not None and self.latest:
            n = len(self.latest["params"])
            append(self.path, self.latest, range(n - len(rows), n))
        elif self.path is not None:
            append_rows(self.path, [{"params": dict(self.log.candidates[row])} for row in rows])
        if not self.latest:
            return np.full((len(rows), 1 + self.metrics.n_constraints), np.nan)
        return self.outputs(self.latest, len(rows))

    def partial(self, make: Callable[..., Results]) -> Results | None:
        """Results of the candidates that have finished, None while there are none."""
        if not self.log.has_results:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out, more = self._fitted
            fits = self.log.merge(out, self.n_splits, self.error_score, finished_only=True)
            return self._make(make, fits, more) if fits.candidates else None

    def format(self, make: Callable[..., Results], out: Any, more: Any) -> Results:
        """``cv_results_`` with failed fits, the earlier search's rows and feasibility.

        Parameters
        ----------
        make : callable
            scikit-learn's own ``_format_results``.
        out, more : object
            Its arguments: the fits so far, and more columns.

        Returns
        -------
        dict
            The results; `latest` is the same dict.
        """
        self._fitted = (out, more)
        self.latest = self._make(make, self.fits(), more)
        return self.latest

    def fits(self) -> Fits:
        """All candidates' fits so far."""
        return self.log.merge(self._fitted[0], self.n_splits, self.error_score)

    def failed_rows(self) -> set[int]:
        """Candidates, in the log, with a fit that failed."""
        return self.log.failed_rows(self._fitted[0])

    def _make(self, make: Callable[..., Results], fits: Fits, more: Any) -> Results:
        results = make(fits.candidates, self.n_splits, fits.out, more)
        for key, column in results.items():
            if key.startswith("split"):
                split = int(key.removeprefix("split").partition("_")[0])
                column[~fits.is_fitted[:, split]] = np.nan
        results[N_EVALUATED] = fits.n_evaluated
        failed = fits.is_failed
        if self.earlier is not None:
            results = prepend(self.earlier, results, self.n_splits)
            n_earlier = len(results["params"]) - len(failed)
            before = self.earlier.get("violation", np.zeros(n_earlier))
            before = as_float_array(before, "initial_results['violation']")
            failed = np.concatenate([np.isnan(before), failed])
        return self._judge(results, failed)

    def _judge(self, results: Results, failed: Any) -> Results:
        """Results with feasibility; candidates that were not evaluated on all splits rank last."""
        failed = failed | ~np.isfinite(self._objective(results))
        violation = violation_of(results, self.metrics.limits)
        violation[failed] = np.nan
        is_complete = results[N_EVALUATED] == self.n_splits
        results["is_feasible"] = (violation == 0) & is_complete
        results["violation"] = violation
        for key in [key for key in results if key.startswith("rank_test_")]:
            results[key] = rank(results[key.replace("rank_", "mean_", 1)], is_complete)
        return results

    def known(self) -> Results:
        """Results so far with those of the earlier search, also before the first new ones."""
        if self.latest or self.earlier is None:
            return self.latest
        needed = {*self._needed, *(limit.column for limit in self.metrics.limits), "violation"}
        numbers = {
            key: as_float_array(column, f"initial_results[{key!r}]")
            for key, column in self.earlier.items()
            if key in needed
        }
        n = len(self.earlier["params"])
        failed = np.isnan(numbers.get("violation", np.zeros(n)))
        n_evaluated = counts(self.earlier[N_EVALUATED], self.n_splits)
        table = {**numbers, "params": self.earlier["params"], N_EVALUATED: n_evaluated}
        return self._judge(table, failed)

    def refresh(self, make: Callable[..., Results]) -> None:
        """Bring `latest` up to date in place: calls may have failed after it was made."""
        latest = self.latest
        final = self._make(make, self.fits(), self._fitted[1])
        latest.clear()
        latest.update(final)

    def finish(self, make: Callable[..., Results]) -> None:
        """Bring `latest` up to date, or raise if no fit succeeded."""
        if not self.log.has_results:
            raise self.log.last_error or RuntimeError("no candidate was evaluated")
        self.refresh(make)

    def outputs(self, results: Mapping[str, Any], n: int) -> FloatArray:
        """What the optimiser is told of the last n rows: it minimises, NaN is a failure."""
        excess = excess_table(results, self.metrics.limits)
        table = np.column_stack([-self._objective(results), excess])[-n:]
        is_failed = ~np.isfinite(table).all(axis=1)
        if "violation" in results:
            is_failed |= np.isnan(as_float_array(results["violation"], "violation")[-n:])
        table[is_failed] = np.nan
        return table

    def _objective(self, results: Mapping[str, Any]) -> FloatArray:
        column = f"mean_test_{self.metrics.objective}"
        if column not in results:
            known = [key[10:] for key in results if key.startswith("mean_test_")]
            reject("objective", f"a metric that is computed, {known}", self.metrics.objective)
        return np.asarray(results[column], dtype=np.float64)

    def best_index(self, results: Results) -> int:
        """Row of the best feasible candidate, of the least violating one if there is none."""
        feasible, violation = results["is_feasible"], results["violation"]
        if feasible.any():
            return int(np.where(feasible, self._objective(results), -np.inf).argmax())
        violation = np.where(results[N_EVALUATED] == self.n_splits, violation, np.nan)
        if np.isnan(violation).all():
            return 0
        return int(np.nanargmin(violation))

    def describe_violations(self, results: Results, index: int) -> str:
        """Which limits a candidate exceeds, in words."""
        parts = []
        for limit in self.metrics.limits:
            value = column_of(results, limit)[index]
            if not all(excess <= 0 for excess, _ in limit.excesses(value)):
                parts.append(f"{limit.column} = {value:.4g}, allowed is {limit}")
        return "; ".join(parts) or "its fits failed"
