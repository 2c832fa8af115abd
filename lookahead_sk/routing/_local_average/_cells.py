"""How much every cell of a score table counts: n prompts, K models.

A weight of 2 counts as two prompts with that score, a cell that was not observed as none.
"""

from __future__ import annotations

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray


def observed_weights(scores: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Weight (n, K) of every score, 0 where it is NaN; 1 for the others where none is given."""
    return np.where(np.isnan(scores), 0.0, 1.0 if weight is None else weight)


def mean_scores(scores: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """Weighted mean (K,) of every model's observed scores (n, K)."""
    if weight is None:
        means: FloatArray = np.nanmean(scores, axis=0)
        return means
    cells = observed_weights(scores, weight)
    weighted: FloatArray = (cells * np.nan_to_num(scores)).sum(axis=0) / cells.sum(axis=0)
    return weighted


def rows_of(weight: FloatArray | None, rows: IntArray) -> FloatArray | None:
    """The weights of some rows; None where there are no weights."""
    return None if weight is None else weight[rows]
