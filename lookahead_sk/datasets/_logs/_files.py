"""Rows of a log, each a mapping of field to cell: from a file, a folder, a frame or a list."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from lookahead_sk._validation import Words, reject
from lookahead_sk.metrics._tables import column_names, columns_of

Row = Mapping[str, Any]
_PICKLES = (".pkl", ".pickle", ".joblib")
_PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_FIELD_LIMIT = 2**31 - 1  # characters of a csv cell; the default cuts long responses
_DAMAGED = (EOFError, OSError, RecursionError, ValueError, csv.Error, zlib.error)


def read_rows(source: Any) -> list[Row]:
    """Rows of whatever `load_routing` accepts.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ImportError
        If a parquet file is given and pyarrow is not installed.
    TypeError, ValueError
        If the source is of another kind, damaged, empty or a pickle.
    """
    if isinstance(source, str | os.PathLike):
        rows = _read_path(Path(source).expanduser())
    elif column_names(source) is not None:
        rows = _by_row(columns_of(source))
    elif isinstance(source, list | tuple) and all(isinstance(row, Mapping) for row in source):
        rows = list(_flat(source, Path()))
    else:
        accepted = "a path, a DataFrame, or a list of mappings of field to value"
        reject("source", accepted, source, kind=TypeError)
    if not rows:
        reject("source", "a log of at least one row", Words("none"))
    return rows


def _by_row(columns: Mapping[Any, list[Any]]) -> list[Row]:
    names = [str(name) for name in columns]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _read_path(path: Path) -> list[Row]:
    if not path.exists():
        reject("source", "an existing file or folder", str(path), kind=FileNotFoundError)
    if path.is_file():
        return _read_file(path)
    files = sorted(file for file in path.rglob("*") if _kind(file) in (".json", ".jsonl"))
    return [row for file in files for row in _read_file(file)]


def _kind(path: Path) -> str:
    """Suffix of a file, without that of gzip."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _read_file(path: Path) -> list[Row]:
    kind = _kind(path)
    if kind in _PICKLES:
        _refuse_pickle(path)
    if kind not in _READERS:
        accepted = f"a file that ends in {', '.join(_READERS)}, or in one of these and .gz"
        reject("source", accepted, path.name)
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.name.lower().endswith(".gz") else content
        is_pickle = content.startswith(_PICKLE_STARTS)
        rows = [] if is_pickle else list(_READERS[kind](content, path))
    except _DAMAGED as error:
        raise ValueError(f"source cannot be read: {path} is no {kind} file; {error}.") from error
    if is_pickle:
        _refuse_pickle(path)
    return rows


def _refuse_pickle(path: Path) -> NoReturn:
    copy = f"{path.name.split('.')[0]}.parquet"
    hint = (
        f"A pickle can run code when it is read. Take {copy!r} from its publisher, or write it "
        f"where you trust the pickle: pandas.read_pickle({path.name!r}).to_parquet({copy!r})."
    )
    reject("source", "a csv, json, jsonl or parquet file", path.name, hint=hint)


def _read_csv(content: bytes, path: Path) -> Iterable[Row]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    finally:
        csv.field_size_limit(before)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has another number of cells than the first row")
    return rows


def _read_jsonl(content: bytes, path: Path) -> Iterable[Row]:
    # Not splitlines: texts may hold other marks that end a line, such as U+2028.
    lines = [line for line in content.decode("utf-8-sig").split("\n") if line.strip()]
    return _flat([json.loads(line) for line in lines], path)


def _read_json(content: bytes, path: Path) -> Iterable[Row]:
    value = json.loads(content.decode("utf-8-sig"))
    return _flat([value] if isinstance(value, dict) else value, path)


def _read_parquet(content: bytes, path: Path) -> Iterable[Row]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError(
            'Parquet files need pyarrow: pip install "lookahead-sk[parquet]"'
        ) from error
    table = parquet.read_table(arrow.BufferReader(content))
    return _by_row(columns_of(table))


_READERS = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
}


def _flat(values: Any, path: Path) -> Iterable[Row]:
    """Rows, where an object with ``records`` stands for these, one by one.

    So are the files of LLMRouterBench: ``dataset/split/model/time.json``.
    """
    if not isinstance(values, list | tuple):
        raise ValueError(f"a list of objects was expected, not {type(values).__name__}")
    for value in values:
        if not isinstance(value, Mapping):
            raise ValueError(f"an object was expected in each row, not {type(value).__name__}")
        records = value.get("records")
        if not isinstance(records, list):
            yield value
            continue
        shared = {"model_name": path.parent.name, "dataset_name": path.parent.parent.parent.name}
        shared |= {key: value[key] for key in shared if key in value}
        for record in _flat(records, path):
            yield {**shared, **record}
