"""A file of results that grows while a search runs: JSON, one line for each candidate."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lookahead_sk._validation import reject
from lookahead_sk.optimization._choices import copied
from lookahead_sk.optimization._dimensions import Categorical
from lookahead_sk.optimization._space import Space

_NAME = "results_file"


def check_writable(space: Space) -> None:
    """Raise unless every choice is known again after JSON."""
    for name, dimension in space.variables:
        if not isinstance(dimension, Categorical):
            continue
        for place, choice in enumerate(dimension.choices):
            try:
                read = json.loads(json.dumps(choice, default=_plain))
                is_known = dimension.encode([read], name)[0].argmax() == place
            except (TypeError, ValueError):
                is_known = False
            if not is_known:
                hint = f"JSON does not keep it: search {name!r} without a {_NAME}."
                reject("param_distributions", "made of values of JSON", choice, hint=hint)


def read_file(path: Path) -> dict[str, list[Any]] | None:
    """The results in a file, None while there are none; a line that was cut off is removed.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict of list or None
        Columns as in ``cv_results_``, without those of ranks and single parameters.

    Raises
    ------
    ValueError
        If a line is no result; the message names it.
    OSError
        If the file cannot be read.
    """
    if not path.exists():
        return None
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    rows = []
    for number, line in enumerate(content[:end].splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number) from error
        if not isinstance(row, dict) or not isinstance(row.get("params"), dict):
            raise _damaged(path, number)
        rows.append(row)
    if end < len(content):  # killed in the middle of a line
        os.truncate(path, end)
    if not rows:
        return None
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return {key: [row.get(key, np.nan) for row in rows] for key in keys}


def _damaged(path: Path, number: int) -> ValueError:
    return ValueError(f"{_NAME} must be a file of results; line {number} of {path} is damaged.")


def append(path: Path, results: Mapping[str, Any], rows: Sequence[int]) -> None:
    """Write rows of ``cv_results_`` behind those in a file, and wait until they are on disk."""
    keys = [key for key in results if not key.startswith(("param_", "rank_"))]
    append_rows(path, [{key: copied(results[key][i]) for key in keys} for i in rows])


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows behind those in a file, and wait until they are on disk."""
    lines = "".join(json.dumps(row, default=_plain) + "\n" for row in rows)
    with path.open("a", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return repr(value)  # an estimator, which `check_writable` has found to be known by it
