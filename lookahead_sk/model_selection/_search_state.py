"""The state of a search while it runs: its results so far, and what the optimiser is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import as_float_array, reject
from lookahead_sk.model_selection._failures import BatchLog, failed_candidates, is_all_failed
from lookahead_sk.model_selection._limits import column_of, excess_table, violation_of
from lookahead_sk.model_selection._metrics import Metrics
from lookahead_sk.model_selection._results_file import append, append_rows
from lookahead_sk.model_selection._warm_start import check_columns, prepend

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
        self.batch_log = BatchLog()
        self.latest: Results = {}
        self._fits: tuple[Any, ...] = ()

    def evaluate(
        self, evaluate_candidates: Callable[..., Results], candidates: Sequence[Any], **options: Any
    ) -> Results | None:
        """Results of all candidates so far; None for a batch all of whose fits failed."""
        try:
            results = evaluate_candidates(candidates, **options)
        except ValueError as error:
            if self.error_score == "raise" or not is_all_failed(error):
                raise
            self.batch_log.add_failed(candidates, error)
            if self.path is not None:
                append_rows(self.path, [{"params": dict(params)} for params in candidates])
            return None
        self.batch_log.add_evaluated(len(candidates))
        if self.path is not None:
            n = len(results["params"])
            append(self.path, results, range(n - len(candidates), n))
        return results

    def check_earlier(self, n_splits: int, *, has_train_scores: bool) -> None:
        """Raise before the first fit if the earlier results lack a column of the new ones."""
        if self.earlier is None:
            return
        columns = [f"{kind}_{step}_time" for kind in ("mean", "std") for step in ("fit", "score")]
        for part in ("test", "train") if has_train_scores else ("test",):
            for name in self.metrics.names:
                kinds = ["mean", "std", *(f"split{i}" for i in range(n_splits))]
                columns += [f"{kind}_{part}_{name}" for kind in kinds]
        name = "results_file" if self.n_in_file else "initial_results"
        check_columns(self.earlier, columns, name)

    def partial(self, make: Callable[..., Results]) -> Results | None:
        """Results of the candidates that have finished, None while there are none."""
        if not self.batch_log.has_results:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.format(make, *self._fits)

    def format(
        self, make: Callable[..., Results], candidates: Any, n_splits: int, out: Any, more: Any
    ) -> Results:
        """``cv_results_`` with failed batches, the earlier search's rows and feasibility.

        Parameters
        ----------
        make : callable
            scikit-learn's own ``_format_results``.
        candidates, n_splits, out, more : object
            Its arguments.

        Returns
        -------
        dict
            The results; `latest` is the same dict.
        """
        self._fits = (candidates, n_splits, out, more)
        candidates, out = self.batch_log.merge(candidates, out, n_splits, self.error_score)
        results = make(candidates, n_splits, out, more)
        failed = failed_candidates(out, n_splits)
        if self.earlier is not None:
            results = prepend(self.earlier, results)
            n_earlier = len(results["params"]) - len(failed)
            before = self.earlier.get("violation", np.zeros(n_earlier))
            before = as_float_array(before, "initial_results['violation']")
            failed = np.concatenate([np.isnan(before), failed])
        failed |= ~np.isfinite(self._objective(results))
        violation = violation_of(results, self.metrics.limits)
        violation[failed] = np.nan
        results["is_feasible"] = violation == 0
        results["violation"] = violation
        self.latest = results
        return results

    def finish(self, make: Callable[..., Results]) -> None:
        """Bring `latest` up to date in place, since batches may have failed after it was made."""
        if not self.batch_log.has_results:
            raise self.batch_log.last_error or RuntimeError("no candidate was evaluated")
        latest = self.latest
        final = self.format(make, *self._fits)
        latest.clear()
        latest.update(final)
        self.latest = latest

    def outputs(self, results: Results | None, n: int) -> FloatArray:
        """What the optimiser is told of the last n rows: it minimises, NaN is a failure."""
        if results is None:
            return np.full((n, 1 + self.metrics.n_constraints), np.nan)
        excess = excess_table(results, self.metrics.limits)
        table = np.column_stack([-self._objective(results), excess])[-n:]
        is_failed = ~np.isfinite(table).all(axis=1)
        if "violation" in results:
            is_failed |= np.isnan(as_float_array(results["violation"], "violation")[-n:])
        table[is_failed] = np.nan
        return table

    def _objective(self, results: Results) -> FloatArray:
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
