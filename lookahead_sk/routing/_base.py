"""What every router does with its quality estimates: choose, rank, calibrate, score."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from lookahead_sk._validation import reject
from lookahead_sk.routing._encoders import PASSTHROUGH, check_encoder, encode, load_encoder
from lookahead_sk.routing._inputs import (
    Floats,
    ScoreTable,
    check_numeric_responses,
    check_prompts,
    check_scores,
    check_text_responses,
    unmasked,
)


class BaseRouter(ClassifierMixin, BaseEstimator):
    """Base of every router: a classifier whose classes are models and whose y is a score table.

    A subclass has the parameters ``encoder`` and ``device``, sets ``classes_`` and
    ``temperature_`` in ``fit``, and implements ``_predict_quality(features)``.

    Notes
    -----
    With two classes ``decision_function`` is one-dimensional, as scikit-learn has it: the utility
    of ``classes_[1]`` minus that of ``classes_[0]``.
    """

    encoder: Any
    device: Any
    classes_: npt.NDArray[Any]
    temperature_: float

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        is_numeric = self._is_passthrough()
        tags.input_tags.two_d_array = is_numeric
        tags.input_tags.string = not is_numeric
        return tags

    def _is_passthrough(self) -> bool:
        return isinstance(self.encoder, str) and self.encoder == PASSTHROUGH

    def _check_X(self, X: Any, *, reset: bool) -> list[str] | npt.NDArray[np.float32]:
        """The prompts as a list of str, or the numeric X as float32 (n, p).

        With ``reset`` nothing is compared with an earlier fit, and nothing is remembered: that is
        for `_remember_X`, at the end of a fit that has gone well.
        """
        check_encoder(self.encoder)
        if not self._is_passthrough():
            return check_prompts(X)
        dtypes = [np.float64, np.float32]
        if reset:
            array = check_array(X, dtype=dtypes, estimator=self)
        else:
            array = validate_data(self, X, reset=False, dtype=dtypes)
        with np.errstate(over="ignore"):
            array = np.asarray(array, dtype=np.float32)
        if not np.isfinite(array).all():
            reject("X", "within the range of float32", "larger values")
        return array

    def _remember_X(self, X: Any) -> None:
        """Set ``n_features_in_`` and ``feature_names_in_`` for a numeric X."""
        if self._is_passthrough():
            validate_data(self, X, reset=True, skip_check_array=True)

    def _check_y(self, y: Any, n: int) -> ScoreTable:
        return check_scores(y, n)

    def _check_responses(self, responses: Any, shape: tuple[int, int]) -> npt.NDArray[Any] | None:
        if responses is None:
            return None
        if self._is_passthrough():
            return check_numeric_responses(responses, shape)
        return check_text_responses(responses, shape)

    def _embed(self, X: list[str] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embeddings (n, d) of checked prompts; a numeric X is its own embedding."""
        if isinstance(X, np.ndarray):
            return X
        model = load_encoder(self.encoder, self.device)
        show_progress = getattr(self, "verbose", 0) > 1
        max_tokens = getattr(self, "max_length", None)
        return encode(X, model, show_progress=show_progress, max_tokens=max_tokens)

    def _predict_quality(self, X: list[str] | npt.NDArray[np.float32]) -> Floats:
        """Predicted scores (n, K) of checked prompts."""
        raise NotImplementedError

    def _utilities(self, X: Any) -> Floats:
        """What is maximised: the predicted quality, less what a subclass charges for it."""
        return self.predict_quality(X)

    def predict_quality(self, X: Any) -> Floats:
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
        return self._predict_quality(self._check_X(X, reset=False))

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
        utility = self._utilities(X)
        return self.classes_[utility.argmax(axis=1)]

    def decision_function(self, X: Any) -> Floats:
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
        utility = self._utilities(X)
        return utility[:, 1] - utility[:, 0] if len(self.classes_) == 2 else utility

    def predict_proba(self, X: Any) -> Floats:
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
        """
        utility = self._utilities(X)
        return softmax(utility / self.temperature_, axis=1)

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
        chosen = self.predict(X)
        rewards = self._rewards(chosen, y)
        weight = np.ones(len(rewards)) if sample_weight is None else np.asarray(sample_weight)
        if weight.shape != rewards.shape:
            reject("sample_weight", f"of shape {rewards.shape}", f"shape {weight.shape}")
        weight = np.where(np.isnan(rewards), 0.0, weight)
        if weight.sum() <= 0:
            raise ValueError("y must hold a score of at least one chosen model; got none.")
        return float(np.average(np.nan_to_num(rewards), weights=weight))

    def _in_order(self, y: Any) -> Any:
        """A table of scores with its columns in the order of ``classes_``; an array as it is."""
        if not hasattr(y, "columns"):
            return y
        missing = [name for name in self.classes_ if name not in y.columns]
        if missing:
            reject("y", f"a table with the columns {list(self.classes_)}", list(y.columns))
        return y[list(self.classes_)]

    def _rewards(self, chosen: npt.NDArray[Any], y: Any) -> Floats:
        y = np.asarray(unmasked(self._in_order(y)))
        if y.ndim == 0:
            reject("y", "a score table (n, K) or labels (n,)", f"shape {y.shape}")
        if len(y) != len(chosen):
            raise ValueError(
                f"X and y must have the same number of prompts; got {len(chosen)} and {len(y)}."
            )
        if y.ndim == 1 or y.shape[1] == 1:
            return (y.ravel() == chosen).astype(np.float64)
        if y.shape[1] != len(self.classes_):
            reject("y", f"of shape (n, {len(self.classes_)})", f"shape {y.shape}")
        column = {name: k for k, name in enumerate(self.classes_.tolist())}
        index = np.array([column[name] for name in chosen.tolist()])
        return y[np.arange(len(y)), index].astype(np.float64)

    def fit(self, X: Any, y: Any, responses: Any = None) -> Self:
        """Learn from prompts, scores and, where the router uses them, responses."""
        raise NotImplementedError


def fit_temperature(quality: Floats, scores: Floats) -> float:
    """Temperature at which softmax(quality / T) best foresees which model is the best.

    Parameters
    ----------
    quality : ndarray of shape (n, K)
        Predicted scores of prompts that the predictor was not fitted on.
    scores : ndarray of shape (n, K)
        True scores; a prompt that is not wholly observed, or on which all models tie, is left out.

    Returns
    -------
    float
        The minimiser of the cross-entropy on [1e-3, 1e3] times the spread of ``quality``; ties
        for the best are shared equally between the models that tie.

    References
    ----------
    .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017, temperature scaling.
    """
    spread = float(np.std(quality - quality.mean(axis=1, keepdims=True))) or 1.0
    best = scores == scores.max(axis=1, keepdims=True)  # NaN rows have no best
    is_useful = best.any(axis=1) & ~best.all(axis=1)
    if not is_useful.any():
        return spread
    target = best[is_useful] / best[is_useful].sum(axis=1, keepdims=True)
    scaled = quality[is_useful] / spread

    def cross_entropy(log_temperature: float) -> float:
        return -float((target * log_softmax(scaled / np.exp(log_temperature), axis=1)).sum())

    result = minimize_scalar(cross_entropy, bounds=np.log([1e-3, 1e3]), method="bounded")
    return spread * float(np.exp(result.x))
