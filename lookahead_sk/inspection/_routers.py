"""The router that a user hands to a display, alone or inside a Pipeline or a search."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._validation import reject


def unwrap(estimator: Any, X: Any) -> tuple[Any, Any]:
    """The fitted router, and the prompts as it reads them.

    Parameters
    ----------
    estimator : router, Pipeline or search
        A Pipeline ends with a router; of a search the refitted best estimator is taken.
    X : sequence of str or array-like
        What ``estimator`` reads.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If there is no router in it.
    """
    check_is_fitted(estimator)
    if hasattr(estimator, "best_estimator_"):
        return unwrap(estimator.best_estimator_, X)
    if isinstance(estimator, Pipeline):
        before = estimator[:-1]
        return unwrap(estimator[-1], before.transform(X) if len(before) else X)
    if not hasattr(estimator, "predict_quality"):
        accepted = "a router, or a Pipeline or a refitted search that ends with one"
        reject("estimator", accepted, estimator, kind=TypeError)
    return estimator, X
