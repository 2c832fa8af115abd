"""Arithmetic, sequences and Roman numerals: prompts, truths and skills."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

import numpy as np

from lookahead_sk.datasets._solving._answers import (
    UNKNOWN,
    Answer,
    pick,
    read_number,
    round_significant,
    show,
)

Tree = int | tuple[str, "Tree", "Tree"]

_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}
_SYMBOLS = (
    {"+": "+", "-": "-", "*": "*", "/": "/"},
    {"+": "+", "-": "-", "*": "×", "/": "÷"},
    {"+": "plus", "-": "minus", "*": "times", "/": "divided by"},
)
_ASK_VALUE = (
    "What is {}?",
    "Compute {}.",
    "Evaluate the expression {} and give the result.",
    "I need the value of {}, please.",
    "Work out {} for me.",
    "How much is {}?",
)
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_in_words(value: int) -> str:
    """A number from 0 to 99 in words."""
    if value < 20:
        return _UNITS[value]
    tens, rest = divmod(value, 10)
    return _TENS[tens - 2] + (f"-{_UNITS[rest]}" if rest else "")


_WORD_VALUES = {number_in_words(value): str(value) for value in range(100)}
_WORD_PATTERN = re.compile(r"\b(" + "|".join(sorted(_WORD_VALUES, key=len, reverse=True)) + r")\b")


def words_to_digits(text: str) -> str:
    """The text with number words from zero to ninety-nine written in digits."""
    return _WORD_PATTERN.sub(lambda match: _WORD_VALUES[match.group()], text.lower())


# Arithmetic


def _draw_tree(rng: np.random.RandomState, n_operations: int, digits: int) -> Tree:
    if n_operations == 0:
        return int(rng.randint(2, 10**digits))
    operation = pick(rng, "++--**/")
    if operation == "/" and n_operations == 1:
        divisor = int(rng.randint(2, 13))
        return ("/", divisor * int(rng.randint(2, 10**digits)), divisor)
    left = int(rng.randint(n_operations))
    operation = "-" if operation == "/" else operation
    return (
        operation,
        _draw_tree(rng, left, digits),
        _draw_tree(rng, n_operations - 1 - left, digits),
    )


def tree_value(tree: Tree) -> Fraction:
    """The exact value of an expression tree."""
    if isinstance(tree, int):
        return Fraction(tree)
    left, right = tree_value(tree[1]), tree_value(tree[2])
    if tree[0] == "+":
        return left + right
    if tree[0] == "-":
        return left - right
    return left * right if tree[0] == "*" else left / right


def write_tree(tree: Tree, symbols: dict[str, str], in_words: bool = False) -> str:
    """An expression tree as text, with the parentheses it needs and no others."""
    if isinstance(tree, int):
        return number_in_words(tree) if in_words and tree < 100 else str(tree)
    operation, left, right = tree
    parts = []
    for child, is_right in ((left, False), (right, True)):
        text = write_tree(child, symbols, in_words)
        if not isinstance(child, int):
            tie = _RANK[child[0]] == _RANK[operation] and is_right and operation in "-/"
            if _RANK[child[0]] < _RANK[operation] or tie:
                text = f"({text})"
        parts.append(text)
    return f"{parts[0]} {symbols[operation]} {parts[1]}"


def draw_arithmetic(rng: np.random.RandomState) -> tuple[str, Fraction]:
    """An expression of one to five operations on numbers of one to five digits."""
    digits = pick(rng, (1, 1, 2, 2, 2, 3, 3, 4, 5))
    tree = _draw_tree(rng, pick(rng, (1, 1, 2, 2, 3, 3, 4, 5)), digits)
    symbols = _SYMBOLS[rng.randint(3)]
    text = write_tree(tree, symbols, in_words=bool(rng.randint(2)) and symbols["+"] == "plus")
    return pick(rng, _ASK_VALUE).format(text), tree_value(tree)


def read_expression(prompt: str, *, in_words: bool = True) -> list[str] | None:
    """The tokens of the expression in a prompt, or None if no operation is found."""
    text = words_to_digits(prompt) if in_words else prompt.lower()
    for word, sign in (("plus", "+"), ("minus", "-"), ("times", "*"), ("divided by", "/")):
        text = text.replace(word, sign)
    text = text.replace("×", "*").replace("÷", "/")
    tokens = re.findall(r"\d+|[-+*/()]", text)
    shape = "".join("n" if token.isdigit() else token for token in tokens)
    shape = shape.replace("(", "").replace(")", "")
    return tokens if re.fullmatch(r"n([-+*/]n)+", shape) else None


def _apply(left: Fraction, sign: str, right: Fraction, digits: int | None) -> Fraction:
    if sign == "/":
        return round_significant(left / right if right else Fraction(0), digits)
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return round_significant(value, digits)


def calculate(
    tokens: list[str], *, precedence: bool, digits: int | None, working: list[str]
) -> Fraction:
    """Value of the tokens, innermost parentheses first, every step written to ``working``."""
    while "(" in tokens:
        close = tokens.index(")")
        start = max(i for i in range(close) if tokens[i] == "(")
        inner = calculate(
            tokens[start + 1 : close], precedence=precedence, digits=digits, working=working
        )
        tokens = [*tokens[:start], str(inner), *tokens[close + 1 :]]
    for signs in ("*/", "+-") if precedence else ("*/+-",):
        position = 1
        while position < len(tokens) - 1:
            if tokens[position] not in signs:
                position += 2
                continue
            left, right = Fraction(tokens[position - 1]), Fraction(tokens[position + 1])
            value = _apply(left, tokens[position], right, digits)
            working.append(f"{show(left)} {tokens[position]} {show(right)} = {show(value)}")
            tokens = [*tokens[: position - 1], str(value), *tokens[position + 2 :]]
    return Fraction(tokens[0])


def solve_arithmetic(
    prompt: str,
    *,
    precedence: bool = True,
    parentheses: bool = True,
    digits: int | None = None,
    in_words: bool = True,
    max_tokens: int = 99,
) -> Answer:
    """Evaluate the expression in a prompt.

    Parameters
    ----------
    prompt : str
        The text.
    precedence : bool, default=True
        Multiply and divide first; False works strictly from left to right.
    parentheses : bool, default=True
        Respect parentheses; False overlooks them.
    digits : int or None, default=None
        Significant digits kept after every operation; None is exact.
    in_words : bool, default=True
        Read number words.
    max_tokens : int, default=99
        Longer expressions are answered with doubt.

    Returns
    -------
    Answer
        The value with one line of working per operation.
    """
    tokens = read_expression(prompt, in_words=in_words)
    if tokens is None:
        return UNKNOWN
    doubt = len(tokens) > max_tokens
    if not parentheses:
        tokens = [token for token in tokens if token not in "()"]
    working: list[str] = []
    value = calculate(tokens, precedence=precedence, digits=digits, working=working)
    return Answer(show(value), tuple(working), doubt)


# Sequences

_ASK_NEXT = (
    "What number comes next: {}, ...?",
    "Continue the sequence {} with its next term.",
    "Find the next number in the series {}.",
)


def _draw_terms(rng: np.random.RandomState, rule: str) -> list[int]:
    start, step = int(rng.randint(1, 40)), int(rng.randint(2, 15))
    n_terms = int(rng.randint(5, 8))
    if rule == "linear":
        return [start + step * i for i in range(n_terms)]
    if rule == "geometric":
        return [(1 + start % 6) * (2 + step % 3) ** i for i in range(n_terms)]
    if rule == "quadratic":
        return [start + step * i + (1 + step % 4) * i * i for i in range(n_terms)]
    if rule == "alternating":
        return [
            start + step * (i // 2) if i % 2 == 0 else 2 * step + 3 * (i // 2) for i in range(7)
        ]
    terms = [start % 9 + 1, step]
    while len(terms) < n_terms:
        terms.append(terms[-1] + terms[-2])
    return terms


def draw_sequence(rng: np.random.RandomState) -> tuple[str, Fraction]:
    """The first terms of a linear, geometric, quadratic, alternating or Fibonacci-like sequence."""
    rule = pick(rng, ("linear", "linear", "geometric", "quadratic", "alternating", "fibonacci"))
    terms = _draw_terms(rng, rule)
    if rule == "linear" and rng.randint(2):
        terms = terms[::-1]
    shown = ", ".join(str(term) for term in terms[:-1])
    return pick(rng, _ASK_NEXT).format(shown), Fraction(terms[-1])


def _guess_next(terms: list[int], rule: str) -> int | None:
    """Next term if the terms follow the rule, else None."""
    differences = [b - a for a, b in pairwise(terms)]
    if rule == "linear":
        return terms[-1] + differences[-1] if len(set(differences)) == 1 else None
    if rule == "geometric":
        ratio = Fraction(terms[1], terms[0]) if terms[0] else Fraction(0)
        fits = all(b == a * ratio for a, b in pairwise(terms))
        return int(terms[-1] * ratio) if fits else None
    if rule == "quadratic":
        following = _guess_next(differences, "linear")
        return None if following is None else terms[-1] + following
    if rule == "fibonacci":
        fits = all(terms[i] == terms[i - 1] + terms[i - 2] for i in range(2, len(terms)))
        return terms[-1] + terms[-2] if fits else None
    ours = terms[len(terms) % 2 :: 2]
    return _guess_next(ours, "linear") if len(ours) > 2 else None


def solve_sequence(prompt: str, *, rules: tuple[str, ...], digits: int | None = None) -> Answer:
    """Try the rules in turn; when none fits, repeat the last difference, with doubt."""
    terms = [int(term) for term in re.findall(r"-?\d+", prompt)]
    if len(terms) < 4:
        return UNKNOWN
    for rule in rules:
        following = _guess_next(terms, rule)
        if following is not None:
            value = round_significant(Fraction(following), digits)
            return Answer(show(value), (f"The terms look {rule}.",))
    value = round_significant(Fraction(2 * terms[-1] - terms[-2]), digits)
    return Answer(show(value), ("No rule fits, so the last difference is repeated.",), True)


# Roman numerals

_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
    (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip
_DECIMAL_DIGITS = (
    ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"),
    ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"),
    ("", "C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM"),
    ("", "M", "MM", "MMM"),
)
_ASK_ROMAN = ("Write {} in Roman numerals.", "What is {} as a Roman numeral?")
_ASK_DECIMAL = (
    "What number is the Roman numeral {}?",
    "Convert the Roman numeral {} to an ordinary number.",
)


def draw_roman(rng: np.random.RandomState) -> tuple[str, str]:
    """A number to be written in Roman numerals or read from them; the truth is the answer."""
    value = int(rng.randint(1, pick(rng, (40, 400, 4000))))
    digits = [int(digit) for digit in reversed(str(value))]
    roman = "".join(reversed([_DECIMAL_DIGITS[i][digit] for i, digit in enumerate(digits)]))
    if rng.randint(2):
        return pick(rng, _ASK_ROMAN).format(value), roman
    return pick(rng, _ASK_DECIMAL).format(roman), str(value)


def _to_roman(value: int, table: tuple[tuple[int, str], ...]) -> str:
    text = ""
    for worth, letters in table:
        text += letters * (value // worth)
        value %= worth
    return text


def _from_roman(roman: str, subtractive: bool) -> int:
    table = {letters: worth for worth, letters in _ROMAN}
    worths = [table[letter] for letter in roman]
    total = 0
    for worth, following in zip(worths, [*worths[1:], 0], strict=True):
        total += -worth if subtractive and worth < following else worth
    return total


def solve_roman(
    prompt: str, *, subtractive: bool = True, largest: int = 4000, digits: int | None = None
) -> Answer:
    """Write or read a Roman numeral; without ``subtractive``, IX is 11 and nine is VIIII.

    Above ``largest`` only the thousands and hundreds are taken care of.
    """
    match = re.search(r"\b[MDCLXVI]+\b", prompt)
    if match:
        value = _from_roman(match.group(), subtractive)
        if value > largest:
            value -= value % 100
        kept = round_significant(Fraction(value), digits)
        return Answer(show(kept), (f"{match.group()} adds up to {value}.",), value > largest)
    number = read_number(prompt)
    if number is None:
        return UNKNOWN
    value = int(round_significant(number, digits))
    if value > largest:
        value -= value % 100
    table = _ROMAN if subtractive else tuple(pair for pair in _ROMAN if len(pair[1]) == 1)
    return Answer(_to_roman(value, table), (f"{value} is split by worth.",), value > largest)
