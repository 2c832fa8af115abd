"""The optimiser that a display of an optimiser draws."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from lookahead_sk._validation import reject


def optimizer_of(estimator: Any) -> Any:
    """The optimiser itself, that of a search if this is one, or raise.

    Raises
    ------
    NotFittedError
        If it is a search that was not fitted.
    TypeError
        If it is neither an optimiser nor a search.
    """
    if not hasattr(estimator, "ask") and not hasattr(estimator, "param_distributions"):
        accepted = "a TwoStepConstrainedBO or a ConstrainedSearchCV"
        reject("estimator", accepted, estimator, kind=TypeError)
    if hasattr(estimator, "ask"):
        return estimator
    check_is_fitted(estimator)
    return estimator.optimizer_
