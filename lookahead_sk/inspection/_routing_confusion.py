"""Which model a router chose against which would have been best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import check_choice
from lookahead_sk.inspection._axes import get_axes
from lookahead_sk.inspection._routers import unwrap
from lookahead_sk.metrics._tables import read_choice, read_scores


class RoutingConfusionDisplay:
    """Best model against chosen model: how often, or how much score the choice cost.

    Use `from_estimator` or `from_predictions` to make one. A prompt on which several models are
    best is shared between their rows; if the chosen one is among them, it counts for that one.

    Parameters
    ----------
    confusion_matrix : ndarray of shape (K, K)
        Row: best model, column: chosen model. Share of the prompts, or score lost a prompt.
    display_labels : list of K labels
        Names of the models.
    values : {"share", "regret"}, default="share"
        What the cells hold.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    im_ : matplotlib AxesImage
        The coloured cells.
    text_ : ndarray of shape (K, K)
        The numbers in the cells.

    See Also
    --------
    lookahead_sk.metrics.routing_regret : The sum of the "regret" cells.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from lookahead_sk.inspection import RoutingConfusionDisplay
    >>> display = RoutingConfusionDisplay.from_predictions(
    ...     [[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]], ["a", "b", "a"], models=["a", "b"]
    ... )
    >>> display.confusion_matrix.round(2)
    array([[0.33, 0.  ],
           [0.33, 0.33]])
    """

    def __init__(
        self, confusion_matrix: FloatArray, *, display_labels: Sequence[Any], values: str = "share"
    ) -> None:
        self.confusion_matrix = confusion_matrix
        self.display_labels = display_labels
        self.values = values

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, values: str = "share", ax: Any = None
    ) -> Self:
        """Draw for a fitted router.

        Parameters
        ----------
        estimator : router, Pipeline or search
            Fitted; the models of the router name the columns of y. A Pipeline ends with a router.
        X : sequence of str or array-like
            Prompts.
        y : array-like or DataFrame of shape (n, K)
            True scores, NaN where not observed.
        values : {"share", "regret"}, default="share"
            What the cells hold.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        RoutingConfusionDisplay
            The display, drawn.
        """
        router, X = unwrap(estimator, X)
        models = router.classes_.tolist()
        return cls.from_predictions(y, router.predict(X), models=models, values=values, ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        chosen: Any,
        *,
        models: Sequence[Any] | None = None,
        values: str = "share",
        ax: Any = None,
    ) -> Self:
        """Draw for chosen models.

        Parameters
        ----------
        y : array-like or DataFrame of shape (n, K)
            True scores, NaN where not observed; prompts whose chosen model was not observed are
            left out.
        chosen : array-like of shape (n,)
            The model chosen for each prompt, by name or column number.
        models : list of K labels, default=None
            Names of the columns; None takes those of a DataFrame, or numbers.
        values : {"share", "regret"}, default="share"
            What the cells hold.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        RoutingConfusionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If shapes do not fit, or a choice is no model.
        """
        check_choice(values, "values", ("share", "regret"))
        table, names = read_scores(y, models=models)
        choice = read_choice(chosen, len(table), names, table.shape[1])
        matrix = _confusion(table, choice, values)
        labels = list(range(table.shape[1])) if names is None else names
        return cls(matrix, display_labels=labels, values=values).plot(ax=ax)

    def plot(self, ax: Any = None, cmap: str = "Blues") -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        cmap : str, default="Blues"
            Colours.

        Returns
        -------
        RoutingConfusionDisplay
            The display itself.
        """
        ax = get_axes(ax, "RoutingConfusionDisplay.plot")
        matrix = self.confusion_matrix
        self.im_ = ax.imshow(matrix, cmap=cmap, vmin=0)
        dark = matrix > 0.6 * max(float(matrix.max()), 1e-12)
        self.text_ = np.empty(matrix.shape, dtype=object)
        for i, j in np.ndindex(*matrix.shape):
            text = f"{matrix[i, j]:.0%}" if self.values == "share" else f"{matrix[i, j]:.3f}"
            color = "white" if dark[i, j] else "black"
            self.text_[i, j] = ax.text(j, i, text, ha="center", va="center", color=color)
        ticks = np.arange(len(matrix))
        ax.set_xticks(ticks, labels=[str(x) for x in self.display_labels], rotation=30, ha="right")
        ax.set_yticks(ticks, labels=[str(x) for x in self.display_labels])
        what = "share of prompts" if self.values == "share" else "score lost a prompt"
        ax.set(xlabel="chosen model", ylabel="best model", title=what)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _confusion(table: FloatArray, choice: IntArray, values: str) -> FloatArray:
    rows = np.arange(len(table))
    kept = ~np.isnan(table[rows, choice])
    table, choice = table[kept], choice[kept]
    rows = np.arange(len(table))
    best = np.nanmax(table, axis=1, keepdims=True)
    is_best = table == best
    hit = is_best[rows, choice]
    share = is_best / is_best.sum(axis=1, keepdims=True)
    share[hit] = np.eye(table.shape[1])[choice[hit]]
    worth = (best[:, 0] - table[rows, choice]) if values == "regret" else np.ones(len(table))
    chosen = np.eye(table.shape[1])[choice]
    matrix: FloatArray = (share * worth[:, None]).T @ chosen / len(table)
    return matrix
