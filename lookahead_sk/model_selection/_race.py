"""A race: the candidates of a batch go on split by split, as long as they may be the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk.model_selection._fit_log import Fits, estimated_fit
from lookahead_sk.model_selection._racing import (
    MIN_CHANCE,
    MIN_COMPLETE,
    Standard,
    predict_splits,
)
from lookahead_sk.model_selection._search_state import SearchState
from lookahead_sk.model_selection._splits import OneSplit, SameSplits, one_split_at_a_time
from lookahead_sk.model_selection._warm_start import N_EVALUATED

_TIMES = ("fit_time", "score_time")


class Race:
    """A race of the candidates of one batch against the best candidate before the batch.

    Parameters
    ----------
    search : BaseSearchCV
        Whose candidates race.
    state : SearchState
        Its state.
    evaluate_candidates : callable
        That of `BaseSearchCV`.
    splits : SameSplits
        The splits of all candidates.
    """

    def __init__(
        self,
        search: Any,
        state: SearchState,
        evaluate_candidates: Callable[..., Any],
        splits: SameSplits,
    ) -> None:
        self.search = search
        self.state = state
        self.evaluate_candidates = evaluate_candidates
        self.splits = splits
        self.standard = make_standard(state)

    def __call__(self, rows: Sequence[int], callback_ctx: Any) -> None:
        """Evaluate candidates of the log, all that are left on one split, then on the next."""
        left = [*rows]
        for split in range(self.state.n_splits):
            if not left:
                return
            task = callback_ctx.subcontext(
                task_name="split",
                task_id=split,
                max_subtasks=len(left),
                sequential_subtasks=False,
            ).call_on_fit_task_begin(estimator=self.search)
            one = OneSplit(self.splits, split, self.state.n_splits)
            with one_split_at_a_time(self.search):
                self.state.evaluate(
                    self.evaluate_candidates, left, [split], cv=one, callback_ctx=task
                )
            task.call_on_fit_task_end(estimator=self.search)
            left = self._survivors(left, split + 1)

    def _survivors(self, rows: list[int], n_seen: int) -> list[int]:
        """Candidates that have not failed, and may still be the best; the rest is estimated."""
        standard, failed = self.standard, self.state.failed_rows()
        rows = [row for row in rows if row not in failed]
        if standard is None or not rows or n_seen == self.state.n_splits:
            return rows
        fits, results = self.state.fits(), self.state.latest
        places = len(results["params"]) - len(fits.candidates) + np.array(rows)
        names = watched(self.state)
        seen = {
            name: split_values(results, fits, name, self.state.n_splits)[places, :n_seen]
            for name in names
        }
        is_left = standard.chances(seen) >= MIN_CHANCE
        for row, place, stays in zip(rows, places, is_left, strict=True):
            if not stays:
                self._estimate(standard, row, int(place), n_seen, fits)
        return [row for row, stays in zip(rows, is_left, strict=True) if stays]

    def _estimate(self, standard: Standard, row: int, place: int, n_seen: int, fits: Fits) -> None:
        """Note what the fits of a candidate that is dropped would have given."""
        results, n_splits = self.state.latest, self.state.n_splits
        scores: dict[int, dict[str, dict[str, float]]] = {k: {} for k in range(n_seen, n_splits)}
        for name in measured(results):
            part, _, metric = name.partition("_")
            seen = split_values(results, fits, name, n_splits)[place : place + 1, :n_seen]
            rest = predict_splits(standard.of(name), seen)[0]
            for split, value in zip(scores, rest, strict=True):
                scores[split].setdefault(part, {})[metric] = float(value)
        made = fits.out[row * n_splits : row * n_splits + n_seen]
        times = {name: float(np.mean([fit[name] for fit in made])) for name in _TIMES}
        self.state.log.estimates[row] = {
            split: estimated_fit(made[0], parts, times) for split, parts in scores.items()
        }


def make_standard(state: SearchState) -> Standard | None:
    """What the next candidates must reach; None while too few candidates are complete."""
    results = state.known()
    if not results:
        return None
    is_complete = complete_rows(state, results)
    if is_complete.sum() < MIN_COMPLETE:
        return None
    best = state.best_index(results)
    is_feasible = bool(results["is_feasible"][best])
    fits = state.fits() if state.latest else None
    values = {
        name: split_values(results, fits, name, state.n_splits)[is_complete]
        for name in {*watched(state), *measured(results)}
    }
    objective = f"test_{state.metrics.objective}"
    return Standard(
        values,
        state.metrics.limits,
        objective,
        float(results[f"mean_{objective}"][best]) if is_feasible else -np.inf,
        0.0 if is_feasible else float(results["violation"][best]),
    )


def complete_rows(state: SearchState, results: Mapping[str, Any]) -> Any:
    """Candidates that were evaluated on all splits without a failure, (n,) bool."""
    return (results[N_EVALUATED] == state.n_splits) & ~np.isnan(results["violation"])


def watched(state: SearchState) -> list[str]:
    """What the objective and the limits are made of, by columns without ``mean_``."""
    columns = [f"mean_test_{state.metrics.objective}"]
    columns += [limit.column for limit in state.metrics.limits]
    return [*dict.fromkeys(column.partition("_")[2] for column in columns)]


def measured(results: Mapping[str, Any]) -> list[str]:
    """All metrics, as in `watched`."""
    heads = ("mean_test_", "mean_train_")
    return [key.removeprefix("mean_") for key in results if key.startswith(heads)]


def split_values(
    results: Mapping[str, Any], fits: Fits | None, name: str, n_splits: int
) -> FloatArray:
    """Values on every split, (n, n_splits); times of an earlier search are not known."""
    if name in _TIMES:
        times = [] if fits is None else [fit[name] for fit in fits.out]
        table = np.full((len(results["params"]), n_splits), np.nan)
        if times:
            new = np.array(times, dtype=np.float64).reshape(-1, n_splits)
            table[len(table) - len(new) :] = new
        return table
    columns = [results.get(f"split{k}_{name}") for k in range(n_splits)]
    if any(column is None for column in columns):  # of an earlier search
        return np.full((len(results["params"]), n_splits), np.nan)
    return np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
