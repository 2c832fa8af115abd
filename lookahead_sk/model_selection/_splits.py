"""Splitters of a search: the same splits for all candidates, one or all at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class SameSplits:
    """A splitter whose first splits serve every batch, so that all candidates see the same."""

    def __init__(self, cv: Any) -> None:
        self.cv = cv
        self.splits: list[Any] | None = None

    def split(self, X: Any, y: Any = None, **params: Any) -> list[Any]:
        """Split once."""
        if self.splits is None:
            self.splits = list(self.cv.split(X, y, **params))
        return self.splits


class OneSplit:
    """One of the splits of a splitter."""

    def __init__(self, cv: SameSplits, index: int, n_splits: int) -> None:
        self.cv = cv
        self.index = index
        self.n_splits = n_splits

    def split(self, X: Any, y: Any = None, **params: Any) -> list[Any]:
        """Split, and keep the one."""
        splits = self.cv.split(X, y, **params)
        if len(splits) != self.n_splits:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. "
                f"Expected {self.n_splits} splits, got {len(splits)}"
            )
        return [splits[self.index]]


@contextmanager
def one_split_at_a_time(search: Any) -> Iterator[None]:
    """Let `BaseSearchCV` evaluate candidates on one split: it counts splits by ``n_splits_``."""
    n_splits = search.n_splits_
    search.n_splits_ = 1
    try:
        yield
    finally:
        search.n_splits_ = n_splits
