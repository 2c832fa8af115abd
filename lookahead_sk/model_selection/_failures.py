"""Candidates whose fits all failed.

`BaseSearchCV` raises when every fit of one call fails, which for a search that evaluates one
candidate a call is a single bad candidate. Their rows are kept here and put back in place, so that
``cv_results_`` holds what a search that evaluates everything in one call would hold.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import FitFailedWarning

_ALL_FAILED = "All the "


def is_all_failed(error: ValueError) -> bool:
    """Whether scikit-learn raised because every fit of a call failed."""
    return str(error).lstrip().startswith(_ALL_FAILED)


class BatchLog:
    """The batches in the order in which they ran, with the candidates of those that failed."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[dict[str, Any]] | None]] = []  # size, if failed which
        self.last_error: ValueError | None = None

    def add_evaluated(self, n: int) -> None:
        """Note a batch with a result."""
        self.batches.append((n, None))

    def add_failed(self, candidates: Sequence[dict[str, Any]], error: ValueError) -> None:
        """Note a batch without one, and warn as scikit-learn does of single failures."""
        self.batches.append((len(candidates), list(candidates)))
        self.last_error = error
        details = str(error).rpartition("Below are more details about the failures:\n")[2]
        message = f"\nAll fits of {len(candidates)} candidate(s) failed:\n{details}"
        warnings.warn(message, FitFailedWarning, stacklevel=5)

    @property
    def has_results(self) -> bool:
        """Whether any batch has a result."""
        return any(candidates is None for _, candidates in self.batches)

    def merge(
        self, candidates: list[Any], out: list[Any], n_splits: int, error_score: Any
    ) -> tuple[list[Any], list[Any]]:
        """Candidates and fits in the order in which they ran, failed batches included."""
        all_candidates: list[Any] = []
        all_out: list[Any] = []
        start = 0
        for n, failed in self.batches:
            if failed is None:
                all_candidates += candidates[start : start + n]
                all_out += out[start * n_splits : (start + n) * n_splits]
                start += n
            else:
                all_candidates += failed
                all_out += [_failed_fit(out[0], error_score)] * (n * n_splits)
        # A batch whose result is being made is not noted yet.
        return all_candidates + candidates[start:], all_out + out[start * n_splits :]


def _failed_fit(template: dict[str, Any], error_score: Any) -> dict[str, Any]:
    """What scikit-learn's ``_fit_and_score`` returns for a failed fit; its times are not known."""

    def filled(scores: Any) -> Any:
        return dict.fromkeys(scores, error_score) if isinstance(scores, dict) else error_score

    scores = {k: filled(v) for k, v in template.items() if k in ("test_scores", "train_scores")}
    times = {"fit_time": np.nan, "score_time": np.nan, "fit_error": "all fits failed"}
    return {**template, **scores, **times}


def failed_candidates(out: Sequence[dict[str, Any]], n_splits: int) -> Any:
    """Which candidates have a fit that failed, (n,) bool."""
    errors = np.array([fit["fit_error"] is not None for fit in out], dtype=bool)
    return errors.reshape(-1, n_splits).any(axis=1)
