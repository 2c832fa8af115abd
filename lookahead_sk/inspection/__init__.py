"""Pictures of routers and of searches, after scikit-learn's displays; needs matplotlib."""

from lookahead_sk.inspection._acquisition import AcquisitionDisplay
from lookahead_sk.inspection._convergence import ConvergenceDisplay
from lookahead_sk.inspection._routing_audit import RoutingAuditDisplay
from lookahead_sk.inspection._routing_confusion import RoutingConfusionDisplay
from lookahead_sk.inspection._routing_curve import RoutingCurveDisplay

__all__ = [
    "AcquisitionDisplay",
    "ConvergenceDisplay",
    "RoutingAuditDisplay",
    "RoutingConfusionDisplay",
    "RoutingCurveDisplay",
]
