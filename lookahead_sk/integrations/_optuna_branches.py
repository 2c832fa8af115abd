"""The structure of a conditional search space, learned from which parameters trials have had.

An objective function of Optuna says nothing of the space before it is run. Parameters that only
some trials have depend on the values of others, mostly on a category: ``clf`` decides whether there
is a ``max_depth``. A few deciding parameters are looked for whose values say which.
Trials of one set of parameters are a branch; values that no trial has had yet are branches of which
only the parameters are known that all trials share.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial

_MOST_DECIDERS, _MOST_VALUES, _MOST_BRANCHES = 3, 20, 40

Values = dict[str, tuple[float, ...]]  # internal ones, by the name of a deciding parameter


@dataclass(frozen=True)
class Branch:
    """Parameters that trials have together."""

    distributions: Mapping[str, BaseDistribution]
    values: Values  # of the deciding ones

    def takes(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial has these parameters, legal, and the deciding ones these values."""
        for name, distribution in self.distributions.items():
            if name not in params:
                return False
            internal = distribution.to_internal_repr(params[name])
            if not distribution._contains(internal):
                return False
            if name in self.values and internal not in self.values[name]:
                return False
        return True


class ConditionalDistributions(dict[str, BaseDistribution]):
    """Distributions of all parameters of several branches, by name."""

    def __init__(self, branches: Sequence[Branch]) -> None:
        super().__init__({n: d for branch in branches for n, d in branch.distributions.items()})
        self.branches = tuple(branches)

    def branch_of(self, params: Mapping[str, Any]) -> Branch | None:
        """The branch that a trial's parameters belong to, None for none."""
        return next((branch for branch in self.branches if branch.takes(params)), None)

    def keeping(self, names: Mapping[str, Any]) -> ConditionalDistributions:
        """The same branches without other parameters."""
        return ConditionalDistributions(
            [
                Branch(
                    {n: d for n, d in branch.distributions.items() if n in names},
                    {n: v for n, v in branch.values.items() if n in names},
                )
                for branch in self.branches
            ]
        )


@dataclass(frozen=True)
class _Seen:
    """What a trial has had, without constants."""

    signature: dict[str, BaseDistribution]
    internal: dict[str, float]  # of parameters that may decide

    def combination(self, deciders: Sequence[str]) -> tuple[tuple[str, float], ...]:
        """The values of those deciding parameters that it has."""
        return tuple((name, self.internal[name]) for name in deciders if name in self.internal)


def learn_branches(trials: Sequence[FrozenTrial]) -> ConditionalDistributions | None:
    """The branches of a search space, as far as trials tell.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        Trials that have run to their end.

    Returns
    -------
    ConditionalDistributions or None
        The branches; None where all trials have the same parameters, or where no few discrete ones
        say which parameters a trial has.
    """
    seen = [_read(trial) for trial in trials]
    if not seen or all(one.signature == seen[0].signature for one in seen):
        return None
    deciders = _find_deciders(seen)
    if not deciders:
        return None
    branches = [*_known_branches(seen, deciders), *_unseen_branches(seen, deciders)]
    return ConditionalDistributions(branches) if len(branches) <= _MOST_BRANCHES else None


def _read(trial: FrozenTrial) -> _Seen:
    signature = {n: d for n, d in trial.distributions.items() if not d.single()}
    internal = {
        name: distribution.to_internal_repr(trial.params[name])
        for name, distribution in signature.items()
        if all_values(distribution)
    }
    return _Seen(signature, internal)


def all_values(distribution: Any) -> tuple[float, ...]:
    """The internal values of a distribution of few; empty for another."""
    if isinstance(distribution, CategoricalDistribution):
        return tuple(float(i) for i in range(len(distribution.choices)))
    if distribution.step is None or distribution.log:
        return ()
    n = round((distribution.high - distribution.low) / distribution.step) + 1
    if n > _MOST_VALUES:
        return ()
    return tuple(float(distribution.low + i * distribution.step) for i in range(n))


