"""Slices of an acquisition function with the region that the model takes to be feasible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._validation import check_int, reject
from lookahead_sk.inspection._axes import get_axes
from lookahead_sk.inspection._optimizers import optimizer_of

Floats = npt.NDArray[np.float64]


class AcquisitionDisplay:
    """Acquisition of an optimiser along one or two variables, the others held fixed.

    Use `from_estimator` to make one.

    Parameters
    ----------
    values : ndarray of shape (g,) or (g1, g2)
        Acquisition on the grid, first variable first.
    is_feasible : ndarray of the same shape
        Where every constraint's predicted mean is ``<= 0``.
    grids : list of one or two ndarray
        Values of the variables, in the user's units.
    names : list of one or two str
        Names of the variables.
    points : ndarray of shape (n, 1 or 2)
        Evaluated points, seen along the slice.
    was_feasible : ndarray of shape (n,)
        Which of them were feasible.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    lookahead_sk.TwoStepConstrainedBO.acquisition_value : The numbers that are drawn.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import numpy as np
    >>> from lookahead_sk import TwoStepConstrainedBO
    >>> from lookahead_sk.inspection import AcquisitionDisplay
    >>> X = np.random.RandomState(0).rand(8, 2)
    >>> y = np.stack([X.sum(axis=1), 0.6 - X[:, 0]], axis=1)
    >>> opt = TwoStepConstrainedBO([(0, 1), (0, 1)], 1, random_state=0).tell(X, y)
    >>> display = AcquisitionDisplay.from_estimator(opt, [0], grid_resolution=20)
    >>> display.values.shape
    (20,)
    """

    def __init__(
        self,
        values: Floats,
        is_feasible: npt.NDArray[np.bool_],
        *,
        grids: list[Floats],
        names: list[str],
        points: Floats,
        was_feasible: npt.NDArray[np.bool_],
    ) -> None:
        self.values = values
        self.is_feasible = is_feasible
        self.grids = grids
        self.names = names
        self.points = points
        self.was_feasible = was_feasible

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        features: Sequence[int | str],
        *,
        fixed: Any = None,
        grid_resolution: int = 30,
        ax: Any = None,
    ) -> Self:
        """Draw a slice of an optimiser's acquisition.

        Parameters
        ----------
        estimator : TwoStepConstrainedBO or ConstrainedSearchCV
            With data; of a search its optimiser, which minimises the negative score.
        features : sequence of one or two int or str
            Variables to vary, by position or name; not categorical ones.
        fixed : array-like of shape (d,) or dict, default=None
            Point whose other coordinates are held. What a dict leaves out, by name or by position,
            is that of the best feasible point, or of the first evaluated one while there is none.
        grid_resolution : int, default=30
            Grid points a variable; a two-step value costs some milliseconds a point.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        AcquisitionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there are no data, the space is a list of mappings, a feature does not exist, is
            categorical or given twice, or ``fixed`` is no point of the space.
        """
        estimator = optimizer_of(estimator)
        check_is_fitted(estimator)
        check_int(grid_resolution, "grid_resolution", 2)
        space = estimator.space_
        if len(space.name_sets) > 1:
            accepted = "an optimiser of a box or of one mapping, not of a list of mappings"
            reject("estimator", accepted, estimator)
        columns = [_position(space, feature) for feature in features]
        if len(columns) not in (1, 2) or len(set(columns)) != len(columns):
            reject("features", "one or two different variables", list(features))
        held = _held_point(estimator, fixed)
        names = [str(j) if space.names is None else space.names[j] for j in columns]
        names = [f"x[{n}]" if space.names is None else n for n in names]
        grids = [_grid(space.dimensions[j], grid_resolution) for j in columns]
        mesh = np.meshgrid(*grids, indexing="ij")
        keys = columns if space.names is None else names
        slices = _points(held, keys, [m.ravel() for m in mesh])
        values = estimator.acquisition_value(slices).reshape(mesh[0].shape)
        predicted = estimator.predict(slices).reshape(len(mesh[0].ravel()), -1)
        feasible = (predicted[:, 1:] <= 0).all(axis=1).reshape(mesh[0].shape)
        seen = [[float(point[key]) for key in keys] for point in estimator.X_]
        display = cls(
            values,
            feasible,
            grids=grids,
            names=names,
            points=np.array(seen),
            was_feasible=np.asarray(estimator.is_feasible_),
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None, cmap: str = "viridis") -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        cmap : str, default="viridis"
            Colours of a slice along two variables.

        Returns
        -------
        AcquisitionDisplay
            The display itself.
        """
        ax = get_axes(ax, "AcquisitionDisplay.plot")
        draw = self._plot_line if self.values.ndim == 1 else self._plot_plane
        draw(ax, cmap)
        for grid, axis in zip(self.grids, "xy", strict=False):
            if grid[0] > 0 and grid[-1] / grid[0] > 100:
                ax.set(**{f"{axis}scale": "log"})
        ax.set_xlabel(self.names[0])
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_line(self, ax: Any, cmap: str) -> None:
        x, top = self.grids[0], max(float(self.values.max()), 1e-300)
        ax.plot(x, self.values, label="acquisition")
        shade = {"color": "tab:green", "alpha": 0.15, "label": "predicted feasible"}
        ax.fill_between(x, 0, 1.05 * top, where=self.is_feasible, **shade)
        for name, rows, color in self._kinds():
            y = np.zeros(int(rows.sum()))
            ax.scatter(self.points[rows, 0], y, label=name, color=color, marker="|", zorder=3)
        ax.set(ylabel="acquisition", ylim=(-0.02 * top, 1.05 * top))
        ax.legend(fontsize="small")

    def _plot_plane(self, ax: Any, cmap: str) -> None:
        x, y = self.grids
        filled = ax.contourf(x, y, self.values.T, levels=20, cmap=cmap)
        filled.set_edgecolor("face")  # no white seams between the levels
        ax.figure.colorbar(filled, ax=ax, label="acquisition")
        if 0 < self.is_feasible.mean() < 1:
            border = self.is_feasible.T.astype(float)
            ax.contour(x, y, border, levels=[0.5], colors="white", linestyles="--")
        for name, rows, color in self._kinds():
            ax.scatter(*self.points[rows].T, label=name, color=color, edgecolor="white", s=25)
        ax.set_ylabel(self.names[1])
        ax.legend(fontsize="small", title="dashed: predicted border", title_fontsize="small")

    def _kinds(self) -> list[tuple[str, npt.NDArray[np.bool_], str]]:
        kinds = [
            ("feasible", self.was_feasible, "tab:orange"),
            ("not feasible", ~self.was_feasible, "tab:red"),
        ]
        return [kind for kind in kinds if kind[1].any()]


