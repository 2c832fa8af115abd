"""Constrained test problems with known optima.

Every problem is minimised; a point is feasible where all its constraints are ``<= 0``. ``x_best``
and ``f_best`` are the best feasible point known to us, found by multistart SLSQP (formulas) or by
differential evolution (the simulator); ``tests/optimization/test_problems.py`` checks each of them.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """One constrained problem: ``evaluate`` maps (n, d) points to (n, 1 + m) outputs."""

    name: str
    source: str
    evaluate: Callable[[Array], Array]
    bounds: Array  # (d, 2)
    n_constraints: int
    x_best: Array  # (d,)
    f_best: float
    f_worst: float  # stands for "nothing feasible yet" in a gap
    budget: int

    @property
    def n_features(self) -> int:
        """Number of variables."""
        return len(self.bounds)

    @property
    def n_initial(self) -> int:
        """Size of the initial Sobol design that every method starts from."""
        return max(5, self.n_features + 1)

    def gaps(self, y: Array) -> Array:
        """Gap of the best feasible value so far, after each row of ``y``."""
        feasible = (y[:, 1:] <= 0).all(axis=1)
        values = np.where(feasible, y[:, 0], np.inf)
        best = np.minimum.accumulate(values)
        return np.minimum(best, self.f_worst) - self.f_best


def _gardner_1(offset: float, x: Array) -> Array:
    a, b = x.T
    objective = np.cos(2 * a) * np.cos(b) + np.sin(a)
    return np.stack([objective, np.cos(a) * np.cos(b) - np.sin(a) * np.sin(b) + offset], axis=1)


def _gardner_2(x: Array) -> Array:
    a, b = x.T
    return np.stack([np.sin(a) + b, np.sin(a) * np.sin(b) + 0.95], axis=1)


def _gramacy(x: Array) -> Array:
    a, b = x.T
    wave = 1.5 - a - 2 * b - 0.5 * np.sin(2 * math.pi * (a**2 - 2 * b))
    return np.stack([a + b, wave, a**2 + b**2 - 1.5], axis=1)


def _townsend(x: Array) -> Array:
    a, b = x.T
    t = np.arctan2(a, b)
    radius = 2 * np.cos(t) - np.cos(2 * t) / 2 - np.cos(3 * t) / 4 - np.cos(4 * t) / 8
    objective = -(np.cos((a - 0.1) * b) ** 2) - a * np.sin(3 * a + b)
    return np.stack([objective, a**2 + b**2 - radius**2 - (2 * np.sin(t)) ** 2], axis=1)


_HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann_6(x: Array) -> Array:
    inner = (_HARTMANN_A * (x[:, None] - _HARTMANN_P) ** 2).sum(-1)
    objective = -np.exp(-inner) @ _HARTMANN_ALPHA
    return np.stack([objective, np.linalg.norm(x, axis=1) - 1], axis=1)


def _welded_beam(x: Array) -> Array:
    a, b, c, d = x.T
    load, length, young, shear = 6000.0, 14.0, 30e6, 12e6
    moment = load * (length + b / 2)
    radius = np.sqrt(0.25 * (b**2 + (a + c) ** 2))
    inertia = 2 * math.sqrt(2) * a * b * (b**2 / 12 + 0.25 * (a + c) ** 2)
    buckling = 4.013 * young * c * d**3 / 6 / length**2
    buckling = buckling * (1 - 0.25 * c * math.sqrt(young / shear) / length)
    t1, t2 = load / (math.sqrt(2) * a * b), moment * radius / inertia
    constraints = [
        np.sqrt(t1**2 + t1 * t2 * b / radius + t2**2) - 13600,
        6 * load * length / (d * c**2) - 30000,
        a - d,
        0.10471 * a**2 + 0.04811 * c * d * (14 + b) - 5,
        4 * load * length**3 / (young * c**3 * d) - 0.25,
        load - buckling,
    ]
    return np.stack([1.10471 * a**2 * b + 0.04811 * c * d * (14 + b), *constraints], axis=1)


def _spring(x: Array) -> Array:
    a, b, c = x.T
    with np.errstate(divide="ignore", invalid="ignore"):
        stress = (4 * b**2 - a * b) / (12566 * a**3 * (b - a)) + 1 / (5108 * a**2) - 1
    constraints = [
        1 - b**3 * c / (71785 * a**4),
        stress,
        1 - 140.45 * a / (c * b**2),
        (a + b) / 1.5 - 1,
    ]
    clamped = np.minimum(np.nan_to_num(np.stack(constraints, axis=1), nan=100.0), 100.0)
    return np.concatenate([(a**2 * b * (c + 2))[:, None], clamped], axis=1)


def _speed_reducer(x: Array) -> Array:
    a, b, c, d, e, f, g = x.T
    objective = (
        0.7854 * a * b**2 * (3.3333 * c**2 + 14.9334 * c - 43.0934)
        - 1.508 * a * (f**2 + g**2)
        + 7.4777 * (f**3 + g**3)
        + 0.7854 * (d * f**2 + e * g**2)
    )
    constraints = [
        27 / (a * b**2 * c) - 1,
        397.5 / (a * b**2 * c**2) - 1,
        1.93 * d**3 / (b * c * f**4) - 1,
        1.93 * e**3 / (b * c * g**4) - 1,
        np.sqrt((745 * d / (b * c)) ** 2 + 16.9e6) / (0.1 * f**3) - 1100,
        np.sqrt((745 * e / (b * c)) ** 2 + 157.5e6) / (0.1 * g**3) - 850,
        b * c - 40,
        5 - a / b,
        a / b - 12,
        (1.5 * f + 1.9) / d - 1,
        (1.1 * g + 1.9) / e - 1,
    ]
    return np.stack([objective, *constraints], axis=1)


def _keane(x: Array) -> Array:
    cosines = np.cos(x)
    numerator = (cosines**4).sum(1) - 2 * (cosines**2).prod(1)
    denominator = np.sqrt((np.arange(1, x.shape[1] + 1) * x**2).sum(1))
    objective = -np.abs(numerator / np.maximum(denominator, 1e-3))
    return np.stack([objective, 0.75 - x.prod(1), x.sum(1) - 7.5 * x.shape[1]], axis=1)


# EPANET's Net1: six groups of pipes that are laid together, and three rows of nodes.
_PIPE_GROUPS = (
    ("10", "110"),
    ("11", "12"),
    ("21", "22"),
    ("31",),
    ("111", "112", "113"),
    ("121", "122"),
)
_NODE_ROWS = (("10", "11", "12", "13"), ("21", "22", "23"), ("31", "32"))
_INCH, _FOOT, _PSI_PER_METRE = 0.0254, 0.3048, 1.4219702
_MINIMUM_PRESSURE_PSI = 40.0
_DEMAND_FACTOR = 1.5


@functools.lru_cache(maxsize=1)
def _network() -> tuple[object, Path]:
    import wntr

    network = wntr.network.WaterNetworkModel("Net1")
    network.options.hydraulic.demand_multiplier = _DEMAND_FACTOR
    return network, Path(tempfile.mkdtemp(prefix="pipes"))


def _pipes_one(diameters: Array) -> list[float]:
    import wntr

    network, folder = _network()
    cost = 0.0
    for inches, group in zip(diameters, _PIPE_GROUPS, strict=True):
        for name in group:
            pipe = network.get_link(name)
            pipe.diameter = inches * _INCH
            cost += 1.1 * inches**1.5 * pipe.length / _FOOT
    results = wntr.sim.EpanetSimulator(network).run_sim(file_prefix=str(folder / "run"))
    pressure = results.node["pressure"] * _PSI_PER_METRE
    lowest = [float(pressure[list(row)].to_numpy().min()) for row in _NODE_ROWS]
    return [cost / 1e6, *(_MINIMUM_PRESSURE_PSI - value for value in lowest)]


def _pipes(x: Array) -> Array:
    return np.array([_pipes_one(row) for row in x])


def _box(low: float, high: float, dim: int) -> Array:
    return np.tile([float(low), float(high)], (dim, 1))


def _make(
    name: str,
    source: str,
    evaluate: Callable[[Array], Array],
    bounds: object,
    n_constraints: int,
    x_best: object,
    f_best: float,
    f_worst: float,
    budget: int,
) -> Problem:
    box, best = np.array(bounds, dtype=float), np.array(x_best, dtype=float)
    return Problem(name, source, evaluate, box, n_constraints, best, f_best, f_worst, budget)


_PI = math.pi
PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in [
        _make(
            "gardner1",
            "Gardner et al., ICML 2014, simulation 1: cos(a + b) <= 0.5",
            functools.partial(_gardner_1, -0.5),
            _box(0, 6, 2),
            1,
            (1.5 * _PI, 0.0),
            -2.0,
            2.0,
            30,
        ),
        _make(
            "gardner1_active",
            "the variant of simulation 1 with cos(a + b) <= -0.5",
            functools.partial(_gardner_1, 0.5),
            _box(0, 6, 2),
            1,
            (4.62264, 5.84933),
            -1.88875,
            1.88875,
            30,
        ),
        _make(
            "gardner2",
            "Gardner et al., ICML 2014, simulation 2",
            _gardner_2,
            _box(0, 6, 2),
            1,
            (4.71239, 1.25324),
            0.253236,
            6.02995,
            30,
        ),
        _make(
            "gramacy",
            "Gramacy et al., Technometrics 2016",
            _gramacy,
            _box(0, 1, 2),
            2,
            (0.19512, 0.40467),
            0.599788,
            1.732051,
            30,
        ),
        _make(
            "townsend",
            "Townsend (modified)",
            _townsend,
            [(-2.25, 2.25), (-2.5, 1.75)],
            1,
            (2.00529, 1.19445),
            -2.023988,
            1.8688,
            30,
        ),
        _make(
            "spring",
            "tension/compression string, Hedar and Fukushima 2006",
            _spring,
            [(0.01, 1), (0.01, 1), (0.01, 20)],
            4,
            (0.0516891, 0.3567178, 11.288967),
            0.0126652,
            0.306081,
            40,
        ),
        _make(
            "welded_beam",
            "welded beam, Coello Coello 2002",
            _welded_beam,
            [(0.125, 10), (0.1, 10), (0.1, 10), (0.1, 10)],
            6,
            (0.20572964, 3.47048867, 9.03662391, 0.20572964),
            1.724852,
            19.01859,
            40,
        ),
        _make(
            "hartmann6",
            "Hartmann 6 in the unit ball, Letham et al. 2019",
            _hartmann_6,
            _box(0, 1, 6),
            1,
            (0.20169, 0.15001, 0.47687, 0.27533, 0.31165, 0.65730),
            -3.322368,
            -0.0001346,
            40,
        ),
        _make(
            "speed_reducer",
            "speed reducer, Lemonge and Barbosa 2010",
            _speed_reducer,
            [(2.6, 3.6), (0.7, 0.8), (17, 28), (7.3, 8.3), (7.8, 8.3), (2.9, 3.9), (5.0, 5.5)],
            11,
            (3.5, 0.7, 17, 7.3, 7.8, 3.35021, 5.28668),
            2996.3482,
            6117.342,
            40,
        ),
        _make(
            "keane10",
            "Keane's bump, d = 10",
            _keane,
            _box(0, 10, 10),
            2,
            [
                *(3.12389, 3.069155, 3.014282, 2.957588, 1.466041),
                *(0.368059, 0.363482, 0.359121, 0.354954, 0.350967),
            ],
            -0.747310,
            0.0,
            40,
        ),
        _make(
            "pipes",
            "pipe sizing of EPANET's Net1, 50 % more demand, at least 40 psi in every node",
            _pipes,
            _box(4, 24, 6),
            3,
            (14.3585, 10.1569, 4.0, 4.0, 7.42533, 6.13008),
            1.68639,
            6.8,
            40,
        ),
    ]
}
