"""Quality against dollars, with intervals: what an audit of logs says about policies."""

from __future__ import annotations

from typing import Any, Self

from lookahead_sk._validation import reject
from lookahead_sk.audit import PolicyAudit, RoutingAudit
from lookahead_sk.inspection._axes import get_axes


class RoutingAuditDisplay:
    """Estimated quality against estimated cost of the policies of an audit, with intervals.

    Use `from_audit` to make one.

    Parameters
    ----------
    policies : dict of str to PolicyAudit
        Those that have an estimate.
    level : float
        Confidence level of the intervals.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    containers_ : list of matplotlib ErrorbarContainer
        One for each policy.

    See Also
    --------
    lookahead_sk.audit.audit_routing : The numbers behind the picture.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import numpy as np
    >>> from lookahead_sk.audit import audit_routing
    >>> from lookahead_sk.inspection import RoutingAuditDisplay
    >>> scores = np.where(np.arange(400)[:, None] % 2 == [0, 1], [[0.5, 0.9]], np.nan)
    >>> audit = audit_routing(
    ...     {"half": np.full((400, 2), 0.5)}, scores, costs=[1, 9], propensities=np.full(400, 0.5)
    ... )
    >>> RoutingAuditDisplay.from_audit(audit).ax_.get_ylabel()
    'mean score'
    """

    def __init__(self, *, policies: dict[str, PolicyAudit], level: float) -> None:
        self.policies = policies
        self.level = level

    @classmethod
    def from_audit(cls, audit: RoutingAudit, *, ax: Any = None, **errorbar_kw: Any) -> Self:
        """Draw an audit; policies that it refuses are left out.

        Parameters
        ----------
        audit : RoutingAudit
            Made with ``costs``.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **errorbar_kw : dict
            Passed to matplotlib's ``errorbar``.

        Returns
        -------
        RoutingAuditDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If it is no audit.
        ValueError
            If the audit knows no costs.
        """
        if not isinstance(audit, RoutingAudit):
            reject("audit", "a RoutingAudit, the result of audit_routing", audit, kind=TypeError)
        known = {name: each for name, each in audit.policies.items() if each.reason is None}
        if any(each.cost.value != each.cost.value for each in known.values()):
            reject("audit", "made with costs", None)
        return cls(policies=known, level=audit.level).plot(ax=ax, **errorbar_kw)

    def plot(self, ax: Any = None, **errorbar_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        **errorbar_kw : dict
            Passed to matplotlib's ``errorbar``.

        Returns
        -------
        RoutingAuditDisplay
            The display itself.
        """
        ax = get_axes(ax, "RoutingAuditDisplay.plot")
        self.containers_ = []
        for name, each in self.policies.items():
            (x, *_), (y, *_) = each.cost, each.quality
            style = {"fmt": "o", "color": "0.6" if each.is_control else None, "label": name}
            spread_x = [[x - each.cost.low], [each.cost.high - x]]
            spread_y = [[y - each.quality.low], [each.quality.high - y]]
            drawn = ax.errorbar([x], [y], yerr=spread_y, xerr=spread_x, **{**style, **errorbar_kw})
            self.containers_.append(drawn)
            shift = {"xytext": (5, 4), "textcoords": "offset points", "size": 8}
            ax.annotate(name, (x, y), **shift)
        title = f"estimated from logs, {self.level:.0%} intervals"
        ax.set(xlabel="mean cost of a call", ylabel="mean score", title=title)
        self.ax_, self.figure_ = ax, ax.figure
        return self
