"""Cells of a log: numbers, amounts of money and prompts as they are written in files."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Any

from lookahead_sk._validation import is_missing, reject

_EMPTY = ("", "nan", "null", "none", "na", "n/a")
_TRUTH = {"true": 1.0, "false": 0.0}
_UNITS = {"$": "USD", "us$": "USD", "usd": "USD", "€": "EUR", "eur": "EUR", "£": "GBP", "¢": "cent"}
_AMOUNT = re.compile(r"([^\d\s.+-]*)\s*([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*([^\d\s.]*)")


def is_empty(cell: Any) -> bool:
    """Whether a cell says nothing, as a value or as a word."""
    return is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in _EMPTY)


def read_number(cell: Any, what: str) -> float:
    """A finite number, also where a file holds it as text; NaN for an empty cell.

    Raises
    ------
    ValueError
        If it is something else; ``what`` says where it stands.
    """
    if is_empty(cell):
        return math.nan
    try:
        number = _TRUTH.get(cell.strip().lower()) if isinstance(cell, str) else None
        number = float(cell) if number is None else number
    except (TypeError, ValueError):
        reject(what, "a number, or empty", cell)
    if not math.isfinite(number):
        reject(what, "a finite number, or empty", cell)
    return number


def read_amount(cell: Any, what: str) -> tuple[float, str]:
    """A cost that is not negative, and the unit that is written beside it, or ""."""
    unit = ""
    if isinstance(cell, str) and (found := _AMOUNT.fullmatch(cell.strip())):
        unit, cell = found[1] or found[3], found[2]
    amount = read_number(cell, what)
    if amount < 0:
        reject(what, "not negative", cell)
    return amount, read_unit(unit)


def read_unit(cell: Any) -> str:
    """One name for every unit of cost."""
    text = "" if is_empty(cell) else str(cell).strip()
    return _UNITS.get(text.lower(), text)


def read_prompt(cell: Any, what: str) -> str:
    """A prompt; the turns of one that is a list of texts are joined by line breaks."""
    if isinstance(cell, list | tuple) and cell and all(isinstance(turn, str) for turn in cell):
        cell = "\n".join(cell)
    if not isinstance(cell, str) or not cell.strip():
        reject(what, "a text that is not empty, or a list of such", cell)
    return cell


def unwrap_lists(prompts: Sequence[str]) -> tuple[list[str], int]:
    """Prompts that are written as the lists of their turns, ``"['...']"``, as plain texts.

    Only if all are written so, since a single one may be meant as it is.

    Returns
    -------
    list of str, int
        The prompts, and how many are written as lists.
    """
    turns = [_listed(prompt) for prompt in prompts]
    n_listed = sum(turn is not None for turn in turns)
    if n_listed < len(prompts):
        return list(prompts), n_listed
    return ["\n".join(turn or ()) for turn in turns], n_listed


def _listed(prompt: str) -> list[str] | None:
    if not (prompt.startswith("[") and prompt.endswith("]")):
        return None
    try:
        value = ast.literal_eval(prompt)
    except (MemoryError, RecursionError, SyntaxError, ValueError):
        return None
    is_turns = isinstance(value, list) and value and all(isinstance(turn, str) for turn in value)
    return value if is_turns else None
