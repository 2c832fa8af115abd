"""Several samples of a score: their mean, and how much it counts.

==  ==========================================================================
y   (n, K, s) samples of the score of K models on n prompts, NaN where there is none
m   (n, K) numbers of samples of the cells
v   (K,) variance of one sample around the expected score of its cell, pooled over cells
t   (K,) variance of the expected scores between prompts
==  ==========================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import Words, as_float_array, reject


def average_samples(samples: Any) -> tuple[FloatArray, FloatArray]:
    """Average several samples of every score, and weight the means by their information.

    Language models and judges answer differently each time. A mean of eight samples says more of
    the expected score than a single one, but not eight times as much: prompts differ as well.

    Parameters
    ----------
    samples : array-like of shape (n, K, s)
        Up to s scores of every model on every prompt, NaN where there are fewer.

    Returns
    -------
    scores : ndarray of shape (n, K)
        Means of the samples, NaN where there is none: ``y`` of a router.
    cell_weight : ndarray of shape (n, K)
        Weights for ``fit(X, y, cell_weight=...)``, NaN where there is no sample. Their mean is 1
        for every model; where all cells of a model have as many samples, they are all 1.

    Raises
    ------
    ValueError
        If the shape is wrong, or a sample is infinite.

    See Also
    --------
    load_routing : Logs of calls; its ``cell_weight`` is computed in the same way.

    Notes
    -----
    As an estimate of what a model scores on prompts of this kind, the mean of m samples has
    variance :math:`t + v / m`, where v is the variance of a sample around the expected score of its
    prompt, and t that of the expected scores between prompts. Its weight is proportional to
    :math:`1 / (t + v / m)`: to m where all noise is in the samples, and equal where prompts differ
    far more than samples do. Both variances are estimated for each model: v from the differences
    within cells, pooled; t as the variance of the means, less v times the mean of 1 / m, and at
    least 0 [1]_. A cell's own variance is never used: three successes in a row have none, and would
    count without limit. Where no cell has two samples, v is not known, and all weights are 1.

    References
    ----------
    .. [1] Hedges, "A random effects model for effect sizes", Psychological Bulletin 93, 1983,
       388-395.

    Examples
    --------
    >>> import numpy as np
    >>> from lookahead_sk.datasets import average_samples
    >>> nan = np.nan
    >>> samples = [
    ...     [[1, 1, 0, 1], [0, nan, nan, nan]],
    ...     [[0, 1, nan, nan], [1, 1, 0, 1]],
    ...     [[0, nan, nan, nan], [0, 1, 0, 0]],
    ... ]
    >>> scores, cell_weight = average_samples(samples)
    >>> scores
    array([[0.75, 0.  ],
           [0.5 , 0.75],
           [0.  , 0.25]])
    >>> cell_weight.round(2)
    array([[1.71, 0.4 ],
           [0.86, 1.3 ],
           [0.43, 1.3 ]])
    """
    values = as_float_array(samples, "samples")
    if values.ndim != 3 or 0 in values.shape:
        reject("samples", "of shape (n, K, s)", Words(f"shape {values.shape}"))
    if np.isinf(values).any():
        reject("samples", "finite, or NaN where there is none", Words("inf"))
    seen = ~np.isnan(values)
    counts = seen.sum(axis=2)
    sums = np.where(seen, values, 0.0).sum(axis=2)
    scores = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    squares = np.where(seen, values - scores[:, :, None], 0.0) ** 2
    return scores, information_weights(scores, counts, squares.sum(axis=(0, 2)))


def information_weights(scores: FloatArray, counts: IntArray, squares: FloatArray) -> FloatArray:
    """Weights of means of unequal numbers of samples; see `average_samples`.

    Parameters
    ----------
    scores : ndarray of shape (n, K)
        Means of the samples, NaN where there is none.
    counts : ndarray of shape (n, K)
        Numbers of samples, m.
    squares : ndarray of shape (K,)
        Sum of the squared differences of all samples to the means of their cells.

    Returns
    -------
    ndarray of shape (n, K)
        Weights, NaN where there is no sample.
    """
    seen = counts > 0
    n_cells = np.maximum(seen.sum(axis=0), 1)
    v = squares / np.maximum((counts - seen).sum(axis=0), 1)
    inverse = np.where(seen, 1 / np.maximum(counts, 1), 0.0)
    means = np.where(seen, scores, 0.0).sum(axis=0) / n_cells
    spread = (np.where(seen, scores - means, 0.0) ** 2).sum(axis=0) / np.maximum(n_cells - 1, 1)
    t = np.maximum(spread - v * inverse.sum(axis=0) / n_cells, 0.0)
    variance = t + v * inverse
    information = np.where(v > 0, 1 / np.where(variance > 0, variance, 1.0), 1.0)
    share = np.where(seen, information, 0.0).sum(axis=0) / n_cells
    return np.where(seen, information / np.where(share > 0, share, 1.0), np.nan)
