"""The report of an audit: a table that a reader needs no statistics for, as text and as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from lookahead_sk.audit._estimators import Estimate

if TYPE_CHECKING:
    from lookahead_sk.audit._audit import RoutingAudit
    from lookahead_sk.audit._policy_audit import PolicyAudit

_HEAD = ("policy", "quality", "change", "cost", "saving", "effective n")
_NAMES = {"dr": "doubly robust", "snips": "self-normalised IPS", "ips": "IPS"}
_STYLE = "padding:2px 10px;text-align:right;border-bottom:1px solid #ddd"


def as_text(audit: RoutingAudit) -> str:
    """The report as plain text."""
    rows = [_HEAD, *_rows(audit)]
    widths = [max(len(row[j]) for row in rows) for j in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if j == 0 else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join([_title(audit), "", *lines, "", *_remarks(audit)])


def as_html(audit: RoutingAudit) -> str:
    """The report as a piece of HTML."""
    head = "".join(f'<th style="{_STYLE}">{escape(cell)}</th>' for cell in _HEAD)
    rows = "".join(
        "<tr>" + "".join(f'<td style="{_STYLE}">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in _rows(audit)
    )
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in _remarks(audit))
    return (
        f"<div><p>{escape(_title(audit))}</p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table><ul>{remarks}</ul></div>"
    )


def _title(audit: RoutingAudit) -> str:
    return (
        f"Audit of {audit.n:,} logged calls of {len(audit.models)} models "
        f"({_NAMES[audit.estimator]}, {audit.level:.0%} intervals)"
    )


def _rows(audit: RoutingAudit) -> list[tuple[str, ...]]:
    return [_row(name, each) for name, each in audit.policies.items()]


def _row(name: str, each: PolicyAudit) -> tuple[str, ...]:
    if each.reason is not None:
        return (name, "refused", "", "", "", f"{each.effective_sample_size:,.0f}")
    return (
        name,
        _shown(each.quality, ".3f"),
        _shown(each.quality_change, "+.3f"),
        _shown(each.cost, ".4g"),
        _shown(each.saving, ".1%"),
        f"{each.effective_sample_size:,.0f}",
    )


def _shown(value: Estimate, form: str) -> str:
    if value.value != value.value:
        return ""
    return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"


def _remarks(audit: RoutingAudit) -> list[str]:
    """Refusals, changes by group, and notes, a sentence each."""
    found = [
        f"{name} is refused: {each.reason}."
        for name, each in audit.policies.items()
        if each.reason is not None
    ]
    for name, each in audit.policies.items():
        if not each.is_control:
            found += [
                f"{name} in {group}: change {_shown(change, '+.3f') or 'unknown, too few rows'}."
                for group, change in each.by_group.items()
            ]
    return [*found, *audit.notes]
