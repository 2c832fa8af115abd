"""String edits, letter counts and sorting: prompts, truths and skills."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from lookahead_sk.datasets._solving._answers import UNKNOWN, Answer, pick

WORDS = (
    "lantern", "garden", "balloon", "coffee", "mississippi", "puzzle", "window", "kettle",
    "harbour", "committee", "station", "blanket", "mirror", "pepper", "valley", "engine",
    "butterfly", "accommodation", "orchard", "saddle", "whisper", "compass", "umbrella",
    "cabbage", "rabbit", "village", "thunder", "bookkeeper", "marble", "ladder", "forest",
    "tomorrow", "necessary", "banana", "cinnamon", "parallel", "address", "success", "river",
    "mountain", "letter", "summer", "winter", "pencil", "carrot", "bottle", "castle", "dragon",
    "feather", "guitar", "hammer", "island", "jungle", "kitchen", "lemon", "meadow", "needle",
    "ocean", "parade", "quiver", "ribbon", "silver", "temple", "unicorn", "velvet", "wagon",
    "yellow", "zebra", "assessment", "millennium",
)  # fmt: skip
_VOWELS = "aeiou"

# String edits: phrase, the edit itself for the truth (on str), and a clause to recognise it by


def _drop(text: str, letters: str) -> str:
    return text.translate(str.maketrans("", "", letters))


def _draw_edit(rng: np.random.RandomState, word: str) -> tuple[str, Callable[[str], str]]:
    edit = rng.randint(7)
    old, new = pick(rng, sorted(set(word))), pick(rng, "aeioustx")
    n = int(rng.randint(2, 6))
    edits: list[tuple[str, Callable[[str], str]]] = [
        ("reverse it", lambda text: text[::-1]),
        ("put it in capital letters", str.upper),
        ("remove its vowels", lambda text: _drop(text, "aeiouAEIOU")),
        (f"replace every {old} by {new}", lambda text: text.replace(old, new)),
        (f"keep only its first {n} letters", lambda text: text[:n]),
        ("swap its first and last letter", lambda text: text[-1:] + text[1:-1] + text[:1]),
        ("write every letter twice", lambda text: "".join(letter * 2 for letter in text)),
    ]
    return edits[edit]


_ASK_EDIT = (
    'Take the string "{word}": {edits}. What do you get?',
    'Start from "{word}" and {edits}. Give the resulting string.',
    'What does "{word}" become if you {edits}?',
)


def draw_string_edit(rng: np.random.RandomState) -> tuple[str, str]:
    """One to three edits of one or two words, done in the order given."""
    word = pick(rng, WORDS) + (f" {pick(rng, WORDS)}" if rng.randint(4) == 0 else "")
    text, phrases = word, []
    for _ in range(pick(rng, (1, 1, 2, 2, 3))):
        phrase, edit = _draw_edit(rng, word.replace(" ", ""))
        if phrase in phrases or len(edit(text)) < 2:
            continue
        phrases.append(phrase)
        text = edit(text)
    if not phrases:
        phrases, text = ["reverse it"], word[::-1]
    return pick(rng, _ASK_EDIT).format(word=word, edits=", then ".join(phrases)), text


def _perform(letters: list[str], clause: str) -> list[str] | None:
    """One edit on a list of letters, or None for a clause that is not understood."""
    if "reverse" in clause:
        return [letters[-1 - i] for i in range(len(letters))]
    if "capital" in clause:
        return [letter.upper() for letter in letters]
    if "vowels" in clause:
        return [letter for letter in letters if letter.lower() not in _VOWELS]
    replaced = re.search(r"replace every (\w) by (\w)", clause)
    if replaced:
        return [replaced.group(2) if letter == replaced.group(1) else letter for letter in letters]
    first = re.search(r"first (\d+) letters", clause)
    if first:
        return letters[: int(first.group(1))]
    if "swap" in clause and len(letters) > 1:
        return [letters[-1], *letters[1:-1], letters[0]]
    return [letter for letter in letters for _ in "12"] if "twice" in clause else None


def merge_doubles(text: str) -> str:
    """A text with every doubled letter written once, as one sees it who reads in chunks."""
    return re.sub(r"(\w)\1", r"\1", text)


def solve_string_edit(
    prompt: str, *, n_edits: int = 9, in_order: bool = True, chunk: int | None = None
) -> Answer:
    """Do the edits one after the other.

    Parameters
    ----------
    prompt : str
        The text.
    n_edits : int, default=9
        Only so many edits are done.
    in_order : bool, default=True
        From first to last; otherwise from last to first.
    chunk : int or None, default=None
        Longer strings are read in chunks, in which doubled letters are seen once.

    Returns
    -------
    Answer
        The string with one line of working per edit.
    """
    quoted = re.search(r'"([^"]+)"', prompt)
    if quoted is None:
        return UNKNOWN
    word = quoted.group(1)
    letters = list(merge_doubles(word) if chunk is not None and len(word) > chunk else word)
    clauses = prompt[quoted.end() :].split(", then ")
    doubt, working = len(clauses) > n_edits, []
    for clause in (clauses if in_order else clauses[::-1])[:n_edits]:
        edited = _perform(letters, clause)
        if edited is None:
            doubt = True
            continue
        letters = edited
        done = re.sub(r"^(: | and | become if you )", "", re.split(r"[.?]", clause)[0])
        working.append(f'If you {done}, you get "{"".join(letters)}".')
    return Answer("".join(letters), tuple(working), doubt)


# Letter counts

_ASK_LETTER = (
    'How many times does the letter {letter} occur in "{text}"?',
    'Count the letter {letter} in "{text}".',
    'In the phrase "{text}", how often do you see the letter {letter}?',
)
_ASK_VOWELS = ('How many vowels are there in "{text}"?', 'Count the vowels in "{text}".')


def draw_letter_count(rng: np.random.RandomState) -> tuple[str, Fraction]:
    """How often a letter, or any vowel, stands in a phrase of one to six words."""
    words = [pick(rng, WORDS) for _ in range(pick(rng, (1, 1, 2, 3, 4, 6)))]
    if rng.randint(2):
        words = [word.capitalize() if rng.randint(2) else word for word in words]
    text = " ".join(words)
    if rng.randint(4) == 0:
        truth = sum(text.lower().count(vowel) for vowel in _VOWELS)
        return pick(rng, _ASK_VOWELS).format(text=text), Fraction(truth)
    letter = pick(rng, [letter for letter in text.lower() if letter != " "])
    prompt = pick(rng, _ASK_LETTER).format(letter=letter, text=text)
    return prompt, Fraction(text.lower().count(letter))


def solve_letter_count(
    prompt: str,
    *,
    case: bool = True,
    chunk: int | None = None,
    n_words: int = 99,
    once: bool = False,
    vowels: str = _VOWELS,
) -> Answer:
    """Count word by word.

    Parameters
    ----------
    prompt : str
        The text.
    case : bool, default=True
        Count capitals as the same letter.
    chunk : int or None, default=None
        In longer words, doubled letters are seen once.
    n_words : int, default=99
        Words after these are not looked at.
    once : bool, default=False
        Count a word at most once.
    vowels : str, default="aeiou"
        What counts as a vowel.

    Returns
    -------
    Answer
        The count with one line of working per word.
    """
    quoted = re.search(r'"([^"]+)"', prompt)
    asked = re.search(r"letter (\w)\b", prompt)
    if quoted is None or (asked is None and "vowels" not in prompt):
        return UNKNOWN
    letters = asked.group(1) if asked else vowels
    words = (quoted.group(1).lower() if case else quoted.group(1)).split()
    total, working = 0, []
    for word in words[:n_words]:
        seen = merge_doubles(word) if chunk is not None and len(word) > chunk else word
        count = sum(letter in letters for letter in seen)
        count = min(count, 1) if once else count
        total += count
        working.append(f"{word} has {count}.")
    return Answer(str(total), tuple(working), len(words) > n_words)


# Sorting

_ASK_SORT = (
    "Sort {what} {way}: {items}.",
    "Put {what} in order {way}: {items}.",
    "Here are {what}: {items}. List them {way}, separated by commas.",
)
_NUMBER_WAYS = ("from smallest to largest", "in ascending order")
_NUMBER_WAYS_DOWN = ("from largest to smallest", "in descending order")
_WORD_WAYS = ("alphabetically", "from a to z")
_WORD_WAYS_DOWN = ("in reverse alphabetical order", "from z to a")


def draw_sorting(rng: np.random.RandomState) -> tuple[str, tuple[str, ...]]:
    """Three to twelve numbers or words to be sorted, up or down."""
    n_items, down = int(rng.randint(3, 13)), bool(rng.randint(3) == 0)
    items: list[str]
    if rng.randint(2):
        low, high = pick(rng, ((0, 100), (0, 1000), (-50, 50), (-500, 5000)))
        numbers = rng.randint(low, high, size=n_items).tolist()
        items = [str(number) for number in numbers]
        truth = [str(number) for number in sorted(numbers, reverse=down)]
        what, ways = "these numbers", _NUMBER_WAYS_DOWN if down else _NUMBER_WAYS
    else:
        items = rng.choice(WORDS, size=n_items, replace=bool(rng.randint(2))).tolist()
        truth = sorted(items, reverse=down)
        what, ways = "these words", _WORD_WAYS_DOWN if down else _WORD_WAYS
    prompt = pick(rng, _ASK_SORT).format(what=what, way=pick(rng, ways), items=", ".join(items))
    return prompt, tuple(truth)


def solve_sorting(
    prompt: str,
    *,
    kinds: str = "numbers words",
    down: bool = True,
    key: Callable[[str], object] | None = None,
    sign: bool = True,
    repeats: bool = True,
    max_items: int = 99,
) -> Answer:
    """Sort the list in a prompt by insertion.

    Parameters
    ----------
    prompt : str
        The text.
    kinds : str, default="numbers words"
        What can be sorted.
    down : bool, default=True
        Understand that the order may be reversed.
    key : callable or None, default=None
        What words are compared by; None compares all their letters.
    sign : bool, default=True
        Respect minus signs; otherwise numbers go by their size alone.
    repeats : bool, default=True
        Keep repeated items.
    max_items : int, default=99
        Items after these are appended as they come, with doubt.

    Returns
    -------
    Answer
        The items, separated by commas.
    """
    found = re.search(r": ([^.:]+)\.", prompt)
    kind = "numbers" if "these numbers" in prompt else "words"
    if found is None or kind not in kinds:
        return UNKNOWN
    items = found.group(1).split(", ")
    items = items if repeats else list(dict.fromkeys(items))
    if kind == "numbers":
        order = sorted(items[:max_items], key=lambda item: int(item) if sign else abs(int(item)))
    else:
        order = sorted(items[:max_items], key=key)  # type: ignore[arg-type]
    reverse = re.search(r"largest to|descending|reverse|from z", prompt) is not None
    if reverse and down:
        order.reverse()
    order += items[max_items:]
    working = (f"There are {len(items)} items.", f"The first is {order[0]}.")
    return Answer(", ".join(order), working, len(items) > max_items)
