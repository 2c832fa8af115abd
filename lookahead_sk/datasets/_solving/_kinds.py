"""The kinds of prompt: how each is drawn, graded, and recognised from its text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from lookahead_sk.datasets._solving import _calendar, _facts, _numbers, _quantities, _text
from lookahead_sk.datasets._solving._answers import (
    grade_choice,
    grade_list,
    grade_measure,
    grade_number,
    grade_text,
)


class Kind(NamedTuple):
    """How prompts of a kind are drawn with their truth, graded against it, and recognised."""

    draw: Callable[[np.random.RandomState], tuple[str, Any]]
    grade: Callable[[str, Any], float]
    cue: str


# A prompt is of the first kind whose cue it shows; arithmetic is what remains.
KINDS: dict[str, Kind] = {
    "lookup": Kind(
        _facts.draw_lookup, _facts.grade_lookup, r"\w \| \w+ \| \d|is from \w+ and has a"
    ),
    "logic": Kind(_facts.draw_logic, grade_choice, r"is \w+ than \w+\.|Yes or no|Is it true"),
    "sorting": Kind(_text.draw_sorting, grade_list, r"these numbers|these words"),
    "string_edit": Kind(
        _text.draw_string_edit, grade_text, r'^(Take the string|Start from "|What does ")'
    ),
    "letter_count": Kind(_text.draw_letter_count, grade_number, r"the letter \w\b|vowels"),
    "roman": Kind(_numbers.draw_roman, grade_choice, r"Roman numeral"),
    "sequence": Kind(_numbers.draw_sequence, grade_number, r"comes next:|the sequence|the series"),
    "date_shift": Kind(
        _calendar.draw_date_shift, _calendar.grade_date, r"\d (days|weeks) (after|before)"
    ),
    "weekday": Kind(_calendar.draw_weekday, grade_choice, r"day of the week|weekday"),
    "clock": Kind(_calendar.draw_clock, _calendar.grade_clock, r"\d:\d\d"),
    "units": Kind(
        _quantities.draw_units, grade_measure, r"^(Convert|Express|How many [\w ]+ are \d)"
    ),
    "word_problem": Kind(_quantities.draw_word_problem, grade_number, r"\bhas\b|packs|starts with"),
    "arithmetic": Kind(_numbers.draw_arithmetic, grade_number, r""),
}
_CUES = [(name, re.compile(kind.cue)) for name, kind in KINDS.items()]


@lru_cache(maxsize=32)
def recognise(prompt: str) -> str:
    """The kind that a prompt looks like."""
    return next(name for name, cue in _CUES if cue.search(prompt))