def _position(space: Any, feature: int | str) -> int:
    names = list(range(space.n_features)) if space.names is None else list(space.names)
    position = names.index(feature) if feature in names else feature
    if not isinstance(position, int | np.integer) or not 0 <= position < len(names):
        reject("features", f"variables out of {names}", feature)
    if space.dimensions[position].width != 1:
        reject("features", "variables that are not categorical", feature)
    return int(position)


def _grid(dimension: Any, n: int) -> Floats:
    """Up to n values from end to end, evenly spread on the scale of the search."""
    return np.unique(np.array(dimension.decode(np.linspace(0, 1, n)[:, None]), dtype=float))


def _held_point(optimizer: Any, fixed: Any) -> Any:
    """The whole point of which a slice keeps the other coordinates."""
    space = optimizer.space_
    point = optimizer.X_[0] if optimizer.best_x_ is None else optimizer.best_x_
    if fixed is None:
        return point
    if isinstance(fixed, Mapping):
        names = range(space.n_features) if space.names is None else space.names
        unknown = [name for name in fixed if name not in names]
        if unknown:
            reject("fixed", f"a point of the variables {list(names)}", unknown)
        for name, value in fixed.items():
            point[name] = value
    else:
        point = fixed
    try:
        (held,) = space.canonical([point])
    except (TypeError, ValueError) as error:
        raise type(error)(f"fixed must be a point of the search space; {error}") from None
    return held


def _points(held: Any, keys: Sequence[Any], columns: list[Floats]) -> Any:
    """The held point with other values in some coordinates."""
    if not isinstance(held, Mapping):
        points = np.tile(np.asarray(held, dtype=float), (len(columns[0]), 1))
        points[:, list(keys)] = np.stack(columns, axis=1)
        return points
    rows = zip(*columns, strict=True)
    return [{**held, **dict(zip(keys, map(float, row), strict=True))} for row in rows]
