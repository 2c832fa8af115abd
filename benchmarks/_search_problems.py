"""Real problems of scikit-learn with a binding limit that is the same on every machine.

Every problem is an estimator, a search space in RandomizedSearchCV's language, an objective, limits
on counted quantities, and fixed folds. The limits were set by what a user might want, before any
method but random search had been run on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import loguniform, randint, uniform
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import ElasticNet
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC


@dataclass(frozen=True)
class SearchProblem:
    """One problem."""

    about: str
    load: Callable[..., Any]
    estimator: Any
    space: Mapping[str, Any] | list[Mapping[str, Any]]
    scoring: Mapping[str, Any]  # objective first
    limits: Mapping[str, tuple[float | None, float | None]]
    cv: Any

    @property
    def objective(self) -> str:
        """Name of the metric to maximise."""
        return next(iter(self.scoring))


class WeightedSVC(SVC):
    """A support vector classifier whose weight of class 0 is a parameter of its own."""

    def __init__(self, C: float = 1.0, gamma: Any = "scale", weight: float = 1.0) -> None:
        super().__init__(C=C, gamma=gamma)
        self.weight = weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit with ``class_weight={0: weight}``."""
        self.class_weight = {0: self.weight}
        return super().fit(X, y, sample_weight)


def count_nodes(model: Any, X: Any, y: Any) -> float:
    """Nodes of a forest: what it occupies."""
    return float(sum(tree.tree_.node_count for tree in model.estimators_))


def count_comparisons(model: Any, X: Any, y: Any) -> float:
    """Comparisons to classify one sample: what a forest costs to run."""
    visited = model.decision_path(X)[0].sum() / len(X)
    return float(visited - len(model.estimators_))  # a leaf compares nothing


def count_support_vectors(model: Any, X: Any, y: Any) -> float:
    """Kernel evaluations to classify one sample."""
    return float(model[-1].n_support_.sum())


def false_alarms(model: Any, X: Any, y: Any) -> float:
    """Share of the healthy (class 1) who are called ill (class 0)."""
    return float(np.mean(model.predict(X)[y == 1] == 0))


def count_features(model: Any, X: Any, y: Any) -> float:
    """Features with a coefficient."""
    return float(np.count_nonzero(model[-1].coef_))


def load_some_digits(return_X_y: bool = True) -> Any:
    """The first 600 of scikit-learn's digits."""
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


PROBLEMS: dict[str, SearchProblem] = {
    "digits": SearchProblem(
        about="random forest on 600 digits; at most 1,500 nodes and 120 comparisons a sample",
        load=load_some_digits,
        estimator=RandomForestClassifier(random_state=0),
        space={
            "n_estimators": randint(5, 41),
            "max_depth": randint(3, 16),
            "max_features": uniform(0.02, 0.5),
            "min_samples_leaf": randint(1, 11),
        },
        scoring={"accuracy": "accuracy", "nodes": count_nodes, "comparisons": count_comparisons},
        limits={"nodes": (None, 1500), "comparisons": (None, 120)},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    ),
    "cancer": SearchProblem(
        about="SVM on breast_cancer, recall of the ill; at most 2 % false alarms, 80 vectors",
        load=load_breast_cancer,
        estimator=make_pipeline(StandardScaler(), WeightedSVC()),
        space={
            "weightedsvc__C": loguniform(1e-2, 1e4),
            "weightedsvc__gamma": loguniform(1e-5, 1.0),
            "weightedsvc__weight": loguniform(0.1, 10.0),
        },
        scoring={
            "recall": make_scorer(recall_score, pos_label=0),
            "false_alarms": false_alarms,
            "vectors": count_support_vectors,
        },
        limits={"false_alarms": (None, 0.02), "vectors": (None, 80)},
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
    ),
    "diabetes": SearchProblem(
        about="elastic net on products of diabetes' columns; at most 5 coefficients",
        load=load_diabetes,
        estimator=make_pipeline(
            StandardScaler(),
            PolynomialFeatures(include_bias=False),
            StandardScaler(),
            ElasticNet(max_iter=2000, tol=1e-3),
        ),
        space={
            "polynomialfeatures__degree": [1, 2],
            "polynomialfeatures__interaction_only": [False, True],
            "elasticnet__alpha": loguniform(1e-2, 1e2),
            "elasticnet__l1_ratio": uniform(0.05, 0.95),
        },
        scoring={"r2": "r2", "features": count_features},
        limits={"features": (None, 5)},
        cv=KFold(5, shuffle=True, random_state=0),
    ),
}
