"""Optuna's distributions as the optimiser's search space, and values both ways."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.stats import loguniform, randint, rv_discrete

from lookahead_sk._typing import FloatArray
from lookahead_sk.integrations._optuna_branches import Branch, ConditionalDistributions
from lookahead_sk.optimization._dimensions import LARGEST_WHOLE, MOST_CHOICES

_LARGEST_TABLE = 2**16
Distributions = Mapping[str, BaseDistribution]


def to_bounds(distributions: Distributions) -> Any:
    """The search space in the language of `TwoStepConstrainedBO`.

    Steps become integers, categories their positions, and integers on a log scale a lattice, which
    leaves out some of the large ones where there are too many for a table. Branches become a list.
    """
    if isinstance(distributions, ConditionalDistributions):
        return [_bounds_of(branch) for branch in distributions.branches]
    return {name: _bound(distribution) for name, distribution in distributions.items()}


def _bounds_of(branch: Branch) -> dict[str, Any]:
    return {
        name: _coordinates(branch, name) if name in branch.values else _bound(distribution)
        for name, distribution in branch.distributions.items()
    }


def _coordinates(branch: Branch, name: str) -> list[Any]:
    """What the values of a deciding parameter are as coordinates."""
    distribution = branch.distributions[name]
    values = (distribution.to_external_repr(v) for v in branch.values[name])
    return [_coordinate(value, distribution) for value in values]


def _bound(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return [str(i) for i in range(len(distribution.choices))]  # text has no order
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"distribution must be one of Optuna's; got {distribution!r}.")
    low, high = distribution.low, distribution.high
    is_int = isinstance(distribution, IntDistribution)
    if distribution.log:
        return _log_integers(low, high) if is_int else loguniform(low, high)
    if distribution.step is None:
        return (low, high)
    return randint(0, round((high - low) / distribution.step) + 1)


@lru_cache(maxsize=32)
def _log_values(low: int, high: int) -> tuple[FloatArray, FloatArray]:
    """Integers of a log scale and the ends of their cells: all of them, or all small ones."""
    if high - low < _LARGEST_TABLE:
        values = np.arange(low, high + 1, dtype=float)
    else:
        values = np.unique(np.round(np.geomspace(low, high, _LARGEST_TABLE)))
    return values, np.concatenate([[low - 0.5], (values[:-1] + values[1:]) / 2, [high + 0.5]])


@lru_cache(maxsize=32)
def _log_integers(low: int, high: int) -> Any:
    """Integers, each as probable as its cell is wide on a log scale."""
    values, edges = _log_values(low, high)
    widths = np.diff(np.log(edges))
    return rv_discrete(values=(values, widths / widths.sum()))


def modelled(distributions: Distributions) -> dict[str, BaseDistribution]:
    """Those that can take part in the model: no constants, and neither too many values."""
    if isinstance(distributions, ConditionalDistributions):
        return distributions.keeping(modelled(dict(distributions)))
    kept, n_choices = {}, 0
    for name, distribution in distributions.items():
        if distribution.single() or has_too_many_integers(distribution):
            continue
        if isinstance(distribution, CategoricalDistribution):
            if n_choices + len(distribution.choices) > MOST_CHOICES:
                continue
            n_choices += len(distribution.choices)
        kept[name] = distribution
    return kept


def has_too_many_integers(distribution: Any) -> bool:
    """Whether floats cannot tell all values apart."""
    if not isinstance(distribution, IntDistribution):
        return False
    return max(-distribution.low, distribution.high) > LARGEST_WHOLE


def to_point(params: Mapping[str, Any], distributions: Distributions) -> dict[str, Any]:
    """A trial's parameters as a point."""
    if isinstance(distributions, ConditionalDistributions):
        branch = distributions.branch_of(params)
        distributions = {} if branch is None else branch.distributions
    return {name: _coordinate(params[name], d) for name, d in distributions.items()}


def _coordinate(value: Any, distribution: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return str(int(distribution.to_internal_repr(value)))
    if distribution.log and isinstance(distribution, IntDistribution):
        values, edges = _log_values(distribution.low, distribution.high)
        return float(values[np.searchsorted(edges[1:-1], value)])
    if distribution.log or distribution.step is None:
        return float(value)
    return round((value - distribution.low) / distribution.step)


def to_params(point: Mapping[str, Any], distributions: Distributions) -> dict[str, Any]:
    """A point as a trial's parameters."""
    if isinstance(distributions, ConditionalDistributions):
        distributions = _branch_of_point(point, distributions).distributions
    return {name: _value(point[name], d) for name, d in distributions.items()}


def _branch_of_point(point: Mapping[str, Any], distributions: ConditionalDistributions) -> Branch:
    for branch in distributions.branches:
        if set(point) == set(branch.distributions) and all(
            point[name] in _coordinates(branch, name) for name in branch.values
        ):
            return branch
    raise ValueError(f"point must be one of the search space; got {dict(point)!r}.")


def _value(coordinate: Any, distribution: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(coordinate)]
    value = coordinate
    if not distribution.log and distribution.step is not None:
        value = distribution.low + coordinate * distribution.step
    value = np.clip(value, distribution.low, distribution.high)
    return round(float(value)) if isinstance(distribution, IntDistribution) else float(value)


def is_inside(params: Mapping[str, Any], distributions: Distributions) -> bool:
    """Whether all parameters are there and legal."""
    if isinstance(distributions, ConditionalDistributions):
        return distributions.branch_of(params) is not None
    return all(
        name in params and d._contains(d.to_internal_repr(params[name]))
        for name, d in distributions.items()
    )
