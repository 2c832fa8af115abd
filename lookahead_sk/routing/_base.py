"""What every router does with its quality estimates: choose, rank, calibrate, score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._typing import FloatArray, Prompts
from lookahead_sk._validation import Words, reject
from lookahead_sk.metrics._tables import in_order, read_scores, read_weights, refuse_records
from lookahead_sk.routing._checks import check_X, unmasked
from lookahead_sk.routing._features._sentence_encoder import is_passthrough


class BaseRouter(ClassifierMixin, BaseEstimator, ABC):
    """Base of every router: a classifier whose classes are models and whose y is a score table.

    A subclass implements ``fit``, which sets ``classes_`` and ``temperature_``, and
    ``_predict_quality(prompts)``. If it has a parameter ``encoder``, the value "passthrough" means
    that X is numeric.

    Notes
    -----
    With two classes ``decision_function`` is one-dimensional, as scikit-learn has it: the utility
    of ``classes_[1]`` minus that of ``classes_[0]``.
    """

    encoder: Any = None  # a router without this parameter reads text
    classes_: npt.NDArray[Any]
    temperature_: float

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        is_numeric = is_passthrough(self.encoder)
        tags.input_tags.two_d_array = is_numeric
        tags.input_tags.string = not is_numeric
        return tags

    @abstractmethod
    def fit(self, X: Any, y: Any, responses: Any = None) -> Self:
        """Learn from prompts, scores and, where the router uses them, responses."""

    @abstractmethod
    def _predict_quality(self, prompts: Prompts) -> FloatArray:
        """Predicted scores (n, K) of checked prompts."""

    def _choose(self, X: Any) -> tuple[npt.NDArray[Any], list[Any]]:
        """The chosen models (n,), and the names of all models at that moment."""
        utility, _ = self._utilities(X)
        return self.classes_[utility.argmax(axis=1)], self.classes_.tolist()

    def _utilities(self, X: Any) -> tuple[FloatArray, float]:
        """What is maximised, (n, K), and the temperature that goes with it."""
        return self.predict_quality(X), self.temperature_

    def predict_quality(self, X: Any) -> FloatArray:
        """Predict the score of every model on every prompt.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K)
            Expected scores in the units of ``y``, columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self._predict_quality(check_X(self, X, reset=False))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Choose a model for every prompt.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n,)
            The element of ``classes_`` with the largest utility; the first one on a tie.
        """
        return self._choose(X)[0]

    def decision_function(self, X: Any) -> FloatArray:
        """Utility of every model on every prompt: predicted quality less its weighted cost.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K), or (n,) when K = 2
            Utilities in the units of ``y``; for two models, that of ``classes_[1]`` minus that
            of ``classes_[0]``.
        """
        utility, _ = self._utilities(X)
        return utility[:, 1] - utility[:, 0] if utility.shape[1] == 2 else utility

    def predict_proba(self, X: Any) -> FloatArray:
        """Chance of every model to be the best choice for the prompt.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K)
            ``softmax(utility / temperature_)``; rows sum to 1. The temperature is fitted on
            held-out training prompts, ties shared between the models that tie.

        Notes
        -----
        Do not call it through ``cross_val_predict``, which turns every column of ``y`` into class
        numbers: `lookahead_sk.model_selection.cross_val_quality` predicts out of fold.
        """
        utility, temperature = self._utilities(X)
        return softmax(utility / temperature, axis=1)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean score of the models that the prompts are routed to.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            True scores; a DataFrame is brought to the order of ``classes_`` by its columns. For
            1-D labels the score is the accuracy.
        sample_weight : array-like of shape (n,), default=None
            Weight of each prompt.

        Returns
        -------
        float
            Weighted mean over the prompts whose chosen model was observed.
        """
        return self._mean_score(*self._choose(X), y, sample_weight)

    @staticmethod
    def _mean_score(
        chosen: npt.NDArray[Any], names: list[Any], y: Any, sample_weight: Any
    ) -> float:
        """Weighted mean score of the chosen models (n,)."""
        rewards = _rewards(chosen, names, y)
        weight = np.where(np.isnan(rewards), 0.0, read_weights(sample_weight, len(rewards)))
        if weight.sum() <= 0:
            raise ValueError("y must hold a score of at least one chosen model; got none.")
        return float(np.average(np.nan_to_num(rewards), weights=weight))


def _rewards(chosen: npt.NDArray[Any], names: list[Any], y: Any) -> FloatArray:
    """Score (n,) of the chosen models, NaN where not observed; a label that is met scores 1."""
    refuse_records(y, "y")
    given = in_order(y, names)
    shape = np.shape(given)
    if not shape:
        reject("y", "a score table (n, K) or labels (n,)", y)
    if shape[0] != len(chosen):
        raise ValueError(
            f"X and y must have the same number of prompts; got {len(chosen)} and {shape[0]}."
        )
    if len(shape) == 1 or shape[1] == 1:
        labels = np.asarray(given).ravel()
        if labels.dtype.kind == "f" and chosen.dtype.kind != "f":
            reject(
                "y",
                f"scores of shape ({len(chosen)}, {len(names)}), or labels",
                Words(f"shape {shape}"),
            )
        return (labels == chosen).astype(np.float64)
    scores, _ = read_scores(unmasked(given), "y")
    if scores.shape[1] != len(names):
        reject("y", f"of shape (n, {len(names)})", Words(f"shape {shape}"))
    column = {name: k for k, name in enumerate(names)}
    return scores[np.arange(len(scores)), [column[name] for name in chosen.tolist()]]
