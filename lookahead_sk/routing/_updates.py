"""Routers that go on learning after `fit`: feedback, new models, models that are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._validation import reject
from lookahead_sk.routing._approach import Approach
from lookahead_sk.routing._cost_aware import CostAwareRouter
from lookahead_sk.routing._costs import read_costs
from lookahead_sk.routing._inputs import (
    Floats,
    check_feedback,
    check_lengths,
    check_name,
    check_new_scores,
    name_array,
)
from lookahead_sk.routing._later import Later, first_quality, fit_added

MIN_PROMPTS = 10  # of a new model: fewer say next to nothing


class UpdatableRouter(CostAwareRouter):
    """Base of routers with an `Approach`, whose fitted state can be extended."""

    approach_: str
    later_: Later
    mean_scores_: Floats
    n_prompts_: int
    kinds_: Any
    blend_: float

    def _approach(self, name: str) -> Approach:
        raise NotImplementedError

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn from more scores, of all models or only of those that were called.

        Nothing is trained again: predictions are corrected by what they have misjudged, in the mean
        over like prompts. Every score ever seen counts alike, those of `fit` included.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            Scores in the unit of those of `fit`, NaN where a model was not called. A DataFrame may
            lack models. 1-D labels name the best model.
        classes : array-like of shape (K,), default=None
            The models, as scikit-learn's loops pass them; only checked. A router that is not fitted
            yet is fitted on what is given, which must show all of them.

        Returns
        -------
        LookaheadRouter
            The router itself.

        Raises
        ------
        ValueError
            If a shape does not fit, a model is unknown, or a prompt has no score; nothing has then
            been learnt.

        Notes
        -----
        One call at a time: two threads that update one router lose one of the updates.

        Scores of only the called model do not flatter it: what is averaged is by how much it was
        misjudged, not how well it did where it was called. But a model that is never called is
        never found better than it was believed to be: call another one for a small share of the
        prompts, drawn at random or from `predict_proba`.

        Examples
        --------
        >>> from lookahead_sk import LookaheadRouter
        >>> from lookahead_sk.datasets import make_routing
        >>> import numpy as np
        >>> data = make_routing(600, random_state=0)
        >>> router = LookaheadRouter(lexical_features=32, random_state=0)
        >>> router.fit(data.prompts[:300], data.scores[:300]).n_prompts_
        300
        >>> called = router.predict(data.prompts[300:])
        >>> feedback = np.where(router.classes_ == called[:, None], data.scores[300:], np.nan)
        >>> router.partial_fit(data.prompts[300:], feedback).n_prompts_
        600
        """
        if not self.__sklearn_is_fitted__():
            if classes is not None:
                _check_classes(classes, _names_in(y), "what y shows")
            return self.fit(X, y)
        if classes is not None:
            _check_classes(classes, self.classes_.tolist(), "the models of fit")
        prompts = self._check_X(X, reset=False)
        known_labels = self.later_.knows_labels
        scores = check_feedback(y, len(prompts), self.classes_, knows_labels=known_labels)
        view = self._approach(self.approach_).view(prompts)
        later = self.later_.updated(view, scores, self.kinds_, self.blend_, self.n_prompts_)
        known = self.later_.counts * self.mean_scores_
        self.mean_scores_ = (known + np.nansum(scores, axis=0)) / later.counts
        self.n_prompts_ += len(prompts)
        self.later_ = later
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "later_")

    def add_model(
        self, name: Any, X: Any, y: Any, responses: Any = None, response_lengths: Any = None
    ) -> Self:
        """Add a candidate from its scores on some prompts; all other predictions stay the same.

        Parameters
        ----------
        name : label
            Of the new model; ``classes_`` ends with it.
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            At least 10 prompts, of the training or others; hundreds are better.
        y : array-like of shape (n,)
            The model's scores, in the unit of those of `fit`.
        responses : sequence of str, or array-like of shape (n, d), default=None
            What it answered, for `foresee`.
        response_lengths : array-like of shape (n,), default=None
            True lengths of its responses, for ``cost_unit="length"``; measured on ``responses``
            when not given.

        Returns
        -------
        LookaheadRouter
            The router itself.

        Raises
        ------
        ValueError
            If there is a model of this name, a shape does not fit, or ``costs`` do not cover it:
            set them before. Nothing has then been changed.

        Notes
        -----
        Its quality is the mean quality of the fitted models, plus its mean advantage over them in
        like prompts. Nothing is trained again, and `transform` shows the models of `fit` only.
        """
        check_is_fitted(self)
        names = self.classes_.tolist()
        if check_name(name, "name") in names:
            reject("name", f"a new name, none of {names}", name)
        prompts = self._check_X(X, reset=False)
        n = len(prompts)
        if n < MIN_PROMPTS:
            reject("X", f"at least {MIN_PROMPTS} prompts", f"{n} prompts")
        scores = check_new_scores(y, n)
        table = self._check_responses(_as_column(responses), (n, 1))
        lengths = check_lengths(_as_column(response_lengths), (n, 1))
        classes = name_array([*names, name])
        self._check_costs(classes)
        is_unpriced = responses is None and lengths is None
        if is_unpriced and self.cost_unit == "length" and self.costs is not None:
            reject("response_lengths", "given where cost_unit='length'", None)
        texts = None
        if table is not None and table.dtype == object:
            texts = table[:, 0]
            if lengths is None:
                lengths = np.array([[np.nan if t is None else float(len(t))] for t in texts])
        approach = self._approach(self.approach_)
        view = approach.view(prompts)
        coordinates = None if table is None else approach.embed_responses(table[:, 0])
        for what, given in (("responses", coordinates), ("response_lengths", lengths)):
            if given is not None and np.isnan(given).any(axis=1).all():
                reject(what, "observed for some prompts", "none")
        later = self.later_
        added = fit_added(
            view,
            scores,
            first_quality(view, self.kinds_, self.blend_),
            self.kinds_,
            coordinates,
            texts,
            None if lengths is None else lengths[:, 0],
        )
        column = view.network.shape[1] + len(later.added)
        self.later_ = replace(
            later,
            kept=np.append(later.kept, column),
            counts=np.append(later.counts, float(n)),
            added=[*later.added, added],
        )
        self.mean_scores_ = np.append(self.mean_scores_, scores.mean())
        self.classes_ = classes
        return self

    def drop_model(self, name: Any) -> Self:
        """Never choose a model again; all other predictions stay the same.

        Parameters
        ----------
        name : label
            One of ``classes_``.

        Returns
        -------
        LookaheadRouter
            The router itself.

        Raises
        ------
        ValueError
            If there is no such model, fewer than two would remain, it is the ``fallback``, or
            ``costs`` do not fit the others: set them before. Nothing has then been changed.
        """
        check_is_fitted(self)
        names = self.classes_.tolist()
        if check_name(name, "name") not in names:
            reject("name", f"one of {names}", name)
        if len(names) == 2:
            raise ValueError(f"At least two models must remain; there are only {names}.")
        if self.fallback is not None and self.fallback == name:
            reject("name", "another model than the fallback", name, hint="Set fallback before.")
        rest = np.array([other != name for other in names])
        classes = self.classes_[rest]
        self._check_costs(classes)
        later = self.later_
        self.later_ = replace(later, kept=later.kept[rest], counts=later.counts[rest])
        self.mean_scores_ = self.mean_scores_[rest]
        self.classes_ = classes
        return self

    def _check_costs(self, classes: npt.NDArray[Any]) -> None:
        try:
            read_costs(self.costs, classes)
        except ValueError as error:
            raise ValueError(f"{error} Call set_params(costs=...) before.") from error


def _as_column(values: Any) -> Any:
    """Responses or lengths of one model, (n,) or (n, d), as those of a table with one model."""
    if values is None or isinstance(values, str | bytes):
        return values
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        return values[:, None]
    return [[value] for value in values]


def _names_in(y: Any) -> list[Any]:
    """Models that a first ``y`` shows."""
    if hasattr(y, "columns"):
        return list(y.columns)
    array = np.asarray(y)
    return list(range(array.shape[1])) if array.ndim == 2 else np.unique(array).tolist()


def _check_classes(classes: Any, known: list[Any], what: str) -> None:
    if set(np.asarray(classes).tolist()) != set(known):
        reject("classes", f"{what}, {known}", classes)
