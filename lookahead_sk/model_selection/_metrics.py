"""Which metrics a search must compute, which of them it maximises, and which are limited."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.metrics import check_scoring, get_scorer_names

from lookahead_sk._validation import reject
from lookahead_sk.model_selection._limits import Limit, read_interval
from lookahead_sk.model_selection._sklearn import (
    _BaseScorer,
    _check_multimetric_scoring,
    _MultimetricScorer,
)

_TIME = re.compile(r"(mean|std)_(fit|score)_time")
_SCORE = re.compile(r"(?:mean|std|split\d+)_(test|train)_(.+)")


@dataclass(frozen=True)
class Metrics:
    """What is computed, maximised and limited."""

    scorers: Any  # as BaseSearchCV passes them on; None: as ``scoring`` alone says
    objective: str  # the column is mean_test_<objective>
    limits: tuple[Limit, ...]
    is_opaque: bool  # a function computes them: names are known after its first call

    @property
    def names(self) -> list[str]:
        """Metrics whose columns are known before the first fit."""
        if self.is_opaque:
            return [self.objective]
        return ["score"] if self.scorers is None else [*self.scorers._scorers]

    @property
    def n_constraints(self) -> int:
        """Closed ends of all limits."""
        return sum(len([*limit.excesses(_NOTHING)]) for limit in self.limits)


_NOTHING: Any = 0.0


@dataclass
class _Names:
    """Metrics by name, with those that objective and constraints add."""

    scorers: dict[str, Any]
    is_opaque: bool
    n_added: int = 0

    def require(self, name: str, parameter: str, scorer: Any = None) -> None:
        """Make sure that a metric is computed."""
        if self.is_opaque or (name in self.scorers and scorer is None):
            return
        if scorer is None and name not in get_scorer_names():
            known = ", ".join(map(repr, self.scorers))
            accepted = "a metric of scoring" + (f" ({known})" if known else "")
            if parameter != "objective":
                accepted += ", a column of cv_results_ such as 'mean_fit_time'"
            hint = "sklearn.metrics.get_scorer_names() lists the scorers."
            reject(parameter, f"{accepted} or the name of a scorer", name, hint=hint)
        if name in self.scorers and self.scorers[name] is not scorer:
            reject(parameter, "a scorer with a name of its own", name, hint="Name it in scoring.")
        self.scorers[name] = name if scorer is None else scorer
        self.n_added += 1


def read_metrics(
    estimator: Any,
    scoring: Any,
    objective: Any,
    constraints: Any,
    *,
    has_train_scores: bool,
    raises: bool,
) -> Metrics:
    """Read ``scoring``, ``objective`` and ``constraints`` of a search.

    Parameters
    ----------
    estimator : estimator
        Whose ``score`` is the metric when nothing else is given.
    scoring, objective, constraints : object
        The parameters of `ConstrainedSearchCV`.
    has_train_scores : bool
        Whether there are columns of training scores.
    raises : bool
        Whether an error of a scorer is raised.

    Returns
    -------
    Metrics
        What is computed, maximised and limited.

    Raises
    ------
    ValueError
        If a metric is unknown or a limit is no interval.
    TypeError
        If an entry is of another kind.
    """
    is_multiple = isinstance(scoring, Mapping | list | tuple | set)
    is_opaque = callable(scoring) and not isinstance(scoring, _BaseScorer)
    single = "score" if scoring is None or callable(scoring) else scoring
    if is_multiple:
        named = dict(scoring) if isinstance(scoring, Mapping) else {name: name for name in scoring}
    elif objective is None or scoring is not None:
        # Scored under its own name as soon as there is a second metric.
        named = {single: check_scoring(estimator, scoring) if single == "score" else single}
    else:
        named = {}
    names = _Names(named, is_opaque)
    maximised = _read_objective(objective, names, is_multiple, single)
    limits = tuple(_read_limits(constraints, names, single, has_train_scores))
    if is_opaque or (not is_multiple and not names.n_added and objective is None):
        alone = tuple(_rename(limit, single) for limit in limits)
        return Metrics(None, maximised if is_opaque else "score", alone, is_opaque)
    scorers = _check_multimetric_scoring(estimator, names.scorers)
    return Metrics(_MultimetricScorer(scorers=scorers, raise_exc=raises), maximised, limits, False)


def _rename(limit: Limit, single: str) -> Limit:
    """A limit on the only metric: scikit-learn calls its column "score"."""
    if single == "score" or not limit.column.endswith(f"_{single}"):
        return limit
    return Limit(limit.column.removesuffix(single) + "score", limit.low, limit.high)


def _read_objective(objective: Any, names: _Names, is_multiple: bool, single: str) -> str:
    if objective is None:
        if is_multiple and len(names.scorers) != 1:
            accepted = "one of the metrics of scoring, " + ", ".join(map(repr, names.scorers))
            reject("objective", accepted, None)
        return next(iter(names.scorers)) if is_multiple else single
    if isinstance(objective, str):
        names.require(objective, "objective")
        return objective
    if callable(objective):
        return _add_scorer(objective, "objective", names)
    return reject("objective", "a metric's name, a scorer or None", objective, kind=TypeError)


def _add_scorer(scorer: Any, parameter: str, names: _Names) -> str:
    if names.is_opaque:
        hint = "The function given as scoring computes all metrics; name one of its keys."
        reject(parameter, "a name", scorer, hint=hint)
    name = getattr(getattr(scorer, "_score_func", scorer), "__name__", "")
    if not name.isidentifier():
        reject(parameter, "a scorer with a name", scorer, hint="Name it in scoring.")
    names.require(name, parameter, scorer)
    return str(name)


def _read_limits(constraints: Any, names: _Names, single: str, has_train_scores: bool) -> Any:
    if constraints is None:
        return
    if not isinstance(constraints, Mapping):
        reject("constraints", "a mapping of metric to (low, high)", constraints, kind=TypeError)
    for key, value in constraints.items():
        low, high = read_interval(value, f"constraints[{key!r}]")
        yield Limit(_column(key, names, single, has_train_scores), low, high)


def _column(key: Any, names: _Names, single: str, has_train_scores: bool) -> str:
    if callable(key):
        return f"mean_test_{_add_scorer(key, 'constraints', names)}"
    if not isinstance(key, str):
        reject("constraints", "keyed by names or scorers", key, kind=TypeError)
    if key in names.scorers:
        return f"mean_test_{key}"
    if _TIME.fullmatch(key):
        return key
    match = _SCORE.fullmatch(key)
    if match is None:
        names.require(key, "constraints")
        return f"mean_test_{key}"
    if match[1] == "train" and not has_train_scores:
        hint = "Training scores need return_train_score=True."
        reject("constraints", "on columns that are computed", key, hint=hint)
    name = single if match[2] == "score" and single in names.scorers else match[2]
    names.require(name, "constraints")
    return key.removesuffix(match[2]) + name
