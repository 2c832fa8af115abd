"""The candidate models: small solvers of unequal skill, cost and manner.

A solver is a function of the prompt's text alone. It recognises what kind of question it has before
it, tries its skill for that kind, and writes the outcome in its own manner. Every weakness is a
rule that acts on the text (precedence ignored, leap years forgotten, doubled letters overlooked, an
answer cut off at a length limit), never a coin toss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from lookahead_sk.datasets._solving._answers import UNKNOWN, Answer
from lookahead_sk.datasets._solving._calendar import solve_clock, solve_date_shift, solve_weekday
from lookahead_sk.datasets._solving._facts import solve_logic, solve_lookup
from lookahead_sk.datasets._solving._kinds import recognise
from lookahead_sk.datasets._solving._numbers import solve_arithmetic, solve_roman, solve_sequence
from lookahead_sk.datasets._solving._quantities import (
    ALL_RULES,
    METRIC,
    solve_units,
    solve_word_problem,
)
from lookahead_sk.datasets._solving._text import (
    solve_letter_count,
    solve_sorting,
    solve_string_edit,
)

Skill = Callable[[str], Answer]
Manner = Callable[[Answer], str]


class Solver(NamedTuple):
    """A candidate model: its price, its skills by kind of question, and how it writes."""

    cost: float
    skills: Mapping[str, Skill]
    write: Manner
    about: str

    def respond(self, prompt: str) -> str:
        """The text with which the solver answers a prompt."""
        skill = self.skills.get(recognise(prompt))
        return self.write(UNKNOWN if skill is None else skill(prompt))


# Manners


def _write_tersely(answer: Answer) -> str:
    return "Error." if answer.final is None else answer.final


def _write_roughly(answer: Answer) -> str:
    if answer.final is None:
        return "Hard to say."
    word = "Probably" if answer.doubt or not answer.final[-1].isdigit() else "Roughly"
    return f"{word} {answer.final}."


def _write_cautiously(answer: Answer) -> str:
    if answer.final is None or answer.doubt:
        reason = answer.working[0] if answer.working else "This is not something I can check."
        return f"I am not sure enough here. {reason} I would rather leave this to someone else."
    return f"I have checked this, and the answer is {answer.final}."


def _write_at_length(answer: Answer, max_chars: int) -> str:
    """Step by step, cut off where the length limit is reached, be it before the answer."""
    lines = ["Let us work through this step by step."]
    lines += [f"Step {i}: {step}" for i, step in enumerate(answer.working, start=1)]
    if answer.final is None:
        lines.append("From here I do not see how to go on.")
    else:
        lines.append(f"Putting it together, the final answer is {answer.final}.")
    return "\n".join(lines)[:max_chars]


def _write_chattily(answer: Answer) -> str:
    if answer.final is None:
        return "What a lovely question! Sadly, I have no idea."
    return f'Sure, happy to help! The answer is "{answer.final}".'


def _write_plainly(answer: Answer) -> str:
    if answer.final is None:
        return "I could not find a way to solve this."
    working = f"{answer.working[-1]} " if answer.working else ""
    return f"{working}Answer: {answer.final}"


# Skills

_GENERALIST: dict[str, Skill] = {
    "arithmetic": partial(solve_arithmetic, digits=6),
    "word_problem": partial(solve_word_problem, rules=ALL_RULES - {"takers"}),
    "sequence": partial(solve_sequence, rules=("linear", "geometric", "quadratic")),
    "roman": partial(solve_roman, largest=399),
    "units": partial(solve_units, rough=True),
    "weekday": partial(solve_weekday, january_slip=True, iso="ydm"),
    "date_shift": partial(solve_date_shift, inclusive_back=True, iso="ydm"),
    "clock": partial(solve_clock, noon=False, wrap=False),
    "string_edit": partial(solve_string_edit, chunk=6),
    "letter_count": partial(solve_letter_count, chunk=5),
    "sorting": partial(solve_sorting, repeats=False, max_items=9),
    "lookup": partial(solve_lookup, max_rows=7, strict=False),
    "logic": partial(solve_logic, primes=False, negation=False, max_facts=3),
}
_STEPWISE: dict[str, Skill] = {
    "arithmetic": partial(solve_arithmetic, in_words=False),
    "word_problem": solve_word_problem,
    "sequence": partial(solve_sequence, rules=("linear", "fibonacci", "alternating")),
    "roman": partial(solve_roman, subtractive=False),
    "units": partial(solve_units, offset=False),
    "weekday": partial(solve_weekday, iso=None, rule="every_fourth"),
    "date_shift": solve_date_shift,
    "clock": partial(solve_clock, carry=False),
    "string_edit": partial(solve_string_edit, chunk=11),
    "letter_count": partial(solve_letter_count, case=False),
    "sorting": partial(solve_sorting, down=False),
    "lookup": partial(solve_lookup, prose=False),
    "logic": partial(solve_logic, mixed=False),
}
_CAUTIOUS: dict[str, Skill] = {
    "arithmetic": partial(solve_arithmetic, max_tokens=7),
    "word_problem": partial(solve_word_problem, rules=ALL_RULES - {"double"}, unread="doubt"),
    "sequence": partial(solve_sequence, rules=("linear", "geometric", "fibonacci", "alternating")),
    "roman": partial(solve_roman, largest=400),
    "units": partial(solve_units, known=METRIC),
    "weekday": partial(solve_weekday, years=(1950, 2050)),
    "date_shift": partial(solve_date_shift, rule="never", max_days=150),
    "clock": partial(solve_clock, max_hours=3),
    "string_edit": partial(solve_string_edit, n_edits=2),
    "letter_count": partial(solve_letter_count, n_words=2),
    "sorting": partial(solve_sorting, max_items=8),
    "lookup": partial(solve_lookup, max_rows=6),
    "logic": partial(solve_logic, mixed=False),
}
_WORDSMITH: dict[str, Skill] = {
    "arithmetic": partial(solve_arithmetic, parentheses=False, digits=4),
    "word_problem": partial(solve_word_problem, rules=ALL_RULES - {"boxes", "parcels"}),
    "roman": partial(solve_roman, largest=1999),
    "weekday": partial(solve_weekday, rule="never"),
    "date_shift": partial(solve_date_shift, backwards=False, max_days=60),
    "clock": partial(solve_clock, nearest=10),
    "string_edit": partial(solve_string_edit, in_order=False),
    "letter_count": partial(solve_letter_count, n_words=4, vowels="aeiouy"),
    "sorting": partial(solve_sorting, kinds="words"),
    "lookup": partial(solve_lookup, aggregate=False),
    "logic": partial(solve_logic, negation=False),
}
_CALCULATOR: dict[str, Skill] = {
    "arithmetic": partial(solve_arithmetic, precedence=False, in_words=False),
    "word_problem": partial(
        solve_word_problem, rules=ALL_RULES - {"half", "takers"}, unread="add", in_words=False
    ),
    "sequence": partial(solve_sequence, rules=("linear", "quadratic")),
    "units": partial(solve_units, known=METRIC | {"miles", "pounds"}),
    "weekday": partial(solve_weekday, rule="every_fourth", iso="ydm"),
    "date_shift": partial(solve_date_shift, rule="never", iso=None),
    "clock": partial(solve_clock, carry=False, noon=False),
    "letter_count": partial(solve_letter_count, n_words=1),
    "sorting": partial(solve_sorting, kinds="numbers", sign=False),
    "lookup": partial(solve_lookup, prose=False, strict=False),
}
_ESTIMATOR: dict[str, Skill] = {
    "arithmetic": partial(solve_arithmetic, digits=2),
    "word_problem": partial(solve_word_problem, digits=2, max_sentences=3),
    "sequence": partial(solve_sequence, rules=("linear",), digits=2),
    "roman": partial(solve_roman, digits=2),
    "units": partial(solve_units, rough=True, digits=2),
    "weekday": partial(solve_weekday, rule="never"),
    "date_shift": partial(solve_date_shift, rule="thirty"),
    "clock": partial(solve_clock, nearest=15),
    "string_edit": partial(solve_string_edit, n_edits=1),
    "letter_count": partial(solve_letter_count, once=True),
    "sorting": partial(solve_sorting, key=lambda word: word[0], max_items=5),
    "lookup": partial(solve_lookup, max_rows=4),
    "logic": partial(solve_logic, max_facts=2),
}

SOLVERS: dict[str, Solver] = {
    "generalist-xl": Solver(
        20.0, _GENERALIST, _write_plainly, "knows something about everything, with blind spots"
    ),
    "stepwise-l": Solver(
        12.0,
        _STEPWISE,
        partial(_write_at_length, max_chars=320),
        "shows all its working, and is cut off after 320 characters",
    ),
    "cautious-m": Solver(
        6.0, _CAUTIOUS, _write_cautiously, "refuses whatever is long or outside its limits"
    ),
    "wordsmith-m": Solver(
        5.0, _WORDSMITH, _write_chattily, "reads and writes well, reckons carelessly"
    ),
    "calculator-s": Solver(
        2.0, _CALCULATOR, _write_tersely, "reckons exactly, from left to right, and reads little"
    ),
    "estimator-xs": Solver(
        1.0, _ESTIMATOR, _write_roughly, "answers everything, to two digits and at a glance"
    ),
}
