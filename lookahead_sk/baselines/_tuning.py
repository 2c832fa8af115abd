"""Choosing a baseline's own parameter by the error it makes out of fold.

What routing needs is which model is better on a prompt and by how much, not how hard the prompt
is. The criterion is therefore the squared error of the differences between the models' scores: it
is as smooth as a squared error, where the mean score of the models routed to is noisy, and unlike
the plain squared error it does not reward a baseline for knowing which prompts are hard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk.routing._local_average._cells import rows_of
from lookahead_sk.routing._local_average._selection import difference_error

# From rows to train on and rows to judge by, the qualities predicted for the latter by every
# candidate, (A, m, K).
Predict = Callable[[IntArray, IntArray], FloatArray]


def first_least(errors: FloatArray) -> int:
    """The first candidate of least error up to rounding: the simplest candidates come first."""
    return int(np.flatnonzero(errors <= errors.min() + 1e-12)[0])


class OutOfFold(NamedTuple):
    """Qualities of every candidate (A, m, K) on the rows (m,) that could be judged."""

    rows: IntArray
    quality: FloatArray

    def errors(self, Y: FloatArray, w: FloatArray, weight: FloatArray | None = None) -> FloatArray:
        """Error of every candidate, (A,), by weights of prompts (n,) and cells (n, K)."""
        rows = self.rows
        cells = rows_of(weight, rows)
        errors = [difference_error(quality, Y[rows], w[rows], cells) for quality in self.quality]
        return np.array(errors)


def cross_validated(
    predict: Predict, Y: FloatArray, w: FloatArray, n_splits: int, rng: np.random.RandomState
) -> OutOfFold:
    """Qualities that every candidate predicts for prompts it was not fitted to.

    Parameters
    ----------
    predict : callable
        ``predict(train, test)`` returns the qualities (A, len(test), K) of all candidates.
    Y : ndarray of shape (n, K)
        Scores, NaN where not observed.
    w : ndarray of shape (n,)
        Weights of the prompts.
    n_splits : int
        Number of folds, at most n.
    rng : RandomState
        Shuffles the prompts.

    Returns
    -------
    OutOfFold
        A fold in whose training part some model was not observed at all is left out. If no fold
        remains, the only rows are all rows, judged by a model that saw them.
    """
    parts = np.array_split(rng.permutation(len(Y)), min(n_splits, len(Y)))
    predicted, judged = [], []
    for i, test in enumerate(parts if len(parts) > 1 else []):
        train = np.concatenate([part for j, part in enumerate(parts) if j != i])
        is_weighed = ~np.isnan(Y[train]) & (w[train] > 0)[:, None]
        if is_weighed.any(axis=0).all():
            predicted.append(predict(train, test))
            judged.append(test)
    if not predicted:
        everything = np.arange(len(Y))
        return OutOfFold(everything, predict(everything, everything))
    return OutOfFold(np.concatenate(judged), np.concatenate(predicted, axis=1))
