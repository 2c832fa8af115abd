"""audit_routing: what routers would have scored and cost on the traffic of a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lookahead_sk._validation import check_choice, check_float, reject
from lookahead_sk.audit._logged import check_level, read_logged, read_policies
from lookahead_sk.audit._policy_audit import Auditor, PolicyAudit
from lookahead_sk.audit._report import as_html, as_text
from lookahead_sk.metrics._tables import Groups, read_groups


@dataclass(frozen=True)
class RoutingAudit:
    """Result of `audit_routing`: text by ``print``, HTML in a notebook.

    Parameters
    ----------
    policies : dict of str to PolicyAudit
        The policies that were given, then the controls.
    n : int
        Rows with a score.
    models : list of K labels
        The candidate models.
    estimator : {"dr", "snips", "ips"}
        What the estimates are.
    level : float
        Confidence level of every interval.
    notes : list of str
        What was left out or estimated.
    """

    policies: dict[str, PolicyAudit]
    n: int
    models: list[Any]
    estimator: str
    level: float
    notes: list[str]

    def to_text(self) -> str:
        """Write the report as plain text.

        Returns
        -------
        str
            A table, reasons for refusals, and notes.
        """
        return as_text(self)

    def to_html(self) -> str:
        """Write the report as a piece of HTML, without scripts or links.

        Returns
        -------
        str
            A ``div`` that can stand in any page.
        """
        return as_html(self)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()


def audit_routing(
    policies: Mapping[str, Any],
    scores: Any,
    *,
    costs: Any = None,
    propensities: Any = None,
    X: Any = None,
    called: Any = None,
    quality: Any = None,
    expected_costs: Any = None,
    models: Sequence[Any] | None = None,
    groups: Any = None,
    estimator: str = "auto",
    level: float = 0.95,
    min_propensity: float = 0.01,
    min_effective: float = 50,
) -> RoutingAudit:
    r"""Estimate quality and cost of routers from logs in which one model was called per prompt.

    The log must have been made by a rule with some chance in it: a model that a kind of prompt was
    never sent to has left no trace there. Where the overlap is missing, the estimate is refused,
    with a reason.

    Parameters
    ----------
    policies : mapping of str to router, array-like of shape (n,) or of shape (n, K)
        What is audited: a fitted router, which reads X; the chosen models; the probabilities of the
        models; or a single name, "always this model".
    scores : array-like or DataFrame of shape (n, K)
        Score of the called model in each row, NaN elsewhere, see `load_routing` with
        ``duplicates="keep"``.
    costs : array-like or DataFrame of shape (n, K), or prices (K,) or by name, default=None
        Cost of the calls, NaN where no model was called.
    propensities : array-like of shape (n,) or (n, K), default=None
        Probability with which the log's rule made its call, or every call. None estimates them from
        X by `estimate_propensities`.
    X : sequence of str, or array-like of shape (n, p), default=None
        The prompts, for policies that are routers and for propensities that were not logged.
    called : array-like of bool of shape (n, K), default=None
        Which model was called, where some calls have no score; these are left out.
    quality : array-like or DataFrame of shape (n, K), default=None
        Predicted scores, not learned from these rows: of a router fitted on an earlier log, or of
        `cross_val_quality`. They make the intervals narrower and never wrong.
    expected_costs : array-like or DataFrame of shape (n, K), default=None
        The same for the costs, for instance ``router.predict_cost(X)``; None takes the mean cost of
        each model.
    models : list of K labels, default=None
        Names of the columns of tables without names.
    groups : array-like of shape (n,), default=None
        Group of each row; changes of quality are then told by group too.
    estimator : {"auto", "dr", "snips", "ips"}, default="auto"
        Doubly robust, self-normalised or plain inverse propensity; "auto" is "dr" with ``quality``,
        else "snips".
    level : float, default=0.95
        Confidence level of the intervals, which are normal.
    min_propensity : float, default=0.01
        Where the log's propensity is below, it says nothing; estimated ones are raised to it.
    min_effective : float, default=50
        Least effective sample size.

    Returns
    -------
    RoutingAudit
        The policies, and the controls: the traffic of the log itself, always one model, and for
        each policy the best random mix of two models that costs as much ("mix for ...").

    Raises
    ------
    ValueError
        If a row has several calls, a propensity is not in (0, 1], a cost is missing, or shapes do
        not fit.

    See Also
    --------
    certify_policy : A bound on the loss that holds for every sample size.

    Notes
    -----
    The estimates speak of the policy as it is: fit it on other rows than those of the audit. The
    intervals rest on the central limit theorem. They are too narrow where few rows carry most of
    the weight, that is where the effective sample size is small.

    References
    ----------
    .. [1] Dudik, Langford and Li, "Doubly robust policy evaluation and learning", ICML 2011.
    .. [2] Swaminathan and Joachims, "The self-normalized estimator for counterfactual learning",
       NeurIPS 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from lookahead_sk.audit import audit_routing
    >>> rng = np.random.default_rng(0)
    >>> called = np.eye(2, dtype=bool)[rng.integers(2, size=1000)]  # tossed a coin
    >>> scores = np.where(called, rng.random((1000, 2)) < [0.8, 0.9], np.nan)
    >>> audit = audit_routing(
    ...     {"cheap": 0}, scores, costs=[1.0, 10.0], propensities=np.full(1000, 0.5)
    ... )
    >>> audit.policies["cheap"].quality.low < 0.8 < audit.policies["cheap"].quality.high
    True
    """
    check_choice(estimator, "estimator", ["auto", "dr", "snips", "ips"])
    level = check_level(level)
    floor = check_float(min_propensity, "min_propensity", 0, 1, closed="neither")
    least = check_float(min_effective, "min_effective", low=0)
    logged = read_logged(
        scores,
        costs=costs,
        propensities=propensities,
        X=X,
        called=called,
        quality=quality,
        expected_costs=expected_costs,
        models=models,
        min_propensity=floor,
    )
    if estimator == "dr" and logged.quality is None:
        reject("quality", "given with estimator='dr'", None)
    if estimator == "auto":
        estimator = "snips" if logged.quality is None else "dr"
    parts = None
    if groups is not None:
        names, codes = read_groups(groups, logged.n_given, None)
        parts = Groups(names, codes[logged.kept])
    auditor = Auditor(logged, estimator, level, floor, least, parts)
    given = read_policies(policies, logged, X)
    found = {name: auditor.audit(policy) for name, policy in given.items()}
    found |= auditor.controls(found)
    n, notes = len(logged.kept), logged.notes
    return RoutingAudit(found, n, logged.names, estimator, level, notes)
