"""Problems that nobody here chose: COCO's bbob-constrained, and engineering designs of bocode.

A name says what a problem is: ``f025_d02_i01`` is function 25 of bbob-constrained in two
dimensions, instance 1; ``bocode_Name`` is one of bocode's; any other is in ``_problems.PROBLEMS``.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _problems import PROBLEMS, Array, Problem

OBJECTIVES = (
    *("sphere", "ellipsoid", "linear slope", "rotated ellipsoid", "discus", "bent cigar"),
    *("different powers", "Rastrigin", "rotated Rastrigin"),
)
# The six numbers of constraints of bbob-constrained in d dimensions, smallest first.
N_CONSTRAINT_KINDS = 6
BUDGETS = {2: 30, 3: 45, 5: 75, 10: 150}
_COCO_NAME = re.compile(r"f(\d{3})_d(\d{2})_i(\d{2})")


def coco_names(
    dimension: int, instances: tuple[int, ...], constraint_kinds: tuple[int, ...] = (0, 1, 2)
) -> list[str]:
    """Names of all nine objectives with 1, 3 and 9 constraints, instance by instance."""
    functions = [
        N_CONSTRAINT_KINDS * objective + kind + 1
        for kind in constraint_kinds
        for objective in range(len(OBJECTIVES))
    ]
    return [f"f{f:03d}_d{dimension:02d}_i{i:02d}" for i in instances for f in functions]


def objective_of(name: str) -> str:
    """Name of the objective of a problem of bbob-constrained."""
    match = _COCO_NAME.fullmatch(name)
    if match is None:
        return name
    return OBJECTIVES[(int(match[1]) - 1) // N_CONSTRAINT_KINDS]


def get_problem(name: str) -> Problem:
    """The problem of a name."""
    match = _COCO_NAME.fullmatch(name)
    if match is not None:
        return _coco_problem(*(int(part) for part in match.groups()))
    return PROBLEMS[name]


@functools.cache
def _suite() -> Any:
    import cocoex

    return cocoex.Suite("bbob-constrained", "", "")


def _open(function: int, dimension: int, instance: int) -> Any:
    return _suite().get_problem_by_function_dimension_instance(function, dimension, instance)


def _evaluate(key: tuple[int, int, int], x: Array) -> Array:
    """Outputs of points (n, d); the suite does not bear several open problems at once."""
    problem = _open(*key)
    rows = [[problem(point), *problem.constraint(point)] for point in np.asarray(x)]
    problem.free()
    return np.array(rows)


@functools.cache
def _coco_problem(function: int, dimension: int, instance: int) -> Problem:
    key = (function, dimension, instance)
    problem = _open(*key)
    bounds = np.stack([problem.lower_bounds, problem.upper_bounds], axis=1)
    start, n_constraints = problem.initial_solution, problem.number_of_constraints
    best = _best_parameter(problem)
    problem.free()
    evaluate = functools.partial(_evaluate, key)
    f_best, f_start = evaluate(np.stack([best, start]))[:, 0]
    return Problem(
        f"f{function:03d}_d{dimension:02d}_i{instance:02d}",
        "COCO bbob-constrained: " + OBJECTIVES[(function - 1) // N_CONSTRAINT_KINDS],
        evaluate,
        bounds,
        n_constraints,
        best,
        float(f_best),
        float(f_start),
        BUDGETS[dimension],
    )


def _best_parameter(problem: Any) -> Array:
    """The optimum, which the suite writes to a file in the current folder."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            problem._best_parameter("print")
            (file,) = Path(folder).iterdir()
            return np.loadtxt(file)
        finally:
            os.chdir(here)
