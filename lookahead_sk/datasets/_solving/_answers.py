"""What a solver answers, how its final answer is read, and how it is graded.

A grade lies in [0, 1]. A text without a readable final answer (a refusal, a truncated working)
gets 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from fractions import Fraction
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")

_MARKER = re.compile(r"(?:answer is|answer:|roughly|probably)[ \t]*(.+)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


class Answer(NamedTuple):
    """What a skill worked out: the final answer, its working, and whether it doubts it.

    ``final`` is None when the skill cannot read the prompt or does not know how to go on.
    """

    final: str | None
    working: tuple[str, ...] = ()
    doubt: bool = False


UNKNOWN = Answer(None, (), True)


def pick(rng: np.random.RandomState, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[rng.randint(len(options))]


def show(value: Fraction | float) -> str:
    """A number as people write it: an integer, or at most six decimals."""
    if value == int(value):
        return str(int(value))
    return f"{float(value):.6f}".rstrip("0")


def round_significant(value: Fraction, digits: int | None) -> Fraction:
    """``value`` with only its first ``digits`` significant digits; None keeps all of them."""
    if digits is None or value == 0:
        return value
    return Fraction(f"{float(value):.{digits - 1}e}")


def final_answer(text: str) -> str | None:
    """The answer a text ends in, or None.

    It is what follows the last "answer is", "Answer:", "Roughly" or "Probably" on its line; without
    such a mark a text of one line is itself the answer, and a longer one has none.
    """
    found = _MARKER.findall(text)
    if not found and "\n" in text.strip():
        return None
    last = found[-1] if found else text
    return last.strip().rstrip(".").strip().strip('"')


def read_number(text: str | None) -> Fraction | None:
    """The first number in a text, or None."""
    match = _NUMBER.search((text or "").replace("−", "-"))
    if match is None:
        return None
    try:
        return Fraction(match.group().replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None


def grade_number(text: str, truth: Fraction) -> float:
    """1 if the final answer is the number, up to the sixth decimal, else 0."""
    value = read_number(final_answer(text))
    return float(value is not None and abs(value - truth) <= Fraction(1, 10**6))


def grade_measure(text: str, truth: Fraction) -> float:
    """1 within 0.5 % of the truth (or 0.005, what rounding may cost), 1/2 within 5 %, else 0."""
    value = read_number(final_answer(text))
    if value is None:
        return 0.0
    error = abs(value - truth)
    if error <= max(abs(truth) * Fraction(1, 200), Fraction(1, 200)):
        return 1.0
    return 0.5 if error <= abs(truth) * Fraction(1, 20) else 0.0


def grade_choice(text: str, truth: str) -> float:
    """1 if the final answer is the word, whatever its case, else 0."""
    answer = final_answer(text)
    return float(answer is not None and answer.casefold() == truth.casefold())


def grade_text(text: str, truth: str) -> float:
    """1 for the very string, half the likeness to it when that is 0.8 or more, else 0."""
    answer = final_answer(text)
    if answer is None:
        return 0.0
    if answer == truth:
        return 1.0
    likeness = SequenceMatcher(None, answer, truth, autojunk=False).ratio()
    return likeness / 2 if likeness >= 0.8 else 0.0


def grade_list(text: str, truth: Sequence[str]) -> float:
    """Share of the items between commas that stand at their place; 0 if the count differs."""
    answer = final_answer(text)
    items = [item.strip() for item in answer.split(",")] if answer else []
    if len(items) != len(truth):
        return 0.0
    return sum(item == right for item, right in zip(items, truth, strict=True)) / len(truth)
