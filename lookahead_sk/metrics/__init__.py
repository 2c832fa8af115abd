"""Measures of routers: quality, regret, share of the oracle's gain, cost, and how sure they are.

Notation: n prompts, K candidate models, scores (n, K), chosen (n,).

Everywhere, a NaN in ``scores`` means "not observed". A measure is taken over the prompts on which
the scores it needs were observed: that of the chosen model, and that of the best single model
where the measure compares with it. The oracle takes the best of the models observed on a prompt.
If routers saw different parts of the data, compare them by `paired_bootstrap`, which keeps to the
prompts on which both choices were observed.
"""

from lookahead_sk.metrics._bootstrap import BootstrapResult, paired_bootstrap
from lookahead_sk.metrics._cost_quality import (
    CostQualityCurve,
    area_under_cost_quality,
    cost_quality_curve,
    make_cost_scorer,
    make_utility_scorer,
)
from lookahead_sk.metrics._routing import (
    best_model_accuracy,
    best_single_model,
    oracle_gain_score,
    routing_regret,
    routing_score,
)

__all__ = [
    "BootstrapResult",
    "CostQualityCurve",
    "area_under_cost_quality",
    "best_model_accuracy",
    "best_single_model",
    "cost_quality_curve",
    "make_cost_scorer",
    "make_utility_scorer",
    "oracle_gain_score",
    "paired_bootstrap",
    "routing_regret",
    "routing_score",
]
