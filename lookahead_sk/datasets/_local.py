"""Read the published outputs from a local folder of packed files."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lookahead_sk._validation import reject
from lookahead_sk.datasets._published import MODELS, Record, bounded_gzip

VARIABLE = "LOOKAHEAD_SK_DATA"
_PACKED_KEYS = (
    "benchmark", "prompt_id", "prompt", "responses", "response_chars", "scores", "split",
)  # fmt: skip
_POOL_KEYS = ("b", "id", "p", "r", "n", "s", "split")


def first_existing(folder: Path, places: Sequence[str], names: Sequence[str]) -> Path | None:
    """The first of the places below a folder that holds one of the names."""
    for place in places:
        if any((folder / place / name).exists() for name in names):
            return folder / place
    return None


def given_folder(folder: str | os.PathLike[str] | None) -> Path | None:
    """The folder that the caller or the environment names."""
    named = folder if folder is not None else os.environ.get(VARIABLE) or None
    if named is None:
        return None
    origin = "folder" if folder is not None else f"the environment variable {VARIABLE}"
    if not isinstance(named, str | os.PathLike):
        reject(origin, "None, a string or a path", named, kind=TypeError)
    path = Path(named).expanduser()
    if not path.is_dir():
        reject(origin, "an existing folder", str(path), kind=FileNotFoundError)
    return path


def check_row(row: Any, where: str, keys: Sequence[str]) -> Any:
    if not isinstance(row, dict) or any(key not in row for key in keys):
        raise ValueError(f"{where} must be a JSON object with {', '.join(keys)}.")
    lists = [row[key] for key in keys if isinstance(row[key], list)]
    if len(lists) != 3 or any(len(values) != len(MODELS) for values in lists):
        raise ValueError(
            f"{where} must have one response, length and score for each of the models."
        )
    return row


def read_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Place and JSON value of every line of a gzipped file."""
    try:
        with bounded_gzip(path) as file:
            for number, line in enumerate(file, start=1):
                yield f"line {number} of {path}", json.loads(line)
    except (EOFError, gzip.BadGzipFile, RecursionError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} must be gzipped JSON lines; {error}.") from error


def as_scores(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def read_packed(path: Path) -> list[Record]:
    """Records of a packed file NAME.jsonl.gz."""
    records = []
    for where, line in read_lines(path):
        row = check_row(line, where, _PACKED_KEYS)
        record = Record(**{key: row[key] for key in _PACKED_KEYS})
        records.append(
            record._replace(prompt_id=str(record.prompt_id), scores=as_scores(record.scores))
        )
    return records


def read_pool(path: Path) -> list[Record]:
    """Records of a packed pool: a line that names the models, then one line per prompt."""
    lines = read_lines(path)
    where, head = next(lines, ("", None))
    if not isinstance(head, dict) or head.get("models") != list(MODELS):
        raise ValueError(f"The first {where or f'line of {path}'} must name the models {MODELS}.")
    records = []
    for where, line in lines:
        row = check_row(line, where, _POOL_KEYS)
        scores = as_scores(row["s"])
        records.append(
            Record(row["b"], str(row["id"]), row["p"], row["r"], row["n"], scores, row["split"])
        )
    return records
