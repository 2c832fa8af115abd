"""Searches over two branches, a linear model or a forest, under a limit on operations.

Run ``python benchmarks/conditional.py --seeds 20`` as often as you like: finished runs are read
from the results file, missing ones are added to it, and the tables are printed from all of them.
``--tables`` runs nothing. Every method evaluates on the same folds; the seed is that of the search.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _search_methods import constrained, optuna_study, randomized
from _search_problems import SearchProblem, load_some_digits
from scipy.stats import loguniform, randint, t, uniform
from search import common_seeds, load, run_missing
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "conditional.jsonl"
BUDGET, STEPS = 25, (15, 25)
REFERENCE = "optuna_tpe"
# What a model that predicts one value for all has: the score while nothing is feasible.
CONSTANT = {"r2": 0.0, "roc_auc": 0.5}


def count_operations(model: Any, X: Any, y: Any) -> float:
    """Products of a linear model, or comparisons of a forest, to predict one sample."""
    last = model[-1]
    if hasattr(last, "coef_"):
        return float(np.count_nonzero(last.coef_))
    visited = last.decision_path(model[:-1].transform(X))[0].sum() / len(X)
    return float(visited - len(last.estimators_))  # a leaf compares nothing


def load_even_digits(return_X_y: bool = True) -> Any:
    """Some digits, and whether they are even."""
    X, y = load_some_digits()
    return X, y % 2 == 0


def _pipeline(*steps: Any) -> Pipeline:
    return Pipeline([("scale", StandardScaler()), *steps, ("model", None)])


def _forest(model: Any, most_trees: int) -> dict[str, Any]:
    return {
        "model": [model],
        "model__n_estimators": randint(1, most_trees + 1),
        "model__max_depth": randint(1, 11),
        "model__max_features": uniform(0.05, 0.9),
        "model__min_samples_leaf": randint(1, 21),
    }


PROBLEMS = {
    "diabetes": SearchProblem(
        about="elastic net on products of diabetes' columns, or a forest; at most 20 operations",
        load=load_diabetes,
        estimator=_pipeline(("products", PolynomialFeatures(include_bias=False))),
        space=[
            {
                "model": [ElasticNet(max_iter=2000, tol=1e-3)],
                "model__alpha": loguniform(1e-2, 1e2),
                "model__l1_ratio": uniform(0.05, 0.95),
                "products__degree": [1, 2],
            },
            {
                **_forest(RandomForestRegressor(random_state=0), 10),
                "products": ["passthrough"],
            },
        ],
        scoring={"r2": "r2", "operations": count_operations},
        limits={"operations": (None, 20)},
        cv=KFold(3, shuffle=True, random_state=0),
    ),
    "parity": SearchProblem(
        about="l1 logistic regression on even or odd digits, or a forest; at most 100 operations",
        load=load_even_digits,
        estimator=_pipeline(),
        space=[
            {
                "model": [LogisticRegression(l1_ratio=1, solver="liblinear", random_state=0)],
                "model__C": loguniform(1e-3, 10),
            },
            _forest(RandomForestClassifier(random_state=0), 15),
        ],
        scoring={"roc_auc": "roc_auc", "operations": count_operations},
        limits={"operations": (None, 100)},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ),
}


def _sampler(optuna: Any, seed: int) -> Any:
    from lookahead_sk.integrations.optuna import TwoStepConstrainedSampler

    return TwoStepConstrainedSampler(seed=seed)


def _tpe(**options: Any) -> Any:
    return optuna_study(lambda optuna, seed: optuna.samplers.TPESampler(seed=seed, **options))


METHODS = {
    "constrained": constrained("two_step"),
    "sampler": optuna_study(_sampler),
    "optuna_tpe": _tpe(),
    "optuna_tpe_group": _tpe(multivariate=True, group=True),
    "randomized": randomized,
}


def scores_at(runs: Any, problem: str, method: str, seeds: list[int], step: int) -> Any:
    """Best feasible score of each seed, that of a constant while nothing is feasible."""
    found = [runs[problem, method, seed]["best"][step - 1] for seed in seeds]
    least = CONSTANT[PROBLEMS[problem].objective]
    return np.array([least if value is None else value for value in found])


def interval(differences: Any) -> tuple[float, float, float]:
    """Mean of paired differences and its 95 % interval by Student's t."""
    mean, n = float(differences.mean()), len(differences)
    half = float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def print_tables(runs: Any, problems: list[str], methods: list[str]) -> None:
    """Median scores, and paired differences to the reference, after some evaluations."""
    methods = [m for m in methods if any(key[1] == m for key in runs)]
    rivals = [m for m in methods if m != REFERENCE]
    scores = {}
    for problem in problems:
        seeds = common_seeds(runs, problem, methods)
        for step in STEPS:
            if len(seeds) > 1:
                rows = [scores_at(runs, problem, m, seeds, step) for m in methods]
                scores[problem, step] = dict(zip(methods, rows, strict=True))
    print("\nBest feasible score, median (quartiles)\n")
    print("| problem | seeds | evaluations | " + " | ".join(methods) + " |")
    print("|---" * (3 + len(methods)) + "|")
    for (problem, step), found in scores.items():
        quartiles = [np.quantile(found[m], [0.5, 0.25, 0.75]) for m in methods]
        cells = [f"{q[0]:.4f} ({q[1]:.4f} to {q[2]:.4f})" for q in quartiles]
        seeds = len(found[REFERENCE])
        print(f"| {problem} | {seeds} | {step} | " + " | ".join(cells) + " |")
    print(f"\nMean difference to {REFERENCE}, seed by seed, with 95 % interval; wins, losses\n")
    print("| problem | evaluations | " + " | ".join(rivals) + " |")
    print("|---" * (2 + len(rivals)) + "|")
    for (problem, step), found in scores.items():
        cells = []
        for method in rivals:
            differences = found[method] - found[REFERENCE]
            mean, low, high = interval(differences)
            wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
            cells.append(f"{mean:+.4f} ({low:+.4f} to {high:+.4f}); {wins}, {losses}")
        print(f"| {problem} | {step} | " + " | ".join(cells) + " |")
    overhead = [
        f"{np.median([r['overhead_seconds'] for key, r in runs.items() if key[1] == m]):.2f}"
        for m in methods
    ]
    print("\n| | " + " | ".join(methods) + " |")
    print("|---" * (1 + len(methods)) + "|")
    print("| overhead, CPU s an evaluation | " + " | ".join(overhead) + " |")


def main() -> None:
    """Parse the arguments, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to this number - 1")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="only print, run nothing")
    args = parser.parse_args()
    if not args.tables:
        problems = {name: PROBLEMS[name] for name in args.problems}
        chosen = {name: METHODS[name] for name in args.methods}
        run_missing(args.results, problems, chosen, args.seeds, BUDGET)
    methods = [m for m in METHODS if m in args.methods or m == REFERENCE]
    print_tables(load(args.results), args.problems, methods)


if __name__ == "__main__":
    main()
