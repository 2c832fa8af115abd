"""Predictions of a router for prompts that it was not fitted on."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import cross_val_predict

from lookahead_sk._typing import FloatArray


class _Quality(RegressorMixin, BaseEstimator):
    """A router as a regressor: scikit-learn hands it the scores as they are."""

    def __init__(self, router: Any) -> None:
        self.router = router

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = self.router.__sklearn_tags__().input_tags
        return tags

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        self.router_ = clone(self.router).fit(X, y, **fit_params)
        return self

    def predict(self, X: Any) -> FloatArray:
        quality: FloatArray = self.router_.predict_quality(X)
        return quality


def cross_val_quality(
    router: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
) -> FloatArray:
    """Predicted quality of every prompt, by a router that was fitted on the other folds.

    Use it in place of ``cross_val_predict(router, X, y, method="predict_proba")``, which turns
    every column of ``y`` into class numbers before it fits: the router would learn ranks, and NaN
    would be the best score.

    Parameters
    ----------
    router : estimator with ``predict_quality``
        It is cloned, and left as it is.
    X : sequence of str, or array-like of shape (n, p)
        The prompts.
    y : array-like or DataFrame of shape (n, K)
        Their scores, NaN where not observed.
    groups : array-like of shape (n,), default=None
        Groups for a splitter that keeps them together.
    cv : int, cross-validation generator or iterable, default=None
        The folds; None is 5.
    n_jobs : int or None, default=None
        Folds fitted at a time, by joblib.
    verbose : int, default=0
        Of joblib.
    params : dict, default=None
        Passed to ``fit``, for instance ``{"responses": responses}``; sliced with the folds.
    pre_dispatch : int or str, default="2*n_jobs"
        Of joblib.

    Returns
    -------
    ndarray of shape (n, K)
        Expected scores in the units of ``y``, in the order of the router's ``classes_``: that of
        the columns of ``y``.

    See Also
    --------
    lookahead_sk.metrics.oracle_gain_score : Measures choices made of it.

    Examples
    --------
    >>> from lookahead_sk.baselines import KNNRouter
    >>> from lookahead_sk.model_selection import cross_val_quality
    >>> X, y = [[float(i)] for i in range(10)], [[i / 10, 0.5] for i in range(10)]
    >>> cross_val_quality(KNNRouter("passthrough", n_neighbors=2), X, y, cv=5).shape
    (10, 2)
    """
    quality: FloatArray = cross_val_predict(
        _Quality(router),
        X,
        y,
        groups=groups,
        cv=cv,
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
    )
    return quality
