"""From logs of traffic: what a router would score and cost, and how sure that is."""

from lookahead_sk.audit._audit import RoutingAudit, audit_routing
from lookahead_sk.audit._certificate import LossCertificate, certify_policy
from lookahead_sk.audit._estimators import Estimate
from lookahead_sk.audit._monitor import BandMonitor
from lookahead_sk.audit._policy_audit import PolicyAudit
from lookahead_sk.audit._propensities import estimate_propensities

__all__ = [
    "BandMonitor",
    "Estimate",
    "LossCertificate",
    "PolicyAudit",
    "RoutingAudit",
    "audit_routing",
    "certify_policy",
    "estimate_propensities",
]
