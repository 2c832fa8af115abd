"""A classifier whose quality and size are known, and data for it."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

DATA = np.zeros((12, 1)), np.arange(12) % 2


class Step(ClassifierMixin, BaseEstimator):
    """A classifier whose quality and size are known functions of its parameter.

    It fails where ``x > fails_above``; its quality grows with x.
    """

    def __init__(self, x=0.0, fails_above=np.inf):
        self.x = x
        self.fails_above = fails_above

    def fit(self, X, y):
        if self.x > self.fails_above:
            raise ValueError("too large")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X))


def quality(model, X, y):
    return model.x


def size(model, X, y):
    return model.x**2
