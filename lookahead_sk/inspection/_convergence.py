"""Best feasible value against evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lookahead_sk._validation import Words, as_float_array, reject
from lookahead_sk.inspection._axes import get_axes
from lookahead_sk.inspection._optimizers import optimizer_of

Floats = npt.NDArray[np.float64]


class ConvergenceDisplay:
    """Best feasible objective against the number of evaluations, of one or of several searches.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    best : dict of str to ndarray of shape (r, n)
        Best feasible objective so far of r runs, by the name of the method; NaN before the first
        feasible point.
    optimum : float or None, default=None
        Known best value: the gap to it is drawn on a logarithmic scale.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        One a method: the median of its runs; quartiles are shaded.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from lookahead_sk.inspection import ConvergenceDisplay
    >>> outputs = [[3.0, -1.0], [1.0, 2.0], [2.0, -0.5]]  # objective, constraint
    >>> display = ConvergenceDisplay.from_predictions(outputs)
    >>> display.best["search"]
    array([[3., 3., 2.]])
    """

    def __init__(self, best: dict[str, Floats], *, optimum: float | None = None) -> None:
        self.best = best
        self.optimum = optimum

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, optimum: float | None = None, ax: Any = None, **line_kw: Any
    ) -> Self:
        """Draw the search that an optimiser has done.

        Parameters
        ----------
        estimator : TwoStepConstrainedBO, or mapping of name to one or to a list of them
            Optimisers with data; a list is several runs of one method. A fitted
            `ConstrainedSearchCV` stands for its optimiser, which minimises the negative score.
        optimum : float, default=None
            Known best value: the gap to it is drawn on a logarithmic scale.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **line_kw : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        ConvergenceDisplay
            The display, drawn.
        """
        if not isinstance(estimator, Mapping):
            estimator = {type(estimator).__name__: estimator}
        outputs = {
            name: [optimizer_of(run).y_ for run in (runs if isinstance(runs, list) else [runs])]
            for name, runs in estimator.items()
        }
        return cls.from_predictions(outputs, optimum=optimum, ax=ax, **line_kw)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        *,
        optimum: float | None = None,
        name: str = "search",
        ax: Any = None,
        **line_kw: Any,
    ) -> Self:
        """Draw from outputs in the order of their evaluation.

        Parameters
        ----------
        y : array-like of shape (n, 1 + m), or mapping of name to such or to a list of such
            Objective first, then constraints, feasible where ``<= 0``; rows with NaN failed.
        optimum : float, default=None
            Known best value: the gap to it is drawn on a logarithmic scale.
        name : str, default="search"
            Label of a single search.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **line_kw : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        ConvergenceDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If outputs are not of shape (n, 1 + m), or runs of one method differ in length.
        """
        methods = y if isinstance(y, Mapping) else {name: [y]}
        best = {}
        for label, runs in methods.items():
            curves = [best_so_far(run) for run in (runs if isinstance(runs, list) else [runs])]
            if len({len(curve) for curve in curves}) != 1:
                reject("y", "runs of one length", [len(curve) for curve in curves])
            best[label] = np.stack(curves)
        return cls(best, optimum=optimum).plot(ax=ax, **line_kw)

    def plot(self, ax: Any = None, **line_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **line_kw : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        ConvergenceDisplay
            The display itself.
        """
        ax = get_axes(ax, "ConvergenceDisplay.plot")
        self.lines_ = []
        for name, runs in self.best.items():
            worst = np.where(np.isnan(runs), np.inf, runs - (self.optimum or 0.0))
            low, middle, high = np.sort(worst, axis=0)[_ranks(len(runs))]
            n = np.arange(1, runs.shape[1] + 1)
            shown = np.isfinite(middle)
            options = {"label": name, "drawstyle": "steps-post", **line_kw}
            line = ax.plot(n[shown], middle[shown], **options)
            if len(runs) > 1:
                shade = {"step": "post", "alpha": 0.2, "color": line[0].get_color()}
                top = np.where(np.isfinite(high), high, np.nanmax(middle[shown], initial=0.0))
                ax.fill_between(n[shown], low[shown], top[shown], **shade)
            self.lines_ += line
        if self.optimum is not None:
            ax.set_yscale("log")
        gap = "gap to the optimum" if self.optimum is not None else "best feasible objective"
        ax.set(xlabel="evaluations", ylabel=gap)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _ranks(n: int) -> list[int]:
    """Ranks of lower quartile, median and upper quartile among n runs."""
    return [round(share * (n - 1)) for share in (0.25, 0.5, 0.75)]


def best_so_far(y: Any) -> Floats:
    """Best feasible objective after each row of outputs, NaN before the first one.

    Parameters
    ----------
    y : array-like of shape (n, 1 + m) or (n,)
        Outputs in the order of their evaluation.

    Returns
    -------
    ndarray of shape (n,)
        Never growing.
    """
    outputs = as_float_array(y, "y")
    outputs = outputs[:, None] if outputs.ndim == 1 else outputs
    if outputs.ndim != 2 or not outputs.size:
        reject("y", "outputs of shape (n, 1 + m), n > 0", Words(f"shape {outputs.shape}"))
    feasible = (outputs[:, 1:] <= 0).all(axis=1) & ~np.isnan(outputs).any(axis=1)
    best = np.minimum.accumulate(np.where(feasible, outputs[:, 0], np.inf))
    return np.where(np.isfinite(best), best, np.nan)
