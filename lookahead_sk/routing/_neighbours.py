"""Quality by the nearest training prompts in the space of foreseen responses.

Where scores follow the prompt closely, the few prompts that will be answered most alike say more
than the mean of a kind (`_kinds`), which is for noisy scores.

==  ==========================================================================
z   (n, a) foreseen responses and features of the training prompts, on the axes
y   (n, K) scores, NaN where not observed
==  ==========================================================================

quality_k(x) = (sum_{i in N(x)} y_ik + kappa ybar_k) / (#{i in N(x): y_ik observed} + kappa),
averaged over neighbourhoods N of several sizes: one size alone is a noisy choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from lookahead_sk.routing._axes import project, some_rows

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]

SIZES = (6, 12, 24)
SHRINKAGE = 0.5
MAX_POINTS = 20_000  # training prompts that neighbours are looked for among
_CHUNK = 2_000_000  # distances at a time: 8 MB
_BLOCK = 16_384  # prompts whose neighbours' scores are looked up at a time


@dataclass
class Neighbours:
    """The training prompts, as far as nearest neighbours need them.

    Attributes
    ----------
    axes : ndarray of shape (f, a) or None
        Projection of the foreseen responses, when there are too many of them.
    points : ndarray of shape (n, a)
        Training prompts.
    scores : ndarray of shape (n, K)
        Their scores, NaN where not observed.
    sizes : tuple of int
        Sizes of the neighbourhoods.
    """

    axes: Floats32 | None
    points: Floats32
    scores: Floats
    sizes: tuple[int, ...]

    def predict(self, foreseen: Floats32) -> Floats:
        """Shrunken mean scores (n, K) of the nearest training prompts."""
        z = project(foreseen, self.axes)
        sizes = tuple(min(size, len(self.points)) for size in self.sizes)
        near = _nearest(z, self.points, max(sizes))
        return _means(self.scores, near, sizes)

    def updated(self, foreseen: Floats32, scores: Floats) -> Self:
        """These prompts and more of them (n, f), with their scores (n, K)."""
        points = np.concatenate([self.points, project(foreseen, self.axes)])
        return replace(self, points=points, scores=np.concatenate([self.scores, scores]))

    def like(self) -> Self:
        """The same space for another model, of which no score has been seen."""
        return replace(self, points=self.points[:0], scores=np.empty((0, 1)), sizes=SIZES)

    def cleared(self) -> Self:
        """The same prompts, all scores 0: what is told of residuals at the beginning."""
        return replace(self, scores=0 * self.scores)


def _nearest(
    z: Floats32, points: Floats32, k: int, own: npt.NDArray[np.intp] | None = None
) -> npt.NDArray[np.intp]:
    """Rows of the k nearest points in order of distance, (n, k).

    ``own`` (n,) tells which point each of z is itself, to be left out; -1 for none.
    """
    norms = (points**2).sum(axis=1)
    rows = max(1, _CHUNK // len(points))
    parts = []
    for start in range(0, len(z), rows):
        squared = norms - 2.0 * (z[start : start + rows] @ points.T)
        if own is not None:
            itself = own[start : start + rows]
            here = np.flatnonzero(itself >= 0)
            squared[here, itself[here]] = np.inf
        near = np.argpartition(squared, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(squared, near, axis=1).argsort(axis=1, kind="stable")
        parts.append(np.take_along_axis(near, order, axis=1))
    return np.concatenate(parts)


def _means(scores: Floats, near: npt.NDArray[np.intp], sizes: tuple[int, ...]) -> Floats:
    prior = SHRINKAGE * np.nanmean(scores, axis=0)
    last = np.array(sizes) - 1
    parts = []
    for start in range(0, len(near), _BLOCK):
        found = scores[near[start : start + _BLOCK]]  # (n, k, K)
        total = np.nancumsum(found, axis=1) + prior
        count = np.cumsum(~np.isnan(found), axis=1) + SHRINKAGE
        parts.append((total[:, last] / count[:, last]).mean(axis=1))
    return np.concatenate(parts)


def fit_neighbours(
    projected: Floats32, scores: Floats, axes: Floats32 | None = None
) -> tuple[Neighbours, Floats] | None:
    """Neighbourhoods of several sizes, and their quality on prompts held out.

    Parameters
    ----------
    projected : ndarray of shape (n, a)
        Foreseen responses of the training prompts, each by members that did not train on it, on
        the axes.
    scores : ndarray of shape (n, K)
        Scores, NaN where not observed.
    axes : ndarray of shape (f, a), optional
        The axes, for new prompts; None where the responses were not projected.

    Returns
    -------
    neighbours : Neighbours
        For new prompts.
    held_out : ndarray of shape (n, K)
        Quality of the training prompts, each without its own score. None instead of both where
        there are too few prompts.

    Notes
    -----
    Time grows with n squared up to 20,000 prompts, in matrix products: half a second for 10,000
    prompts on one core. Of more prompts a random 20,000 serve as neighbours, and time is linear.
    """
    sizes = tuple(k for k in SIZES if k < len(scores))
    if not sizes:
        return None
    some = some_rows(len(scores), MAX_POINTS)
    points, known = projected[some], scores[some]
    if np.isnan(known).all(axis=0).any():
        return None
    own = np.full(len(scores), -1)
    own[some] = np.arange(len(points))
    near = _nearest(projected, points, max(sizes), own)
    return Neighbours(axes, points, known, sizes), _means(known, near, sizes)
