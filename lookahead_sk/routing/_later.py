"""What a router learns after `fit`: feedback, models that were added, models that were dropped.

Nothing is trained again: what was fitted stays as it is, and is corrected by what it has misjudged
in like prompts. A model that is only called where it is thought good is seen on a biased choice of
prompts; a mean of its scores would be too high elsewhere, a mean of its misjudgements is not.

==  ==========================================================================
s   (n, f) where prompts are alike: the space of the kinds
n   (n, K0) the network's own quality of the models that were fitted
r   local mean of later scores less the quality before any feedback
==  ==========================================================================

fitted model k:  (1 - blend) kinds_k(s) + blend n_k + r_k(s)
added model a:   mean of the fitted models' quality before any feedback + offset_a + r_a(s)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

from lookahead_sk.routing._foresight import nearest_by_cosine
from lookahead_sk.routing._inputs import Floats
from lookahead_sk.routing._kinds import Floats32, one_kind
from lookahead_sk.routing._local import Local

_PENALTIES = np.logspace(-3, 5, 17)


class View(NamedTuple):
    """What a router sees in n prompts before any local mean is taken."""

    space: Floats32  # (n, f)
    network: Floats  # (n, K0), in the units of the scores
    lengths: Floats | None  # (n, K0)
    latents: Floats32  # (n, K0, r)
    features: Floats32  # (n, p), where prompts are compared with those of the training


@dataclass
class AddedModel:
    """A model that was added to a fitted router.

    Attributes
    ----------
    offset : float
        By how much it scores more than the fitted models do in the mean.
    residual : Kinds or Neighbours
        Of scores less what the offset tells, in a column: those that it was added with, and later.
    content : ndarray of shape (f + 1, c) or None
        Linear map of the space, and 1, to its response, on the principal axes of responses.
    log_length : ndarray of shape (f + 1, 1) or None
        The same to log(1 + length of its response).
    coordinates : ndarray of shape (m, c) or None
        Its responses on the principal axes, NaN where not observed.
    texts : ndarray of str of shape (m,) or None
        Its responses, where they were texts.
    """

    offset: float
    residual: Local
    content: Floats | None
    log_length: Floats | None
    coordinates: Floats32 | None
    texts: npt.NDArray[np.object_] | None

    def quality(self, view: View, fitted: Floats) -> Floats:
        """Expected scores (n, 1), given those of the fitted models before any feedback (n, K0)."""
        return _corrected(self._first_quality(fitted), self.residual, view)

    def _first_quality(self, fitted: Floats) -> Floats:
        return fitted.mean(axis=1, keepdims=True) + self.offset

    def lengths(self, view: View) -> Floats:
        """Expected lengths (n,), NaN where no lengths were given."""
        if self.log_length is None:
            return np.full(len(view.space), np.nan)
        return np.maximum(np.expm1(_affine(view.space, self.log_length)[:, 0]), 0)

    def expectations(self, view: View) -> list[dict[str, Any]]:
        """Its response that is nearest to the foreseen one."""
        known = self.log_length is not None
        lengths = self.lengths(view)
        nothing = {"response": None, "row": None, "similarity": None}
        found: list[dict[str, Any]] = [dict(nothing) for _ in view.space]
        if self.coordinates is not None and self.content is not None:
            foreseen = _affine(view.space, self.content).astype(np.float32)
            rows, similarity = nearest_by_cosine(foreseen, self.coordinates)
            for entry, row, cosine in zip(found, rows, similarity, strict=True):
                entry["response"] = None if self.texts is None else self.texts[row]
                entry |= {"row": int(row), "similarity": float(cosine)}
        for entry, length in zip(found, lengths, strict=True):
            entry["length"] = float(length) if known else None
        return found

    def updated(self, view: View, fitted: Floats, scores: Floats) -> Self:
        """With more scores (n, 1), NaN where not observed."""
        missed = scores - self._first_quality(fitted)
        return replace(self, residual=self.residual.updated(view.space, missed))


@dataclass
class Later:
    """What is known beyond `fit`.

    Attributes
    ----------
    kept : ndarray of shape (K,)
        Which of the fitted and then the added models are candidates.
    counts : ndarray of shape (K,)
        Observed scores of every candidate.
    added : list of AddedModel
        Models that came later, dropped ones among them.
    residual : Kinds, Neighbours or None
        What has been misjudged of the fitted models; None before the first feedback.
    knows_labels : bool
        Whether fit was given labels.
    """

    kept: npt.NDArray[np.intp]
    counts: Floats
    added: list[AddedModel]
    residual: Local | None
    knows_labels: bool

    def quality(self, view: View, kinds: Local | None, blend: float) -> Floats:
        """Expected scores (n, K) of the candidates."""
        first = first_quality(view, kinds, blend)
        fitted = _corrected(first, self.residual, view)
        columns = [fitted, *(model.quality(view, first) for model in self.added)]
        return np.hstack(columns)[:, self.kept]

    def lengths(self, view: View) -> Floats | None:
        """Expected lengths (n, K) of the candidates' responses; None where none are known."""
        fitted = view.lengths
        if fitted is None:
            if all(model.log_length is None for model in self.added):
                return None
            fitted = np.full(view.network.shape, np.nan)
        columns = [fitted, *(model.lengths(view)[:, None] for model in self.added)]
        return np.hstack(columns)[:, self.kept]

    def updated(
        self, view: View, scores: Floats, kinds: Local | None, blend: float, n_seen: int
    ) -> Later:
        """With feedback (n, K) on the candidates, NaN where not observed, after n_seen prompts."""
        n, n_fitted = view.network.shape
        everything = np.full((n, n_fitted + len(self.added)), np.nan)
        everything[:, self.kept] = scores
        residual = self.residual
        if residual is None and kinds is not None:
            residual = kinds.cleared()
        elif residual is None:
            residual = one_kind(view.space.shape[1], np.full(n_fitted, float(n_seen)))
        first = first_quality(view, kinds, blend)
        missed = everything[:, :n_fitted] - first
        return replace(
            self,
            counts=self.counts + (~np.isnan(scores)).sum(axis=0),
            added=[
                model.updated(view, first, everything[:, [n_fitted + i]])
                for i, model in enumerate(self.added)
            ],
            residual=residual.updated(view.space, missed),
        )


