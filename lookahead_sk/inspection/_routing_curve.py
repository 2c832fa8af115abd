"""Quality against cost: a router, single models and the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import reject
from lookahead_sk.inspection._axes import get_axes
from lookahead_sk.inspection._routers import unwrap
from lookahead_sk.metrics import CostQualityCurve, area_under_cost_quality, cost_quality_curve
from lookahead_sk.metrics._tables import read_costs, read_scores


class RoutingCurveDisplay:
    """Mean score against mean cost of routers, single models and the oracle.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    curves : dict of str to CostQualityCurve
        Curve of each router, by its name.
    model_costs, model_qualities : ndarray of shape (K,)
        Mean cost and mean score of always calling one model.
    models : list of K labels
        Names of the models.
    oracle : CostQualityCurve or None, default=None
        Curve of a router that knows the scores.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        The curves of the routers.

    See Also
    --------
    lookahead_sk.metrics.cost_quality_curve : The numbers behind a curve.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from lookahead_sk.inspection import RoutingCurveDisplay
    >>> scores = [[0.0, 1.0], [1.0, 1.0], [0.5, 1.0]]
    >>> quality = [[0.2, 0.9], [0.8, 0.9], [0.5, 0.9]]
    >>> display = RoutingCurveDisplay.from_predictions(
    ...     scores, quality, costs=[1.0, 3.0], models=["small", "large"]
    ... )
    >>> display.ax_.get_xlabel()
    'mean cost of a call'
    """

    def __init__(
        self,
        *,
        curves: dict[str, CostQualityCurve],
        model_costs: FloatArray,
        model_qualities: FloatArray,
        models: Sequence[Any],
        oracle: CostQualityCurve | None = None,
    ) -> None:
        self.curves = curves
        self.model_costs = model_costs
        self.model_qualities = model_qualities
        self.models = models
        self.oracle = oracle

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        name: str | None = None,
        plot_oracle: bool = True,
        ax: Any = None,
        **line_kw: Any,
    ) -> Self:
        """Draw the curve of a fitted router, or of several.

        Parameters
        ----------
        estimator : router, Pipeline or search, or mapping of name to such
            Fitted, with the same models; a Pipeline ends with a router.
        X : sequence of str or array-like
            Prompts.
        y : array-like or DataFrame of shape (n, K)
            Their true scores, NaN where not observed.
        costs : array-like of shape (K,) or (n, K), or mapping, default=None
            Cost of a call of every model; None takes the router's own ``costs``, which with
            ``cost_unit="length"`` are multiplied by the predicted lengths.
        name : str, default=None
            Label of a single router; None takes its class name.
        plot_oracle : bool, default=True
            Whether to draw a router that knows the scores.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **line_kw : dict
            Passed to matplotlib's ``plot`` for the routers' curves.

        Returns
        -------
        RoutingCurveDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there are no costs, a model has none, or shapes do not fit.
        NotFittedError
            If a router is not fitted.
        """
        given = estimator if isinstance(estimator, Mapping) else None
        given = given or {name or type(estimator).__name__: estimator}
        routers = {label: unwrap(each, X) for label, each in given.items()}
        first, first_X = next(iter(routers.values()))
        models = first.classes_.tolist()
        costs = _own_costs(first, first_X) if costs is None else costs
        quality = {
            label: _in_order_of(models, router, router.predict_quality(own_X))
            for label, (router, own_X) in routers.items()
        }
        display = cls._from_qualities(y, quality, costs, models, plot_oracle)
        return display.plot(ax=ax, **line_kw)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        quality: Any,
        *,
        costs: Any,
        models: Sequence[Any] | None = None,
        name: str = "router",
        plot_oracle: bool = True,
        ax: Any = None,
        **line_kw: Any,
    ) -> Self:
        """Draw the curve of predicted qualities.

        Parameters
        ----------
        y : array-like or DataFrame of shape (n, K)
            True scores, NaN where not observed.
        quality : array-like of shape (n, K), or mapping of name to such
            Predicted quality of every model on every prompt, of one router or of several.
        costs : array-like of shape (K,) or (n, K), or mapping
            Cost of a call of every model.
        models : list of K labels, default=None
            Names of the models; None takes the columns of a DataFrame, or numbers.
        name : str, default="router"
            Label of a single curve.
        plot_oracle : bool, default=True
            Whether to draw a router that knows the scores.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **line_kw : dict
            Passed to matplotlib's ``plot`` for the routers' curves.

        Returns
        -------
        RoutingCurveDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If shapes do not fit, or a cost is negative or not finite.
        """
        qualities = quality if isinstance(quality, Mapping) else {name: quality}
        display = cls._from_qualities(y, qualities, costs, models, plot_oracle)
        return display.plot(ax=ax, **line_kw)

    @classmethod
    def _from_qualities(
        cls,
        y: Any,
        qualities: Mapping[str, Any],
        costs: Any,
        models: Sequence[Any] | None,
        plot_oracle: bool,
    ) -> Self:
        table, names = read_scores(y, models=models)
        labels = list(range(table.shape[1])) if names is None else names
        prices = read_costs(costs, (len(table), len(labels)), names)
        tables = {name: read_scores(q, "quality", models=names)[0] for name, q in qualities.items()}
        curves = {name: cost_quality_curve(table, q, prices) for name, q in tables.items()}
        known = np.where(np.isnan(table), -np.inf, table)
        known = np.maximum(known, np.nanmin(table) - 1)
        return cls(
            curves=curves,
            model_costs=prices.mean(axis=0),
            model_qualities=np.nanmean(table, axis=0),
            models=labels,
            oracle=cost_quality_curve(table, known, prices) if plot_oracle else None,
        )

    def plot(self, ax: Any = None, **line_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **line_kw : dict
            Passed to matplotlib's ``plot`` for the routers' curves.

        Returns
        -------
        RoutingCurveDisplay
            The display itself.
        """
        ax = get_axes(ax, "RoutingCurveDisplay.plot")
        budgets = (float(self.model_costs.min()), float(self.model_costs.max()))
        self.lines_ = []
        for name, curve in self.curves.items():
            low = max(budgets[0], float(curve.costs.min()))
            budget = (low, max(low, budgets[1]))
            area = area_under_cost_quality(curve.costs, curve.qualities, cost_range=budget)
            label = f"{name} (mean quality over budgets {area:.3f})"
            self.lines_ += ax.plot(curve.costs, curve.qualities, **{"label": label, **line_kw})
        if self.oracle is not None:
            style = {"color": "0.5", "linestyle": "--", "label": "oracle"}
            ax.plot(self.oracle.costs, self.oracle.qualities, **style)
        ax.scatter(self.model_costs, self.model_qualities, color="0.3", zorder=3, s=20)
        for name, x, quality in zip(
            self.models, self.model_costs, self.model_qualities, strict=True
        ):
            ax.annotate(str(name), (x, quality), xytext=(4, -9), textcoords="offset points", size=8)
        ax.set(xlabel="mean cost of a call", ylabel="mean score")
        ax.legend(loc="lower right", fontsize="small")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _own_costs(router: Any, X: Any) -> Any:
    """What the calls of a router's models are expected to cost, by its own prices."""
    costs = getattr(router, "costs", None)
    if costs is None:
        reject("costs", "given here or to the router", None)
    return router.predict_cost(X) if router.cost_unit == "length" else costs


def _in_order_of(models: list[Any], router: Any, quality: FloatArray) -> FloatArray:
    """The columns of a router's quality in the order of the models."""
    names = router.classes_.tolist()
    if set(names) != set(models):
        reject("estimator", f"routers with the same models, {models}", names)
    return quality[:, [names.index(model) for model in models]]