def _find_deciders(seen: Sequence[_Seen]) -> list[str]:
    """A few parameters whose values say which parameters a trial has; empty if there are none.

    One after the other, that which leaves the fewest trials undecided, of equal ones the one that
    the objective function asks for first: a parameter decides what is asked for after it.
    """
    names = dict.fromkeys(name for one in seen for name in one.internal)
    candidates = [name for name in names if _may_decide(seen, name)]
    chosen: list[str] = []
    while len(chosen) < _MOST_DECIDERS:
        rest = [name for name in candidates if name not in chosen]
        if not rest:
            break
        n_left = [_n_undecided(seen, [*chosen, name]) for name in rest]
        chosen.append(rest[n_left.index(min(n_left))])
        if min(n_left) == 0:
            return chosen
    return []


def _may_decide(seen: Sequence[_Seen], name: str) -> bool:
    """Whether a parameter always has one distribution, and its values are not all different.

    Numbers that are all different tell any two trials apart, whatever decides.
    """
    first, *others = [one for one in seen if name in one.internal]
    distribution = first.signature[name]
    if any(other.signature[name] != distribution for other in others):
        return False
    n_values = len({one.internal[name] for one in (first, *others)})
    is_repeated = 2 * n_values <= 1 + len(others)
    return is_repeated or isinstance(distribution, CategoricalDistribution)


def _n_undecided(seen: Sequence[_Seen], deciders: Sequence[str]) -> int:
    """Trials that differ in their parameters from others of the same values."""
    groups = _grouped(seen, deciders).values()
    return sum(len(g) for g in groups if any(one.signature != g[0].signature for one in g))


def _grouped(seen: Sequence[_Seen], deciders: Sequence[str]) -> dict[Any, list[_Seen]]:
    groups: dict[Any, list[_Seen]] = {}
    for one in seen:
        groups.setdefault(one.combination(deciders), []).append(one)
    return groups


def _known_branches(seen: Sequence[_Seen], deciders: Sequence[str]) -> list[Branch]:
    """A branch for each combination of values, or for each set of parameters that one decides."""
    found: list[Branch] = []
    for combination, group in _grouped(seen, deciders).items():
        signature = group[0].signature
        values: Values = {name: (v,) for name, v in combination}
        same = [b for b in found if b.distributions == signature and len(deciders) == 1]
        if same and values:
            ((name, before),) = same[0].values.items()
            found.remove(same[0])
            values = {name: tuple(sorted({*before, *values[name]}))}
        found.append(Branch(signature, values))
    return found


def _unseen_branches(seen: Sequence[_Seen], deciders: Sequence[str]) -> list[Branch]:
    """Branches of values, and of combinations of values, that no trial has had."""
    found = []
    for name in deciders:
        own = [one for one in seen if name in one.internal]
        had = {one.internal[name] for one in own}
        left = tuple(v for v in all_values(own[0].signature[name]) if v not in had)
        if left:
            values = {n: v for n, v in _values_of(own, deciders).items() if n != name}
            found.append(_shared(own, {**values, name: left}))
    patterns: dict[Any, list[_Seen]] = {}
    for one in seen:
        patterns.setdefault(tuple(n for n in deciders if n in one.internal), []).append(one)
    for names, own in patterns.items():
        values = _values_of(own, names)
        had_together = {one.combination(names) for one in own}
        for choice in itertools.product(*(values[name] for name in names)):
            pairs = tuple(zip(names, choice, strict=True))
            if pairs not in had_together:
                single: Values = {name: (v,) for name, v in pairs}
                found.append(_shared(own, single))
    return found


def _values_of(seen: Sequence[_Seen], deciders: Sequence[str]) -> Values:
    """The values that deciding parameters have had, those that all of some trials have."""
    shared = [name for name in deciders if all(name in one.internal for one in seen)]
    return {name: tuple(sorted({one.internal[name] for one in seen})) for name in shared}


def _shared(seen: Sequence[_Seen], values: Values) -> Branch:
    """The branch of the parameters that some trials have in common."""
    first, *others = [one.signature for one in seen]
    common = {name: d for name, d in first.items() if all(other.get(name) == d for other in others)}
    return Branch(common, {name: v for name, v in values.items() if name in common})
