"""The user's search space by the parameter ``bounds``; a box maps linearly to the unit cube."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import Words, as_float_array, reject
from lookahead_sk.optimization._conditional_space import check_names, make_conditional_space
from lookahead_sk.optimization._dimensions import (
    check_size,
    make_dimension,
    make_real,
    restore_dimension,
)
from lookahead_sk.optimization._plain_space import Space as Space


def make_space(bounds: Any) -> Space:
    """Read the ``bounds`` parameter.

    Parameters
    ----------
    bounds : array-like of shape (d, 2), mapping, or list of mappings
        A box, or names mapped to (low, high), a frozen scipy.stats distribution, a range or growing
        numbers, or a list of choices; or several such mappings, the branches.

    Returns
    -------
    Space
        The search space.

    Raises
    ------
    ValueError
        For an empty space, ``low >= high``, NaN, or a distribution without a bounded support.
    TypeError
        For an entry of another kind.

    Examples
    --------
    >>> from scipy.stats import loguniform, randint
    >>> space = make_space({"C": loguniform(0.01, 100), "depth": randint(1, 5), "kind": ["a", "b"]})
    >>> space.decode(space.encode([{"C": 1.0, "depth": 4, "kind": "b"}]))
    [{'C': 1.0..., 'depth': 4, 'kind': 'b'}]
    """
    if is_list_of_mappings(bounds):
        if len(bounds) > 1:
            return make_conditional_space(bounds)
        (bounds,) = bounds
    if isinstance(bounds, Mapping):
        if not bounds:
            reject("bounds", "a mapping with at least one variable", bounds)
        check_names(bounds)
        names = tuple(str(name) for name in bounds)
        dimensions = tuple(make_dimension(str(name), spec) for name, spec in bounds.items())
        check_size(dimensions)
        return Space(dimensions, names)
    box = as_float_array(bounds, "bounds")
    if box.ndim != 2 or box.shape[1] != 2 or not len(box):
        reject("bounds", "an array of shape (d, 2) with d >= 1", Words(f"shape {box.shape}"))
    return Space(tuple(make_real(str(j), low, high) for j, (low, high) in enumerate(box)))


def is_list_of_mappings(bounds: Any) -> bool:
    """Whether the parameter ``bounds`` lists branches, or raise for one that is no mapping."""
    if not isinstance(bounds, list | tuple):
        return False
    is_branch = [isinstance(branch, Mapping) for branch in bounds]
    if any(is_branch) and not all(is_branch):
        odd = bounds[is_branch.index(False)]
        reject("bounds", "a list of mappings", odd, kind=TypeError)
    return bool(bounds) and all(is_branch)


def is_named(bounds: Any) -> bool:
    """Whether points are dicts."""
    return isinstance(bounds, Mapping) or is_list_of_mappings(bounds)


def restore_bounds(description: Any) -> Any:
    """The ``bounds`` parameter that `describe_bounds` wrote."""
    if is_list_of_mappings(description):
        return [_restore_mapping(branch) for branch in description]
    return _restore_mapping(description) if isinstance(description, Mapping) else description


def _restore_mapping(description: Mapping[str, Any]) -> dict[str, Any]:
    return {name: restore_dimension(entry) for name, entry in description.items()}


def describe_bounds(bounds: Any) -> Any:
    """The ``bounds`` parameter as JSON."""
    if bounds is None:
        return None
    if is_list_of_mappings(bounds):
        return [_describe_mapping(branch) for branch in bounds]
    if not isinstance(bounds, Mapping):
        return np.asarray(bounds, dtype=float).tolist()
    return _describe_mapping(bounds)


def _describe_mapping(bounds: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(n): make_dimension(str(n), spec).describe() for n, spec in bounds.items()}


def spanned_box(X: FloatArray) -> FloatArray:
    """The box spanned by points, widened where a column is constant."""
    low, high = X.min(axis=0), X.max(axis=0)
    flat = ~(high > low + 1e-12 * np.abs(low))
    pad = np.where(flat, 0.5 * np.maximum(1.0, np.abs(low)), 0.0)
    return np.stack([low - pad, high + pad], axis=1)