def new_later(scores: Floats, is_label: bool) -> Later:
    """Of a router that was fitted on scores (n, K), and nothing else yet."""
    counts = (~np.isnan(scores)).sum(axis=0).astype(np.float64)
    return Later(np.arange(scores.shape[1]), counts, [], None, is_label)


def first_quality(view: View, kinds: Local | None, blend: float) -> Floats:
    """Expected scores (n, K0) of the fitted models, before any feedback."""
    if kinds is None or blend == 1:
        return view.network
    return (1 - blend) * kinds.predict(view.space) + blend * view.network


def _corrected(quality: Floats, residual: Local | None, view: View) -> Floats:
    return quality if residual is None else quality + residual.predict(view.space)


def _affine(x: npt.NDArray[Any], weights: Floats) -> Floats:
    mapped: Floats = x.astype(np.float64) @ weights[:-1] + weights[-1]
    return mapped


def _ridge(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Floats:
    """Weights (f + 1, c) of a ridge regression whose penalty leave-one-out error chooses."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    if len(x) < 3:  # nothing can be left out
        return np.vstack([np.zeros((x.shape[1], y.shape[1])), y.mean(axis=0)])
    model = RidgeCV(_PENALTIES).fit(x, y)
    return np.vstack([np.atleast_2d(model.coef_).T, model.intercept_])


def fit_added(
    view: View,
    scores: Floats,
    fitted: Floats,
    kinds: Local | None,
    coordinates: Floats32 | None,
    texts: npt.NDArray[np.object_] | None,
    lengths: Floats | None,
) -> AddedModel:
    """Learn a new model from its scores on a few prompts.

    Parameters
    ----------
    view : View
        The prompts, as the fitted router sees them.
    scores : ndarray of shape (n,)
        The model's scores on them.
    fitted : ndarray of shape (n, K0)
        Expected scores of the fitted models, before any feedback.
    kinds : Kinds, Neighbours or None
        Of the fitted models.
    coordinates : ndarray of shape (n, c) or None
        Its responses on the principal axes of responses, NaN where not observed.
    texts : ndarray of str of shape (n,) or None
        Its responses.
    lengths : ndarray of shape (n,) or None
        Their lengths, NaN where not observed.

    Returns
    -------
    AddedModel
        For new prompts.

    Notes
    -----
    It is chosen where it is better than the others, so its quality must err as theirs do: a prompt
    that is thought too easy for them must be thought too easy for it. Hence the mean of theirs, and
    not a regression of its own, which foresees its scores better and routes worse.
    """
    width = view.space.shape[1]
    difference = scores - fitted.mean(axis=1)
    offset = float(difference.mean())
    residual = one_kind(width, np.zeros(1)) if kinds is None else kinds.like()
    residual = residual.updated(view.space, (difference - offset)[:, None])
    content = log_length = None
    if coordinates is not None:
        seen = ~np.isnan(coordinates).any(axis=1)
        content = _ridge(view.space[seen], coordinates[seen])
    if lengths is not None:
        seen = ~np.isnan(lengths)
        log_length = _ridge(view.space[seen], np.log1p(lengths[seen])[:, None])
    return AddedModel(offset, residual, content, log_length, coordinates, texts)
