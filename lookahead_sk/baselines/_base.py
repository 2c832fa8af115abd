"""What all baselines share: features of the prompt alone, fitted in one place."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from sklearn.utils import check_random_state

from lookahead_sk._typing import Float32Array, FloatArray, IntArray, Prompts
from lookahead_sk._validation import check_int
from lookahead_sk.routing import BaseRouter
from lookahead_sk.routing._checks import (
    check_cell_weight,
    check_scores,
    check_X,
    remember_X,
)
from lookahead_sk.routing._features._lexical import LexicalFeatures, fit_lexical
from lookahead_sk.routing._features._sentence_encoder import embed_prompts
from lookahead_sk.routing._local_average._selection import fit_temperature


class QualityModel(Protocol):
    """Anything that estimates scores (n, K) from features (n, d)."""

    def predict(self, Z: Any) -> FloatArray: ...


class Fitted(NamedTuple):
    """A fitted model, and held-out predictions of it or of models fitted in the same way."""

    model: QualityModel
    rows: IntArray
    held_out: FloatArray  # (len(rows), K)


class QueryOnlyRouter(BaseRouter):
    """Base of the baselines: from features of the prompt straight to scores, no responses.

    A subclass implements ``_fit_model(Z, Y, rng, weight)``. The features of texts are their
    sentence embedding and, beside it, ``lexical_features`` lexical ones; a numeric X is taken as it
    is.
    """

    encoder: Any
    lexical_features: int
    device: Any
    random_state: Any
    lexical_: LexicalFeatures | None
    model_: QualityModel
    _poor_score: ClassVar[bool] = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = self._poor_score
        return tags

    @abstractmethod
    def _fit_model(
        self, Z: Any, Y: FloatArray, rng: np.random.RandomState, weight: FloatArray | None
    ) -> Fitted:
        """Learn scores Y (n, K) from features Z (n, d), by weights of the cells (n, K)."""

    def _features(self, X: Prompts, lexical: LexicalFeatures | None) -> Float32Array:
        Z = embed_prompts(X, self.encoder, self.device)
        if lexical is None or isinstance(X, np.ndarray):
            return Z
        return np.hstack([Z, lexical.transform(X)])

    def fit(self, X: Any, y: Any, responses: Any = None, cell_weight: Any = None) -> Self:
        """Learn from prompts and scores.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            Scores of the models, NaN where not observed, or 1-D labels.
        responses : object, default=None
            Not used: accepted so that a baseline can stand in for a lookahead router.
        cell_weight : array-like of shape (n, K), default=None
            How much every score counts, as in ``LookaheadRouter.fit``; None counts all alike.
            `MLPRouter` does not take it.

        Returns
        -------
        self
            The fitted router.
        """
        given, X = X, check_X(self, X, reset=True)
        table = check_scores(y, len(X))
        weight = check_cell_weight(cell_weight, y, table.scores)
        n_lexical = check_int(self.lexical_features, "lexical_features", low=0, closed="left")
        rng = check_random_state(self.random_state)
        lexical = None
        if not isinstance(X, np.ndarray):
            lexical = fit_lexical(X, n_lexical, int(rng.randint(2**31)))
        fitted = self._fit_model(self._features(X, lexical), table.scores, rng, weight)
        self.lexical_, self.model_ = lexical, fitted.model
        self.classes_ = table.classes
        self.temperature_ = fit_temperature(fitted.held_out, table.scores[fitted.rows])
        remember_X(self, given)
        return self

    def _predict_quality(self, X: Prompts) -> FloatArray:
        return self.model_.predict(self._features(X, self.lexical_))
