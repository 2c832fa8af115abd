r"""Ordered choices: numbers of a sequence, and the scale that they lie on.

======  =====  ==================================================
symbol  shape  meaning
======  =====  ==================================================
v       (k,)   growing numbers
t       (k,)   v, or their logarithms where these are more even
w       (k,)   widths of their cells on the scale t
======  =====  ==================================================
"""

from __future__ import annotations

import itertools
import math
import numbers
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray

_FEWEST = 3  # numbers of a list that have an order: of two, one is the other's only neighbour


def as_ordered(spec: Any) -> list[Any] | None:
    """The growing numbers that an entry of a search space lists; None where it lists choices.

    Parameters
    ----------
    spec : range, ndarray of shape (k,), or list
        The entry. A range may fall; a list of fewer than three numbers is one of choices.

    Returns
    -------
    list of int or float, or None
        The numbers.
    """
    if isinstance(spec, range):
        return sorted(spec) if len(spec) > 1 else None
    if isinstance(spec, np.ndarray):
        values = spec.tolist() if spec.ndim == 1 and len(spec) > 1 else []
    else:
        values = spec if isinstance(spec, list) and len(spec) >= _FEWEST else []
    if not values or not all(_is_number(value) for value in values):
        return None
    is_growing = all(a < b for a, b in itertools.pairwise(values))
    return list(values) if is_growing else None


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    return is_real and math.isfinite(value)


def cell_widths(values: FloatArray) -> FloatArray:
    """Widths w of the cells of growing numbers (k,), which end half way to their neighbours.

    On a log scale where the ratios of neighbours vary less than their differences, relative to
    their mean: 1, 2, 5, 10, 20 are on a log scale, 10, 20, 30 are not.
    """
    if values[0] > 0 and _variation(np.log(values)) < _variation(values):
        values = np.log(values)
    gaps = np.diff(values)
    return np.asarray(np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2


def _variation(values: FloatArray) -> float:
    """Standard deviation of the gaps in parts of their mean, and a bit for rounding."""
    gaps = np.diff(values)
    return round(float(gaps.std() / gaps.mean()), 9)
