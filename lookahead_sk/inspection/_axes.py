"""The one place that touches matplotlib before a display draws."""

from __future__ import annotations

from typing import Any


def get_axes(ax: Any, caller: str, figsize: tuple[float, float] | None = None) -> Any:
    """The axes given, or those of a new figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        hint = 'pip install "lookahead-sk[plot]"'
        raise ImportError(f"{caller} requires matplotlib: {hint}.") from error
    if ax is not None:
        return ax
    _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax
