"""The next candidates of a search: asked of the optimiser, none of them twice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk._validation import reject
from lookahead_sk.optimization import TwoStepConstrainedBO
from lookahead_sk.optimization._first_points import make_region
from lookahead_sk.optimization._known_constraints import read_known_constraints
from lookahead_sk.optimization._space import make_space

Candidate = dict[str, Any]
_MOST_CELLS = 4096
_N_DRAWS = 256


def read_distributions(distributions: Any) -> Any:
    """``param_distributions`` as the optimiser's bounds, or raise."""
    name = "param_distributions"
    accepted = "a mapping of parameter to distribution or list, or a list of such mappings"
    bounds: Any
    if isinstance(distributions, Mapping):
        bounds = _read_mapping(distributions, name)
    elif not isinstance(distributions, list | tuple):
        reject(name, accepted, distributions, kind=TypeError)
    elif not distributions:
        reject(name, accepted, distributions)
    else:
        for i, branch in enumerate(distributions):
            if not isinstance(branch, Mapping):
                reject(f"{name}[{i}]", "a mapping", branch, kind=TypeError)
        bounds = [_read_mapping(b, f"{name}[{i}]") for i, b in enumerate(distributions)]
    try:
        make_space(bounds)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("bounds", name, 1)) from None
    return bounds


def _read_mapping(distributions: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """One mapping as the optimiser's bounds, or raise."""
    for key, spec in distributions.items():
        if isinstance(spec, tuple):
            hint = "An interval is scipy.stats.uniform(low, high - low), choices are a list."
            accepted = "a frozen scipy.stats distribution or a list"
            reject(f"{name}[{key!r}]", accepted, spec, kind=TypeError, hint=hint)
    return {str(key): spec for key, spec in distributions.items()}


class Proposals:
    """Distinct candidates for a search whose batches are evaluated before the next is asked for.

    Parameters
    ----------
    optimizer : TwoStepConstrainedBO
        With named bounds.
    seed : int
        Of the draws that replace a candidate asked for a second time.
    """

    def __init__(self, optimizer: TwoStepConstrainedBO, seed: int) -> None:
        self.optimizer = optimizer
        self.space = make_space(optimizer.bounds)
        self.rng = np.random.default_rng(seed)
        known = read_known_constraints(optimizer.known_constraints, self.space)
        nowhere = np.empty((0, self.space.n_unit))
        self.region = make_region(self.space, known, None, nowhere, seed)
        self.seen: set[bytes] = set()
        self._n_small = 0

    def propose(self, n: int, remaining: int) -> list[Candidate]:
        """Up to n new candidates; fewer when the space has no more.

        Parameters
        ----------
        n : int
            How many.
        remaining : int
            Evaluations left, these included.

        Returns
        -------
        list of dict
            The candidates.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Every point of the search space", UserWarning)
            asked = self.optimizer.ask(n, remaining=remaining)
        self.optimizer.forget_pending()  # outcomes are told before the next ask, or never
        fresh = self._fresh(asked)
        if len(fresh) < n:
            fresh += self._unseen(n - len(fresh))
        return fresh

    def n_small_gains(self, tol: float) -> int:
        """Batches in a row, the next one included, that are expected to gain less than ``tol``."""
        self._n_small = self._n_small + 1 if self.optimizer.expected_gain_ < tol else 0
        return self._n_small

    def record(self, candidates: Sequence[Candidate], outputs: FloatArray) -> None:
        """Tell outcomes to the optimiser.

        Parameters
        ----------
        candidates : sequence of dict
            Evaluated candidates; those outside the space are left out.
        outputs : ndarray of shape (n, 1 + m)
            Objective to minimise, then constraints; NaN for a failed candidate.
        """
        inside = [i for i, candidate in enumerate(candidates) if self._is_inside(candidate)]
        if inside:
            points = [dict(candidates[i]) for i in inside]
            self.optimizer.tell(points, outputs[inside])
            self._fresh(points)

    def _is_inside(self, candidate: Candidate) -> bool:
        try:
            self.space.encode([candidate])
        except (TypeError, ValueError):
            return False
        return True

    def _fresh(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those not seen before; from now on they are."""
        fresh = []
        keys = [row.round(9).tobytes() for row in self.space.encode(candidates)]
        for key, candidate in zip(keys, candidates, strict=True):
            if key not in self.seen:
                self.seen.add(key)
                fresh.append(candidate)
        return fresh

    def _unseen(self, n: int) -> list[Candidate]:
        """The n best new candidates by the acquisition, of all or of many random ones."""
        unit = self._cells()
        if unit is None:
            drawn = self.space.snap(self.rng.random((_N_DRAWS, self.space.n_unit)))
            unit = self.region.filled(drawn, _N_DRAWS, int(self.rng.integers(2**31)))
        candidates = self.space.decode(unit)
        rows = self.space.encode(candidates).round(9)
        keys = {row.tobytes(): i for i, row in enumerate(rows) if row.tobytes() not in self.seen}
        new = [candidates[i] for i in keys.values()]
        if len(new) > n:
            order = np.argsort(-self._value(new), kind="stable")
            new = [new[i] for i in order[:n]]
        return self._fresh(new)

    def _value(self, candidates: list[Candidate]) -> FloatArray:
        if not self.optimizer.__sklearn_is_fitted__():
            return self.rng.random(len(candidates))
        return self.optimizer.acquisition_value(candidates)

    def _cells(self) -> FloatArray | None:
        """Every point of a small discrete space, in random order; None for another space."""
        if self.space.n_values > _MOST_CELLS:
            return None
        cells = self.region.all_points()
        return None if cells is None else self.rng.permutation(cells)
