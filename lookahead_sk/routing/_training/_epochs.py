"""The one place that touches ``sklearn.callback``, which scikit-learn 1.9 calls experimental."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import sklearn.callback
from sklearn.callback import CallbackSupportMixin

__all__ = ["CallbackSupportMixin", "EpochTasks", "with_callbacks"]

Fit = TypeVar("Fit", bound=Callable[..., Any])


def with_callbacks(fit: Fit) -> Fit:
    """Let the callbacks of an estimator follow its ``fit``, whose signature stays known."""
    decorated: Fit = sklearn.callback.with_callbacks(fit)
    return decorated


class EpochTasks:
    """Tells the callbacks of an estimator of its fit, one task per epoch.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator in ``fit``.
    X, y : object
        What ``fit`` was given.
    max_epochs : int
        The most epochs that there can be.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, max_epochs: int) -> None:
        self.estimator = estimator
        self.data = {"X": X, "y": y}
        self.context = estimator._init_callback_context(max_subtasks=max_epochs)
        self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def begin_epoch(self) -> None:
        """Begin the task of an epoch."""
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end_epoch(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """End the task of an epoch; return whether a callback asks to stop.

        Parameters
        ----------
        attributes : callable
            Gives the fitted attributes that the estimator would have if it stopped now; called
            only when a callback asks for them.
        """
        return bool(
            self.task.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=attributes, **self.data
            )
        )

    def close(self, attributes: Callable[[], dict[str, Any]]) -> None:
        """End the task of the whole fit."""
        self.context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.data
        )
