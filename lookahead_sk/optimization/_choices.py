"""Which values mean the same choice, and choices as JSON.

A choice comes back from a log, a DataFrame, a JSON file or NumPy as another object than the one in
the search space: as ``np.str_``, as a list instead of a tuple, as NaN instead of None.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from lookahead_sk._validation import reject

_DIGITS = 12  # of a number in a sequence, by which it is told from others
_CLOSE = 1e-9  # relative difference of two numbers that are the same
_MISSING = ("missing",)
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def copied(choice: Any) -> Any:
    """The choice with containers of its own, so that no caller changes another's."""
    if isinstance(choice, np.ndarray):
        return choice.copy()
    if type(choice) is list:
        return [copied(part) for part in choice]
    if type(choice) is tuple:
        parts = tuple(copied(part) for part in choice)
        is_same = all(part is old for part, old in zip(parts, choice, strict=True))
        return choice if is_same else parts
    if type(choice) is dict:
        return {key: copied(value) for key, value in choice.items()}
    return choice


def strict_key(choice: Any) -> Any:
    """Hashable, the same for two values that are equal and of one kind."""
    if choice is None:
        return ("none",)
    if isinstance(choice, np.ndarray) and choice.ndim == 0:
        return strict_key(choice.item())
    if isinstance(choice, bool | np.bool_):
        return ("bool", bool(choice))
    if isinstance(choice, str):
        return ("str", str(choice))
    if isinstance(choice, numbers.Real | np.number | Decimal) and not isinstance(choice, complex):
        return ("nan",) if choice != choice else ("number", choice)
    if isinstance(choice, Mapping):
        return ("dict", frozenset((strict_key(k), strict_key(v)) for k, v in choice.items()))
    if isinstance(choice, tuple | list | np.ndarray):
        kind = "tuple" if isinstance(choice, tuple) else type(choice).__name__
        return (kind, *map(strict_key, choice))
    try:
        hash(choice)
    except TypeError:
        return ("identity", id(choice))
    return ("object", choice)


def lenient_key(choice: Any) -> Any:
    """Hashable, the same for values that a log or a table makes of one and the same."""
    key = strict_key(choice)
    kind = key[0]
    if kind in ("none", "nan") or type(choice).__name__ in ("NAType", "NaTType"):
        return _MISSING
    if kind == "number":
        return ("number", float(f"{float(choice):.{_DIGITS}g}"))
    if kind == "dict":
        return ("dict", frozenset((lenient_key(k), lenient_key(v)) for k, v in choice.items()))
    if isinstance(choice, tuple | list) or (isinstance(choice, np.ndarray) and choice.ndim):
        return ("sequence", *map(lenient_key, choice))
    if kind in ("object", "identity") and not _ADDRESS.search(repr(choice)):
        return ("described", type(choice), repr(choice))
    return key


def distinct(choices: Iterable[Any]) -> tuple[Any, ...]:
    """The choices without repetitions: of two that are the same only one can be told."""
    kept: dict[Any, Any] = {}
    for choice in choices:
        kept.setdefault(strict_key(choice), choice)
    return tuple(kept.values())


class ChoiceIndex:
    """Places of choices by value.

    Parameters
    ----------
    choices : tuple
        Distinct choices.
    """

    def __init__(self, choices: tuple[Any, ...]) -> None:
        self._strict: dict[Any, int] = {}
        self._lenient: dict[Any, int] = {}
        self._described: dict[str, int] = {}  # objects by what a file of text keeps of them
        self._numbers: list[tuple[float, int]] = []
        for place, choice in enumerate(choices):
            key = strict_key(choice)
            self._strict.setdefault(key, place)
            self._lenient.setdefault(lenient_key(choice), place)
            if key[0] == "number":
                self._numbers.append((float(choice), place))
            if key[0] in ("object", "identity") and not _ADDRESS.search(repr(choice)):
                self._described.setdefault(repr(choice), place)

    def find(self, value: Any) -> int | None:
        """Place of the choice that a value stands for, None for a value that is none."""
        key = strict_key(value)
        place = self._strict.get(key)
        if place is None:
            place = self._lenient.get(lenient_key(value))
        if place is None and key[0] == "number":
            number = float(value)
            close = (p for c, p in self._numbers if math.isclose(c, number, rel_tol=_CLOSE))
            place = next(close, None)
        if place is None and key[0] == "str":
            place = self._described.get(value)
        return place


def choice_as_json(choice: Any) -> Any:
    """A choice as JSON that `choice_from_json` reads as the same type."""
    if isinstance(choice, tuple):
        return {"tuple": [choice_as_json(c) for c in choice]}
    if isinstance(choice, list):
        return [choice_as_json(c) for c in choice]
    if isinstance(choice, np.ndarray) and choice.dtype.kind in "biufU":
        return {"array": choice.tolist()}
    if isinstance(choice, dict):
        return {"dict": [[choice_as_json(k), choice_as_json(v)] for k, v in choice.items()]}
    if isinstance(choice, np.generic):
        choice = choice.item()
    if choice is not None and type(choice) not in (bool, int, float, str):
        accepted = "made of numbers, strings, None, tuples, lists, dicts and arrays to be saved"
        return reject("bounds", f"choices {accepted}", choice)
    return choice


def choice_from_json(value: Any) -> Any:
    """The choice that `choice_as_json` wrote."""
    if isinstance(value, list):
        return [choice_from_json(v) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(choice_from_json(v) for v in content)
    if kind == "dict":
        return {choice_from_json(k): choice_from_json(v) for k, v in content}
    if kind != "array":
        reject("choice", "a tuple, a dict or an array", kind)
    return np.array(content)
