"""Table look-ups and simple logic: prompts, truths and skills."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from lookahead_sk.datasets._solving._answers import (
    UNKNOWN,
    Answer,
    grade_choice,
    grade_number,
    pick,
)

_NAMES = (
    "Ada", "Boris", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Igor", "Jana", "Kofi",
    "Lena", "Marco", "Nadia", "Otto", "Priya", "Rosa", "Sven", "Tara", "Umar", "Vera", "Wanda",
    "Yusuf", "Zoe",
)  # fmt: skip
_CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Perth", "Turin", "Lagos", "Kyoto", "Dakar")
_COLUMNS = {"age": (18, 90), "points": (0, 1000), "salary": (900, 99000), "books": (1, 40)}

Truth = str | Fraction

# Look-ups in a small table


def _ask_table(
    rng: np.random.RandomState, names: list[str], cities: list[str], values: list[int], column: str
) -> tuple[str, Truth]:
    """A question about a table, and its answer."""
    row, question = int(rng.randint(len(names))), rng.randint(6)
    if question == 0:
        return f"Which city is {names[row]} from?", cities[row]
    if question == 1:
        return f"What is the {column} of {names[row]}?", Fraction(values[row])
    if question == 2:
        most = bool(rng.randint(2))
        best = (max if most else min)(range(len(values)), key=values.__getitem__)
        return f"Who has the {'highest' if most else 'lowest'} {column}?", names[best]
    if question == 3:
        return f"What is the total of the column {column}?", Fraction(sum(values))
    if question == 4:
        bound, at_least = values[row], bool(rng.randint(2))
        count = sum(value >= bound if at_least else value > bound for value in values)
        words = "at least" if at_least else "more than"
        return f"How many people have a {column} of {words} {bound}?", Fraction(count)
    count = cities.count(cities[row])
    return f"How many people are from {cities[row]}?", Fraction(count)


def draw_lookup(rng: np.random.RandomState) -> tuple[str, Truth]:
    """A question about a table of three to eleven rows, drawn with bars or told in sentences."""
    n_rows, column = int(rng.randint(3, 12)), pick(rng, tuple(_COLUMNS))
    names = rng.choice(_NAMES, size=n_rows, replace=False).tolist()
    cities = rng.choice(_CITIES[: max(3, n_rows // 2 + 1)], size=n_rows).tolist()
    low, high = _COLUMNS[column]
    spread = max(high - low, n_rows)
    values = (low + rng.choice(min(spread, 5000), size=n_rows, replace=False)).tolist()
    if rng.randint(3):
        lines = [f"name | city | {column}"]
        lines += [f"{n} | {c} | {v}" for n, c, v in zip(names, cities, values, strict=True)]
        table = "\n".join(lines)
    else:
        rows = zip(names, cities, values, strict=True)
        table = " ".join(f"{n} is from {c} and has a {column} of {v}." for n, c, v in rows)
    question, truth = _ask_table(rng, names, cities, values, column)
    if rng.randint(2):
        return f"{question}\n\n{table}", truth
    return f"{table}\n\n{question}", truth


Row = tuple[str, str, int]


def _read_table(prompt: str, prose: bool) -> list[Row]:
    """Rows (name, city, value) of the table in a prompt."""
    rows = re.findall(r"(\w+) \| (\w+) \| (\d+)", prompt)
    if prose:
        rows += re.findall(r"(\w+) is from (\w+) and has a \w+ of (\d+)\.", prompt)
    return [(name, city, int(value)) for name, city, value in rows]


def _look_up(question: str, rows: list[Row], aggregate: bool, strict: bool) -> str | None:
    by_value = sorted(rows, key=lambda row: row[2])
    named = [row for row in rows if re.search(rf"\b{row[0]}\b", question)]
    bound = re.search(r"(at least|more than) (\d+)", question)
    if question.startswith("Which city"):
        return named[0][1] if named else None
    if question.startswith("What is the") and "total" not in question:
        return str(named[0][2]) if named else None
    if question.startswith("Who"):
        return by_value[-1 if "highest" in question else 0][0]
    if not aggregate:
        return None
    if "total" in question:
        return str(sum(row[2] for row in rows))
    if bound:
        at_least = bound.group(1) == "at least" and strict
        limit = int(bound.group(2))
        return str(sum(row[2] >= limit if at_least else row[2] > limit for row in rows))
    return str(sum(row[1] in question for row in rows))


def solve_lookup(
    prompt: str,
    *,
    max_rows: int = 99,
    prose: bool = True,
    aggregate: bool = True,
    strict: bool = True,
) -> Answer:
    """Read the table, then the question.

    Parameters
    ----------
    prompt : str
        The text.
    max_rows : int, default=99
        Rows after these are not read.
    prose : bool, default=True
        Read tables told in sentences.
    aggregate : bool, default=True
        Answer questions about several rows.
    strict : bool, default=True
        Tell "at least" from "more than".

    Returns
    -------
    Answer
        A name, a city or a number, with the rows as working.
    """
    asked = re.search(r"(?:^|\n)([^\n|]+\?)", prompt)
    rows = _read_table(prompt, prose)
    if asked is None or not rows:
        return UNKNOWN
    working = tuple(f"{name}: {city}, {value}." for name, city, value in rows[:max_rows])
    final = _look_up(asked.group(1), rows[:max_rows], aggregate, strict)
    return Answer(final, working, final is None or len(rows) > max_rows)


def grade_lookup(text: str, truth: Truth) -> float:
    """1 for the right name, city or number, else 0."""
    return grade_choice(text, truth) if isinstance(truth, str) else grade_number(text, truth)


# Logic: orderings of people, and statements about numbers

_COMPARISONS = (("taller", "shorter"), ("older", "younger"), ("faster", "slower"))
_EXTREMES = {
    "taller": "tallest", "shorter": "shortest", "older": "oldest", "younger": "youngest",
    "faster": "fastest", "slower": "slowest",
}  # fmt: skip


def _draw_ordering(rng: np.random.RandomState) -> tuple[str, str]:
    names = rng.choice(_NAMES, size=rng.randint(3, 7), replace=False).tolist()  # most to least
    more, less = pick(rng, _COMPARISONS)
    mixed = bool(rng.randint(2))
    facts = [
        f"{b} is {less} than {a}." if mixed and rng.randint(2) else f"{a} is {more} than {b}."
        for a, b in pairwise(names)
    ]
    if rng.randint(3):
        rng.shuffle(facts)
    asked = more if rng.randint(2) else less
    question = pick(rng, ("Who is the {}?", "Which of them is the {}?")).format(_EXTREMES[asked])
    return f"{' '.join(facts)} {question}", names[0] if asked == more else names[-1]


def _draw_claim(rng: np.random.RandomState) -> tuple[str, bool]:
    n, m = int(rng.randint(2, pick(rng, (60, 400)))), int(rng.randint(2, 12))
    claims: tuple[tuple[str, Callable[[], bool]], ...] = (
        (f"{n} is even", lambda: n % 2 == 0),
        (f"{n} is odd", lambda: n % 2 == 1),
        (f"{n} is divisible by {m}", lambda: n % m == 0),
        (f"{n * m} is divisible by {m}", lambda: True),
        (f"{n} is a prime number", lambda: all(n % i for i in range(2, n))),
        (f"{n} is greater than {m * 12}", lambda: n > m * 12),
    )
    text, holds = claims[rng.randint(len(claims))]
    return text, holds()


def draw_logic(rng: np.random.RandomState) -> tuple[str, str]:
    """Who comes first or last in an ordering, or whether two or three claims hold together."""
    if rng.randint(2):
        return _draw_ordering(rng)
    joint = pick(rng, ("and", "or"))
    claims = [_draw_claim(rng) for _ in range(rng.randint(2, 4))]
    values = [not holds if rng.randint(4) == 0 else holds for _, holds in claims]
    texts = [
        text if value == holds else text.replace(" is ", " is not ")
        for (text, holds), value in zip(claims, values, strict=True)
    ]
    truth = all(values) if joint == "and" else any(values)
    ask = pick(rng, ("Is it true that {}? Answer yes or no.", "Yes or no: {}."))
    return ask.format(f" {joint} ".join(texts)), "yes" if truth else "no"


def _solve_ordering(facts: Sequence[tuple[str, str, str]], prompt: str, mixed: bool) -> str:
    """The name that never stands on the lesser side, or never on the greater one."""
    greater, lesser = [], []
    for one, word, other in facts:
        is_less = mixed and word in {less for _, less in _COMPARISONS}
        greater.append(other if is_less else one)
        lesser.append(one if is_less else other)
    asks_least = any(_EXTREMES[less] in prompt for _, less in _COMPARISONS)
    ours, theirs = (lesser, greater) if asks_least else (greater, lesser)
    return next((name for name in ours if name not in theirs), ours[0])


def _holds(claim: str, primes: bool, negation: bool) -> bool | None:
    numbers = [int(digits) for digits in re.findall(r"\d+", claim)]
    if not numbers:
        return None
    n, m = numbers[0], numbers[-1]
    if "prime" in claim:
        tests = range(2, int(n**0.5) + 1) if primes else (p for p in (2, 3, 5) if p < n)
        value = n > 1 and all(n % i for i in tests)
    elif "divisible" in claim:
        value = n % m == 0
    elif "greater" in claim:
        value = n > m
    else:
        value = n % 2 == (0 if "even" in claim else 1)
    return value != (negation and " not " in claim)


def solve_logic(
    prompt: str,
    *,
    mixed: bool = True,
    primes: bool = True,
    negation: bool = True,
    max_facts: int = 99,
) -> Answer:
    """Order people by the facts given, or test every claim.

    Parameters
    ----------
    prompt : str
        The text.
    mixed : bool, default=True
        Understand that "shorter" turns "taller" round.
    primes : bool, default=True
        Try every divisor up to the root; otherwise only 2, 3 and 5.
    negation : bool, default=True
        Notice "not".
    max_facts : int, default=99
        Facts after these are not read.

    Returns
    -------
    Answer
        A name, or yes or no.
    """
    facts = re.findall(r"([A-Z]\w+) is (\w+) than ([A-Z]\w+)\.", prompt)
    if facts:
        working = tuple(f"{a} is {word} than {b}." for a, word, b in facts[:max_facts])
        name = _solve_ordering(facts[:max_facts], prompt, mixed)
        return Answer(name, working, len(facts) > max_facts)
    body = re.sub(r"Is it true that |Answer yes or no\.|Yes or no: ", "", prompt)
    claims = re.split(r" and | or ", body)
    values = [_holds(claim, primes, negation) for claim in claims[:max_facts]]
    if not values or None in values:
        return UNKNOWN
    truth = any(values) if " or " in body else all(values)
    working = tuple(
        f"{claim.strip(' ?.')}: {'yes' if value else 'no'}."
        for claim, value in zip(claims, values, strict=False)
    )
    return Answer("yes" if truth else "no", working, len(claims) > max_facts)
