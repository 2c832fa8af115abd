"""Choosing a baseline's own parameter by what routing with it would have earned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

# From rows to train on and rows to judge by, the qualities predicted for the latter by every
# candidate, (A, m, K).
Predict = Callable[[Ints, Ints], Floats]


def routed_reward(quality: Floats, Y: Floats, w: Floats) -> float:
    """Weighted mean score of the models of highest quality, over the cells that were observed."""
    reward = Y[np.arange(len(Y)), quality.argmax(axis=1)]
    seen = ~np.isnan(reward)
    if not w[seen].sum() > 0:
        return -np.inf
    return float(np.average(reward[seen], weights=w[seen]))


def first_best(rewards: Floats) -> int:
    """The first candidate whose reward is the highest up to rounding: simplest candidates first."""
    return int(np.flatnonzero(rewards >= rewards.max() - 1e-12)[0])


def cross_validated(
    predict: Predict, Y: Floats, w: Floats, n_splits: int, rng: np.random.RandomState
) -> Floats:
    """Routed reward of every candidate, out of fold.

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
    ndarray of shape (A,)
        A fold in whose training part some model was not observed at all is left out; if no fold
        remains, all rewards are equal.
    """
    parts = np.array_split(rng.permutation(len(Y)), n_splits)
    predicted, judged = [], []
    for i, test in enumerate(parts):
        train = np.concatenate([part for j, part in enumerate(parts) if j != i])
        is_weighed = ~np.isnan(Y[train]) & (w[train] > 0)[:, None]
        if is_weighed.any(axis=0).all():
            predicted.append(predict(train, test))
            judged.append(test)
    if not predicted:
        return np.zeros(1)
    rows, quality = np.concatenate(judged), np.concatenate(predicted, axis=1)
    return np.array([routed_reward(candidate, Y[rows], w[rows]) for candidate in quality])
