"""What a router learns after `fit`: feedback, models that are added, models that are dropped.

Nothing is trained again: what was fitted stays as it is, and is corrected by what it has misjudged
in similar prompts. A model that is only called where it is thought good is seen on a biased choice
of prompts; a mean of its scores would be too high elsewhere, a mean of its misjudgements is not.

Every function returns a new `Predictor` and leaves the old one as it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

from lookahead_sk._typing import Float32Array, FloatArray, ObjectArray
from lookahead_sk.routing._checks import name_array
from lookahead_sk.routing._local_average._clusters import single_cluster
from lookahead_sk.routing._local_average._mixture import Mixture
from lookahead_sk.routing._predictor import AddedModel, NetworkOutput, Predictor

_PENALTIES = np.logspace(-3, 5, 17)


def with_feedback(predictor: Predictor, output: NetworkOutput, scores: FloatArray) -> Predictor:
    """A predictor that has seen more scores of its models.

    Parameters
    ----------
    predictor : Predictor
        Before.
    output : NetworkOutput
        What its network says of the prompts.
    scores : ndarray of shape (n, K)
        NaN where not observed.
    """
    updates, average = predictor.updates, predictor.local_average
    n, n_fitted = output.quality.shape
    everything = np.full((n, n_fitted + len(updates.added)), np.nan)
    everything[:, updates.kept] = scores
    residual = updates.residual
    if residual is None and average is not None:
        residual = average.zeroed()
    elif residual is None:
        seen = np.full(n_fitted, float(predictor.n_prompts))
        residual = Mixture([single_cluster(output.space.shape[1], seen)])
    fitted = predictor.fitted_quality(output)
    added = [
        replace(
            model,
            residual=model.residual.updated(
                output.space, everything[:, [n_fitted + i]] - model.base_quality(fitted)
            ),
        )
        for i, model in enumerate(updates.added)
    ]
    counts = updates.counts + (~np.isnan(scores)).sum(axis=0)
    known = updates.counts * predictor.mean_scores
    return replace(
        predictor,
        mean_scores=(known + np.nansum(scores, axis=0)) / counts,
        n_prompts=predictor.n_prompts + n,
        updates=replace(
            updates,
            counts=counts,
            added=added,
            residual=residual.updated(output.space, everything[:, :n_fitted] - fitted),
        ),
    )


def with_added_model(
    predictor: Predictor, output: NetworkOutput, name: Any, model: AddedModel, scores: FloatArray
) -> Predictor:
    """A predictor with one more candidate, whose scores (m,) on the prompts were observed."""
    updates = predictor.updates
    column = output.quality.shape[1] + len(updates.added)
    return replace(
        predictor,
        classes=name_array([*predictor.classes.tolist(), name]),
        mean_scores=np.append(predictor.mean_scores, scores.mean()),
        updates=replace(
            updates,
            kept=np.append(updates.kept, column),
            counts=np.append(updates.counts, float(len(scores))),
            added=[*updates.added, model],
        ),
    )


def without_model(predictor: Predictor, name: Any) -> Predictor:
    """A predictor that no longer chooses one of its models."""
    rest = np.array([other != name for other in predictor.classes.tolist()])
    updates = predictor.updates
    return replace(
        predictor,
        classes=predictor.classes[rest],
        mean_scores=predictor.mean_scores[rest],
        updates=replace(updates, kept=updates.kept[rest], counts=updates.counts[rest]),
    )


def fit_added_model(
    predictor: Predictor,
    output: NetworkOutput,
    scores: FloatArray,
    coordinates: Float32Array | None,
    texts: ObjectArray | None,
    lengths: FloatArray | None,
) -> AddedModel:
    """Learn a new model from its scores on a few prompts.

    Parameters
    ----------
    predictor : Predictor
        Of the other models.
    output : NetworkOutput
        What its network says of the prompts.
    scores : ndarray of shape (n,)
        The model's scores on them.
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
    not a regression of its own, which predicts its scores better and routes worse.
    """
    space, average = output.space, predictor.local_average
    difference = scores - predictor.fitted_quality(output).mean(axis=1)
    offset = float(difference.mean())
    nothing = Mixture([single_cluster(space.shape[1], np.zeros(1))])
    residual = nothing if average is None else average.emptied()
    residual = residual.updated(space, (difference - offset)[:, None])
    content = log_length = None
    if coordinates is not None:
        seen = ~np.isnan(coordinates).any(axis=1)
        content = _ridge(space[seen], coordinates[seen])
    if lengths is not None:
        seen = ~np.isnan(lengths)
        log_length = _ridge(space[seen], np.log1p(lengths[seen])[:, None])
    return AddedModel(offset, residual, content, log_length, coordinates, texts)


def _ridge(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> FloatArray:
    """Weights (f + 1, c) of a ridge regression whose penalty leave-one-out error chooses."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    if len(x) < 3:  # nothing can be left out
        return np.vstack([np.zeros((x.shape[1], y.shape[1])), y.mean(axis=0)])
    model = RidgeCV(_PENALTIES).fit(x, y)
    return np.vstack([np.atleast_2d(model.coef_).T, model.intercept_])
