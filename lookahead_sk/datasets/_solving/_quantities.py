"""Word problems and unit conversions: prompts, truths and skills."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from lookahead_sk.datasets._solving._answers import UNKNOWN, Answer, pick, round_significant, show
from lookahead_sk.datasets._solving._numbers import number_in_words, words_to_digits

# Word problems: a running count, changed by one sentence after the other

_NAMES = ("Nora", "Ben", "Aisha", "Tom", "Ines", "Omar", "Greta", "Luis", "Mei", "Paul")
_THINGS = ("apples", "marbles", "stickers", "candles", "cards", "pencils", "shells", "buttons")
_QUESTIONS = (
    "How many {things} are there now?",
    "How many {things} does {name} have in the end?",
    "What is the number of {things} at the end?",
)


def _number(rng: np.random.RandomState, value: int) -> str:
    return number_in_words(value) if value < 13 and rng.randint(3) == 0 else str(value)


def _draw_start(rng: np.random.RandomState, size: int) -> tuple[str, int]:
    count, boxes = int(rng.randint(5, size)), int(rng.randint(3, 13))
    if rng.randint(3) == 0:
        each = _number(rng, count)
        return f"{{name}} packs {_number(rng, boxes)} boxes with {each} {{things}} in each.", (
            count * boxes
        )
    return pick(rng, ("{{name}} has {} {{things}}.", "{{name}} starts with {} {{things}}.")).format(
        _number(rng, count)
    ), count


def _draw_change(rng: np.random.RandomState, count: int, size: int) -> tuple[str, int]:
    """One more sentence, and the count after it."""
    change = pick(rng, ("gain", "gain", "loss", "loss", "parcels", "takers", "half", "double"))
    if change == "gain":
        gained = int(rng.randint(2, size))
        text = pick(rng, ("{name} buys {} more.", "A friend brings {} extra {things}."))
        return text.replace("{}", _number(rng, gained)), count + gained
    if change == "loss" and count > 4:
        lost = int(rng.randint(1, count // 2 + 1))
        text = pick(rng, ("{name} gives away {} of them.", "Then {} get lost."))
        return text.replace("{}", _number(rng, lost)), count - lost
    if change == "takers" and count >= 12:
        takers = int(rng.randint(2, 6))
        each = int(rng.randint(1, count // (2 * takers) + 1))
        text = f"{_number(rng, takers).capitalize()} children take {_number(rng, each)} each."
        return text, count - takers * each
    if change == "half" and count % 2 == 0:
        return "Half of them are sold.", count // 2
    if change == "double":
        times, word = pick(rng, ((2, "doubles"), (3, "triples")))
        return f"Over the week the number {word}.", count * times
    parcels, each = int(rng.randint(2, 7)), int(rng.randint(2, max(4, size // 4)))
    many = _number(rng, parcels).capitalize()
    text = f"{many} parcels with {_number(rng, each)} {{things}} each arrive."
    return text, count + parcels * each


def _draw_aside(rng: np.random.RandomState) -> str:
    """A sentence with a number that changes nothing."""
    return pick(
        rng,
        (
            f"{{name}} is {rng.randint(7, 60)} years old.",
            f"The walk home takes {rng.randint(5, 50)} minutes.",
            f"The holidays begin in {rng.randint(2, 12)} days.",
        ),
    )


def draw_word_problem(rng: np.random.RandomState) -> tuple[str, Fraction]:
    """A story of one to five steps about a count of things, with an aside in every third."""
    size = pick(rng, (15, 40, 40, 120, 900))
    start, count = _draw_start(rng, size)
    sentences = [start]
    for _ in range(rng.randint(1, 5)):
        text, count = _draw_change(rng, count, size)
        sentences.append(text)
    if rng.randint(3) == 0:
        sentences.insert(rng.randint(1, len(sentences) + 1), _draw_aside(rng))
    people, share = int(rng.randint(2, 10)), pick(rng, _QUESTIONS)
    if count % people == 0 and rng.randint(3) > 0:
        share = f"They are shared equally among {people} friends. How many does each friend get?"
        count //= people
    text = " ".join([*sentences, share])
    return text.format(name=pick(rng, _NAMES), things=pick(rng, _THINGS)), Fraction(count)


Rule = tuple[str, str, Callable[[Fraction, list[int]], Fraction]]

# Cue, name, effect on the count: a solver knows some of the names.
_RULES: tuple[Rule, ...] = (
    (r"boxes with", "boxes", lambda count, n: Fraction(n[0] * n[1])),
    (r"\bhas\b|starts with", "start", lambda count, n: Fraction(n[0])),
    (r"parcels", "parcels", lambda count, n: count + n[0] * n[1]),
    (r"\d+ each", "takers", lambda count, n: count - n[0] * n[1]),
    (r"buys|brings", "gain", lambda count, n: count + n[0]),
    (r"gives away|lost", "loss", lambda count, n: count - n[0]),
    (r"\bhalf\b", "half", lambda count, n: count / 2),
    (r"doubles", "double", lambda count, n: count * 2),
    (r"triples", "double", lambda count, n: count * 3),
    (r"shared equally", "share", lambda count, n: count / n[0]),
)
ALL_RULES = frozenset(name for _, name, _ in _RULES)


def _read_sentence(
    sentence: str, count: Fraction, rules: frozenset[str], unread: str
) -> Fraction | None:
    """The count after a sentence; None if it is not understood and ``unread`` is "doubt"."""
    numbers = [int(digits) for digits in re.findall(r"\d+", sentence)]
    for cue, name, effect in _RULES:
        if name in rules and re.search(cue, sentence):
            try:
                return effect(count, numbers)
            except IndexError:
                break
    if not numbers or unread == "skip" or "how many" in sentence:
        return count
    return count + sum(numbers) if unread == "add" else None


def solve_word_problem(
    prompt: str,
    *,
    rules: frozenset[str] = ALL_RULES,
    unread: str = "skip",
    in_words: bool = True,
    max_sentences: int = 99,
    digits: int | None = None,
) -> Answer:
    """Keep a running count sentence by sentence.

    Parameters
    ----------
    prompt : str
        The text.
    rules : frozenset of str, default=ALL_RULES
        Names of the cues that are understood.
    unread : {"skip", "add", "doubt"}, default="skip"
        What becomes of a sentence with numbers but without a known cue: it is skipped, its
        numbers are added, or it makes the answer doubtful.
    in_words : bool, default=True
        Read number words.
    max_sentences : int, default=99
        Sentences after these are not read.
    digits : int or None, default=None
        Significant digits kept after every step.

    Returns
    -------
    Answer
        The final count with one line of working per sentence.
    """
    text = words_to_digits(prompt) if in_words else prompt.lower()
    sentences = re.split(r"(?<=[.?])\s+", text)
    count, doubt, working = Fraction(0), len(sentences) > max_sentences, []
    for sentence in sentences[:max_sentences]:
        after = _read_sentence(sentence, count, rules, unread)
        if after is None:
            doubt = True
            continue
        if after != count:
            count = round_significant(after, digits)
            working.append(f"{sentence.capitalize()} That makes {show(count)}.")
    return Answer(show(count), tuple(working), doubt)


# Units: factor to the base unit of the quantity

_FACTORS: dict[str, dict[str, Fraction]] = {
    "length": {
        "metres": Fraction(1),
        "kilometres": Fraction(1000),
        "centimetres": Fraction(1, 100),
        "miles": Fraction("1609.344"),
        "feet": Fraction("0.3048"),
        "inches": Fraction("0.0254"),
        "yards": Fraction("0.9144"),
    },
    "mass": {
        "kilograms": Fraction(1),
        "grams": Fraction(1, 1000),
        "pounds": Fraction("0.45359237"),
        "ounces": Fraction("0.028349523125"),
        "tonnes": Fraction(1000),
    },
    "volume": {
        "litres": Fraction(1),
        "millilitres": Fraction(1, 1000),
        "US gallons": Fraction("3.785411784"),
        "US pints": Fraction("0.473176473"),
    },
    "time": {
        "seconds": Fraction(1),
        "minutes": Fraction(60),
        "hours": Fraction(3600),
        "days": Fraction(86400),
    },
}
# What a solver remembers who never looks a factor up.
_ROUGH = {
    "miles": Fraction("1600"), "feet": Fraction("0.3"), "inches": Fraction("0.025"),
    "yards": Fraction("0.9"), "pounds": Fraction("0.5"), "ounces": Fraction("0.03"),
    "US gallons": Fraction(4), "US pints": Fraction("0.5"),
}  # fmt: skip
METRIC = frozenset(
    {"metres", "kilometres", "centimetres", "kilograms", "grams", "tonnes", "litres", "millilitres"}
    | set(_FACTORS["time"])
)
_TEMPERATURES = ("degrees Celsius", "degrees Fahrenheit")
_ALL_UNITS = {unit: group for group in _FACTORS.values() for unit in group}
_ASK_UNITS = (
    "Convert {value} {source} to {target}.",
    "How many {target} are {value} {source}?",
    "Express {value} {source} in {target}, to two decimals.",
)


def draw_units(rng: np.random.RandomState) -> tuple[str, Fraction]:
    """A quantity to be expressed in another unit."""
    value = Fraction(int(rng.randint(2, 2000)), pick(rng, (1, 1, 10)))
    ask = pick(rng, _ASK_UNITS)
    if rng.randint(5) == 0:
        source, target = _TEMPERATURES if rng.randint(2) else _TEMPERATURES[::-1]
        truth = value * 9 / 5 + 32 if source == "degrees Celsius" else (value - 32) * 5 / 9
    else:
        group = _FACTORS[pick(rng, tuple(_FACTORS))]
        source, target = rng.permutation(list(group))[:2].tolist()
        truth = value * group[source] / group[target]
    return ask.format(value=show(value), source=source, target=target), truth


def _read_units(prompt: str) -> tuple[Fraction, str, str] | None:
    number = re.search(r"\d+(?:\.\d+)?", prompt)
    names = (*_ALL_UNITS, *_TEMPERATURES)
    at = {unit: re.search(rf"\b{unit}\b", prompt) for unit in names}
    found = sorted((match.start(), unit) for unit, match in at.items() if match)
    if number is None or len(found) != 2:
        return None
    (first, one), (_, other) = found
    source, target = (one, other) if first > number.start() else (other, one)
    return Fraction(number.group()), source, target


def solve_units(
    prompt: str,
    *,
    known: frozenset[str] | None = None,
    rough: bool = False,
    offset: bool = True,
    digits: int | None = None,
) -> Answer:
    """Convert by a table of factors.

    Parameters
    ----------
    prompt : str
        The text.
    known : frozenset of str or None, default=None
        Units whose factor is known; None knows all, and temperatures.
    rough : bool, default=False
        Use remembered round factors for units that are not metric.
    offset : bool, default=True
        Respect the 32 degrees between the zeros of Celsius and Fahrenheit.
    digits : int or None, default=None
        Significant digits kept.

    Returns
    -------
    Answer
        The value to two decimals.
    """
    read = _read_units(prompt)
    if read is None:
        return UNKNOWN
    value, source, target = read
    if known is not None and not {source, target} <= known:
        return Answer(None, (f"{source} or {target} are not in my table.",), True)
    if source in _TEMPERATURES:
        shift = 32 if offset else 0
        to_celsius = target == "degrees Celsius"
        result = (value - shift) * 5 / 9 if to_celsius else value * 9 / 5 + shift
    else:
        factors = _ALL_UNITS[source] | (_ROUGH if rough else {})
        result = value * factors[source] / factors[target]
    small = abs(result) < 1
    text = show(round_significant(result, digits or (4 if small else None)))
    text = text if digits or small else f"{float(result):.2f}"
    return Answer(text, (f"{show(value)} {source} make {text} {target}.",))
