"""The one place that imports scikit-learn's private names for searches and scorers."""

from sklearn.metrics._scorer import (
    _BaseScorer,
    _check_multimetric_scoring,
    _MultimetricScorer,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.metadata_routing import _raise_for_params, _routing_enabled, process_routing

__all__ = [
    "BaseSearchCV",
    "_BaseScorer",
    "_MultimetricScorer",
    "_check_multimetric_scoring",
    "_raise_for_params",
    "_routing_enabled",
    "process_routing",
]
