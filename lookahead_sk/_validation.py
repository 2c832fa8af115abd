"""Checks of parameters shared by every estimator, and the words of their errors.

Every message has the form ``{name} must be {what is accepted}; got {value!r}.``
A kind that is wrong raises ``TypeError``, a value that is wrong ``ValueError``.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state


class Words(str):
    """What was got, said in words instead of shown: a message puts no quotes around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def short_repr(value: object, limit: int = 80) -> str:
    """``repr`` of a value, cut so that an error message stays readable."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def reject(
    name: str, accepted: str, value: object, *, kind: type[Exception] = ValueError, hint: str = ""
) -> NoReturn:
    """Raise the house error message for one parameter."""
    message = f"{name} must be {accepted}; got {short_repr(value)}."
    raise kind(f"{message} {hint}" if hint else message)


def _interval(low: float, high: float, closed: str) -> str:
    left = "[" if closed in ("left", "both") and math.isfinite(low) else "("
    right = "]" if closed in ("right", "both") and math.isfinite(high) else ")"
    return f"{left}{low:g}, {high:g}{right}"


def _check_number(
    value: Any, name: str, kind: type, noun: str, low: float, high: float, closed: str
) -> None:
    accepted = f"{noun} in {_interval(low, high, closed)}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, kind):
        reject(name, accepted, value, kind=TypeError)
    number = float(value)  # type: ignore[arg-type]
    above = number >= low if closed in ("left", "both") else number > low
    below = number <= high if closed in ("right", "both") else number < high
    if not (above and below):  # also refuses NaN
        reject(name, accepted, value)


def check_int(
    value: Any, name: str, low: float = -math.inf, high: float = math.inf, closed: str = "both"
) -> int:
    """Return ``value`` as an int inside an interval, or raise.

    Parameters
    ----------
    value : object
        What the user gave.
    name : str
        Name of the parameter, for the message.
    low, high : float, default=-inf and inf
        The interval.
    closed : {"both", "left", "right", "neither"}, default="both"
        Which ends of the interval are accepted.

    Returns
    -------
    int
        The checked value.

    Raises
    ------
    TypeError
        If ``value`` is not an integer.
    ValueError
        If ``value`` lies outside the interval.
    """
    _check_number(value, name, numbers.Integral, "an int", low, high, closed)
    return int(value)


def check_float(
    value: Any, name: str, low: float = -math.inf, high: float = math.inf, closed: str = "both"
) -> float:
    """Return ``value`` as a float inside an interval, or raise; see `check_int`."""
    _check_number(value, name, numbers.Real, "a float", low, high, closed)
    return float(value)


def check_range(value: Any, name: str) -> tuple[float, float]:
    """Return ``value`` as a pair of finite growing floats, or raise."""
    accepted = "a pair of growing finite numbers"
    try:
        low, high = value
    except (TypeError, ValueError):
        reject(name, accepted, value)
    low, high = check_float(low, name), check_float(high, name)
    if not (low < high and math.isfinite(high - low)):
        reject(name, accepted, value)
    return low, high


def check_bool(value: Any, name: str) -> bool:
    """Return ``value`` as a bool, or raise."""
    if not isinstance(value, bool | np.bool_):
        reject(name, "one of True, False", value)
    return bool(value)


def check_seed(random_state: Any) -> np.random.RandomState:
    """Return the generator that ``random_state`` means, or raise."""
    try:
        return check_random_state(random_state)
    except ValueError:
        accepted = "None, an int in [0, 4294967295] or a numpy RandomState"
        reject("random_state", accepted, random_state)


def check_verbose(value: Any) -> int:
    """Return ``verbose``, an int that is not negative or a bool, as an int; or raise."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    return check_int(value, "verbose", low=0)


def is_auto(value: Any) -> bool:
    """Whether a parameter is left to the estimator."""
    return isinstance(value, str) and value == "auto"


def check_choice(value: Any, name: str, options: Iterable[Any]) -> Any:
    """Return ``value`` if it is one of ``options``, or raise ``ValueError`` naming them."""
    accepted = list(options)
    if not any(
        value is option or (isinstance(value, str) and value == option) for option in accepted
    ):
        reject(name, "one of " + ", ".join(repr(option) for option in accepted), value)
    return value


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, pandas' NA or NaT, or a masked value."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _as_floats(values: Any) -> npt.NDArray[np.float64]:
    if hasattr(values, "detach"):  # a tensor, of any device
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise TypeError("complex numbers are not real numbers")
    if array.dtype.kind == "O":
        cells = np.array([_as_number(cell) for cell in array.ravel()], dtype=object)
        array = cells.reshape(array.shape)
    elif array.dtype.kind not in "biuf":  # NumPy would read text, and count days
        raise TypeError(f"{array.dtype} is not a kind of number")
    return array.astype(np.float64)


def _as_number(cell: Any) -> Any:
    """A cell that can be a float: NaN where it holds nothing."""
    if isinstance(cell, str | bytes | np.datetime64 | np.timedelta64):
        raise TypeError(f"{cell!r} is not a number")
    return np.nan if is_missing(cell) else cell


def as_float_array(values: Any, name: str, *, ndim: int | None = None) -> npt.NDArray[np.float64]:
    """Return ``values`` as a new float64 array; NaN and infinity are left to the caller.

    What a masked array masks is NaN, and so are None and pandas' NA.

    Raises
    ------
    ValueError
        If the values are not real numbers or have another number of dimensions.
    """
    try:
        if np.ma.isMaskedArray(values):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        array = _as_floats(values)
    except (OverflowError, TypeError, ValueError) as error:
        message = f"{name} must be an array of numbers; got {short_repr(values)}. ({error})"
        raise ValueError(message) from error
    if ndim is not None and array.ndim != ndim:
        reject(name, f"a {ndim}-D array", Words(f"shape {array.shape}"))
    return array
