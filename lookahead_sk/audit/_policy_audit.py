"""What a log says about one policy, and about those that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk._typing import FloatArray
from lookahead_sk.audit._estimators import (
    NO_ESTIMATE,
    Estimate,
    dr_values,
    effective_sample_size,
    estimate,
    ips_values,
    ratio_estimate,
    snips_values,
)
from lookahead_sk.audit._logged import Logged
from lookahead_sk.audit._overlap import missing_overlap
from lookahead_sk.metrics._tables import Groups

TRAFFIC = "traffic"


@dataclass(frozen=True)
class PolicyAudit:
    """What a log says about one policy; everything is NaN where ``reason`` says that it cannot.

    Parameters
    ----------
    quality, cost : Estimate
        Mean score, and mean cost of a call.
    quality_change : Estimate
        Mean score less that of the traffic itself, on the same rows.
    saving : Estimate
        Share of the traffic's cost that is saved.
    by_group : dict of label to Estimate
        Change of quality in every group; empty without groups.
    effective_sample_size : float
        How many prompts routed by the policy itself would say as much.
    shares : dict of model to float
        Share of the prompts that it sends to each model.
    reason : str or None
        Why there is no estimate.
    is_control : bool
        Whether it is no policy that was given, but one to compare with.
    """

    quality: Estimate
    cost: Estimate
    quality_change: Estimate
    saving: Estimate
    by_group: dict[Any, Estimate]
    effective_sample_size: float
    shares: dict[Any, float]
    reason: str | None
    is_control: bool


class Auditor(NamedTuple):
    """A log, and how policies are estimated on it."""

    logged: Logged
    estimator: str
    level: float
    min_propensity: float
    min_effective: float
    groups: Groups | None

    def audit(self, policy: FloatArray, *, is_control: bool = False) -> PolicyAudit:
        """Estimate a policy (n, K), or say why not."""
        log = self.logged
        weights = log.weights(policy)
        size = effective_sample_size(weights)
        reason = missing_overlap(policy, log, self.min_propensity, self.min_effective)
        shares = dict(zip(log.names, policy.mean(axis=0).tolist(), strict=True))
        if reason is not None:
            return _refused(size, shares, reason, is_control)
        every = np.ones(len(log.scores), dtype=bool)
        scored = self._values(policy, weights, log.scores, log.quality, every)
        saving = cost = NO_ESTIMATE
        if log.costs is not None:
            spent = self._values(policy, weights, log.costs, log.expected_costs, every)
            cost = estimate(spent, self.level)
            saving = ratio_estimate(log.costs - spent, log.costs, self.level)
        change = estimate(scored - log.scores, self.level)
        by_group = self._by_group(policy, weights)
        quality = estimate(scored, self.level)
        return PolicyAudit(quality, cost, change, saving, by_group, size, shares, None, is_control)

    def _values(
        self,
        policy: FloatArray,
        weights: FloatArray,
        y: FloatArray,
        predicted: FloatArray | None,
        rows: Any,
    ) -> FloatArray:
        """Values psi of some rows whose mean is the estimate of y under the policy."""
        policy, w, y, a = policy[rows], weights[rows], y[rows], self.logged.called[rows]
        if self.estimator == "dr" and predicted is not None:
            return dr_values(policy, w, a, y, predicted[rows])
        return ips_values(w, y) if self.estimator == "ips" else snips_values(w, y)

    def _by_group(self, policy: FloatArray, weights: FloatArray) -> dict[Any, Estimate]:
        """Change of quality in each group; none where the group has too few rows of weight."""
        found: dict[Any, Estimate] = {}
        log = self.logged
        for code, name in enumerate(self.groups.names if self.groups else ()):
            rows = np.flatnonzero(self.groups.codes == code) if self.groups else np.empty(0)
            if effective_sample_size(weights[rows]) < min(self.min_effective, 10):
                found[name] = NO_ESTIMATE
                continue
            scored = self._values(policy, weights, log.scores, log.quality, rows)
            found[name] = estimate(scored - log.scores[rows], self.level)
        return found

    def controls(self, audited: Mapping[str, PolicyAudit]) -> dict[str, PolicyAudit]:
        """The traffic itself, always one model, and a mix that costs as much as each policy."""
        log = self.logged
        found = {TRAFFIC: self._traffic()}
        eye = np.eye(log.n_models)
        for k, name in enumerate(log.names):
            policy = np.broadcast_to(eye[k], (len(log.scores), log.n_models))
            found[f"always {name}"] = self.audit(policy, is_control=True)
        singles = [found[f"always {name}"] for name in log.names]
        for name, each in audited.items():
            mix = best_mix(singles, each.cost.value)
            if mix is not None:
                policy = np.broadcast_to(mix, (len(log.scores), log.n_models))
                found[f"mix for {name}"] = self.audit(policy, is_control=True)
        return found

    def _traffic(self) -> PolicyAudit:
        """What was done: means need no weights."""
        log = self.logged
        n, counts = len(log.scores), np.bincount(log.called, minlength=log.n_models)
        cost = NO_ESTIMATE if log.costs is None else estimate(log.costs, self.level)
        none = Estimate(0.0, 0.0, 0.0, 0.0)
        shares = dict(zip(log.names, (counts / n).tolist(), strict=True))
        quality = estimate(log.scores, self.level)
        return PolicyAudit(quality, cost, none, none, {}, float(n), shares, None, True)


def _refused(size: float, shares: dict[Any, float], reason: str, is_control: bool) -> PolicyAudit:
    nothing = NO_ESTIMATE
    return PolicyAudit(nothing, nothing, nothing, nothing, {}, size, shares, reason, is_control)


def best_mix(singles: list[PolicyAudit], cost: float) -> FloatArray | None:
    """Shares (K,) of the best mix of two models, or one, with a given mean cost.

    Returns
    -------
    ndarray of shape (K,) or None
        None where no two models that can be estimated enclose the cost.
    """
    best, shares = -np.inf, None
    known = [k for k, each in enumerate(singles) if each.reason is None]
    for j, k in combinations(known, 2):
        low, high = sorted((j, k), key=lambda i: singles[i].cost.value)
        cheap, dear = singles[low].cost.value, singles[high].cost.value
        if not (cheap <= cost <= dear and dear > cheap):
            continue
        share = (cost - cheap) / (dear - cheap)
        value = (1 - share) * singles[low].quality.value + share * singles[high].quality.value
        if value > best:
            best, shares = value, np.zeros(len(singles))
            shares[[low, high]] = 1 - share, share
    return shares
