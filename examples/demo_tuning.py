"""Tune a random forest that must stay small and quick, with 20 experiments.

Each experiment trains the forest on scikit-learn's digits and returns three numbers: its error, and
by how much it exceeds two limits. One limit is on its size: nodes, which take memory. The other is
on its work: comparisons to classify one digit, which take time. Nobody knows before training
whether a forest keeps them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from scipy.stats import randint, uniform
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from lookahead_sk import TwoStepConstrainedBO

N_EXPERIMENTS = 20
MOST_NODES = 4000
MOST_COMPARISONS = 250
SPACE = {
    "n_estimators": randint(5, 101),
    "max_depth": randint(3, 16),
    "max_features": uniform(0.02, 0.5),
    "min_samples_leaf": randint(1, 11),
}


def evaluate(point: dict[str, Any], data: Any) -> list[float]:
    """Error, nodes over their limit, comparisons over their limit; the last two in parts of it."""
    X_train, X_test, y_train, y_test = data
    forest = RandomForestClassifier(**point, random_state=0).fit(X_train, y_train)
    nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    visited = forest.decision_path(X_test)[0].sum() / len(X_test)
    comparisons = visited - point["n_estimators"]  # a leaf compares nothing
    error = 1 - forest.score(X_test, y_test)
    return [error, nodes / MOST_NODES - 1, comparisons / MOST_COMPARISONS - 1]


def main() -> None:
    """Run the experiments and print each of them, then the best."""
    start = time.perf_counter()
    data = train_test_split(*load_digits(return_X_y=True), test_size=0.5, random_state=0)
    optimizer = TwoStepConstrainedBO(SPACE, n_constraints=2, random_state=0)
    print(f"A random forest with at most {MOST_NODES} nodes and {MOST_COMPARISONS} comparisons.")
    print(" #  trees depth features leaf |  error  nodes comparisons")
    for i in range(N_EXPERIMENTS):
        (point,) = optimizer.ask(remaining=N_EXPERIMENTS - i)
        outputs = evaluate(point, data)
        optimizer.tell([point], [outputs])
        nodes, comparisons = (1 + outputs[1]) * MOST_NODES, (1 + outputs[2]) * MOST_COMPARISONS
        note = "" if optimizer.is_feasible_[-1] else "  over a limit"
        is_best = optimizer.best_x_ == point and optimizer.is_feasible_[-1]
        print(
            f"{i + 1:2d}  {point['n_estimators']:5d} {point['max_depth']:5d} "
            f"{point['max_features']:8.2f} {point['min_samples_leaf']:4d} | {outputs[0]:6.3f} "
            f"{nodes:6.0f} {comparisons:11.0f}{note}{'  <- best so far' if is_best else ''}"
        )
    n_feasible = int(np.sum(optimizer.is_feasible_))
    print(
        f"Best of {n_feasible} experiments inside both limits: error {optimizer.best_y_:.3f} "
        f"with {optimizer.best_x_} ({time.perf_counter() - start:.0f} s)."
    )


if __name__ == "__main__":
    main()
