"""Which candidates were fitted on which splits, and what became of the fits.

`BaseSearchCV` keeps the fits of all its calls in one list, and raises when every fit of one call
fails, which for a search that evaluates one candidate a call is a single bad candidate. The log
puts every fit, failed calls included, back to its candidate and split, so that ``cv_results_``
holds what a search that evaluates everything in one call would hold.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import FitFailedWarning

_ALL_FAILED = "All the "
Fit = dict[str, Any]  # what scikit-learn's _fit_and_score returns


def is_all_failed(error: ValueError) -> bool:
    """Whether scikit-learn raised because every fit of a call failed."""
    return str(error).lstrip().startswith(_ALL_FAILED)


@dataclass
class _Call:
    """Candidates, by row, that were fitted on the same splits in one call."""

    rows: list[int]
    splits: list[int]
    is_failed: bool = False

    def __len__(self) -> int:
        return len(self.rows) * len(self.splits)


@dataclass(frozen=True)
class Fits:
    """Fits of n candidates on all splits."""

    candidates: list[dict[str, Any]]
    out: list[Fit]  # n * n_splits; those that are missing are estimates, or NaN
    is_fitted: Any  # (n, n_splits) bool
    is_failed: Any  # (n,) bool: a fit failed

    @property
    def n_evaluated(self) -> Any:
        """Splits on which each candidate was fitted, (n,)."""
        return self.is_fitted.sum(axis=1)


class FitLog:
    """The calls in the order in which they ran."""

    def __init__(self) -> None:
        self.candidates: list[dict[str, Any]] = []
        self.estimates: dict[int, dict[int, Fit]] = {}  # by row and split
        self.last_error: ValueError | None = None
        self.has_results = False
        self._calls: list[_Call] = []

    @property
    def n_fits(self) -> int:
        """Fits of all calls."""
        return sum(map(len, self._calls))

    def add(self, candidates: Sequence[dict[str, Any]]) -> list[int]:
        """Note new candidates; returns their rows."""
        start = len(self.candidates)
        self.candidates += candidates
        return [*range(start, len(self.candidates))]

    def begin_call(self, rows: Sequence[int], splits: Sequence[int]) -> None:
        """Note a call that begins."""
        self._calls.append(_Call([*rows], [*splits]))

    def end_call(self, error: ValueError | None = None) -> None:
        """Note its end; if all its fits failed, warn as scikit-learn does of single failures."""
        if error is None:
            self.has_results = True
            return
        call = self._calls[-1]
        call.is_failed = True
        self.last_error = error
        details = str(error).rpartition("Below are more details about the failures:\n")[2]
        message = f"\nAll fits of {len(call.rows)} candidate(s) failed:\n{details}"
        warnings.warn(message, FitFailedWarning, stacklevel=5)

    def failed_rows(self, out: Sequence[Fit]) -> set[int]:
        """Candidates with a fit that failed."""
        failed = {row for call in self._calls if call.is_failed for row in call.rows}
        return failed | {row for row, _, fit in self._placed(out) if fit["fit_error"] is not None}

    def merge(
        self, out: Sequence[Fit], n_splits: int, error_score: Any, *, finished_only: bool = False
    ) -> Fits:
        """Every candidate's fits.

        Parameters
        ----------
        out : sequence of dict
            The fits of all calls that had a result.
        n_splits : int
            Number of splits.
        error_score : float
            Score of a fit that failed.
        finished_only : bool, default=False
            Leave out candidates that have neither a fit nor an estimate for some split.

        Returns
        -------
        Fits
            Those fits, by candidate and split.
        """
        cells: list[list[Fit | None]] = [[None] * n_splits for _ in self.candidates]
        is_fitted = np.zeros((len(cells), n_splits), dtype=bool)
        failed_fit = _failed_fit(out[0], error_score)
        for call in self._calls:
            if call.is_failed:
                is_fitted[np.ix_(call.rows, call.splits)] = True
        for row, split, fit in self._placed(out):
            cells[row][split] = fit
            is_fitted[row, split] = True
        failed = self.failed_rows(out)
        for row, line in enumerate(cells):
            rest = self.estimates.get(row, {})
            for split in range(n_splits):
                if line[split] is None:
                    line[split] = failed_fit if row in failed else rest.get(split)
        rows = [
            row
            for row, line in enumerate(cells)
            if is_fitted[row].any() and not (finished_only and None in line)
        ]
        blank = _filled(out[0], np.nan)
        return Fits(
            [self.candidates[row] for row in rows],
            [blank if fit is None else fit for row in rows for fit in cells[row]],
            is_fitted[rows],
            np.array([row in failed for row in rows], dtype=bool),
        )

    def _placed(self, out: Sequence[Fit]) -> list[tuple[int, int, Fit]]:
        """The fits with their rows and splits; those of an interrupted call are not there yet."""
        cells = [
            (row, split)
            for call in self._calls
            if not call.is_failed
            for row in call.rows
            for split in call.splits
        ]
        return [(row, split, fit) for (row, split), fit in zip(cells, out, strict=False)]


def estimated_fit(template: Fit, scores: Mapping[str, Mapping[str, float]], times: Any) -> Fit:
    """A fit that was not made.

    Parameters
    ----------
    template : dict
        A fit that was.
    scores : mapping
        Scores by "test" or "train" and by metric; a single metric is called "score".
    times : mapping
        ``fit_time`` and ``score_time``.

    Returns
    -------
    dict
        The fit.
    """
    parts = {}
    for part, values in scores.items():
        is_named = isinstance(template[f"{part}_scores"], dict)
        parts[f"{part}_scores"] = dict(values) if is_named else values["score"]
    return {**template, **parts, **times}


def _failed_fit(template: Fit, error_score: Any) -> Fit:
    """What scikit-learn's ``_fit_and_score`` returns for a failed fit; its times are not known."""
    return {**_filled(template, error_score), "fit_error": "all fits failed"}


def _filled(template: Fit, score: Any) -> Fit:
    """A fit with the same score throughout and unknown times."""

    def filled(scores: Any) -> Any:
        return dict.fromkeys(scores, score) if isinstance(scores, dict) else score

    scores = {k: filled(v) for k, v in template.items() if k in ("test_scores", "train_scores")}
    times = {"fit_time": np.nan, "score_time": np.nan}
    return {**template, **scores, **times, "fit_error": None}
