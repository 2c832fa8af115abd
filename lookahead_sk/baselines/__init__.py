"""Routers to compare with: from the prompt straight to scores, without foreseeing a response."""

from lookahead_sk.baselines._averages import ClusterRouter, KNNRouter
from lookahead_sk.baselines._constant import BestSingleRouter, OracleRouter, RandomRouter
from lookahead_sk.baselines._network import MLPRouter
from lookahead_sk.baselines._regression import MatrixFactorizationRouter, RidgeRouter

__all__ = [
    "BestSingleRouter",
    "ClusterRouter",
    "KNNRouter",
    "MLPRouter",
    "MatrixFactorizationRouter",
    "OracleRouter",
    "RandomRouter",
    "RidgeRouter",
]
