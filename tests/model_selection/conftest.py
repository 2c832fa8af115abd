"""A small real problem with a limit that can be counted, and quick settings."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lookahead_sk import ConstrainedSearchCV


def n_features(model, X, y=None):
    """Number of features that a linear model uses."""
    return float(np.count_nonzero(model[-1].coef_))


def sparse_model():
    return make_pipeline(
        StandardScaler(), LogisticRegression(l1_ratio=1, solver="liblinear", random_state=0)
    )


SPACE = {"logisticregression__C": loguniform(1e-3, 1e3)}


@pytest.fixture(scope="session")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X[:200], y[:200]


@pytest.fixture
def make_search():
    def make(estimator=None, space=None, **parameters):
        defaults = {
            "objective": "accuracy",
            "constraints": {n_features: (None, 6)},
            "n_iter": 7,
            "acquisition": "eic",
            "cv": 3,
            "random_state": 0,
        }
        return ConstrainedSearchCV(
            estimator or sparse_model(), space or SPACE, **{**defaults, **parameters}
        )

    return make
