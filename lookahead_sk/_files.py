"""Files that a kill or a full disk leaves as they were: written aside, synced, put in place."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKSUM = "checksum"
# What content of the wrong kind or shape raises somewhere on its way into an estimator.
SENSELESS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders, and does not need this
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network disks cannot
        pass
    finally:
        os.close(descriptor)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path``, then put it in its place.

    Parameters
    ----------
    path : Path
        It changes only when all of the new file is on disk; a failure leaves nothing else behind.
    write : callable
        Called with the path of the file to make.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    scratch = Path(name)
    try:
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_mask()
        write(scratch)
        scratch.chmod(mode & 0o777)  # mkstemp makes a private file
        sync(scratch)
        scratch.replace(path)
        sync(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 of a JSON object without its own checksum."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def with_checksum(content: dict[str, Any]) -> dict[str, Any]:
    """The same object with a checksum, by which chance damage is found when it is read."""
    return {**content, CHECKSUM: checksum(content)}


def parse_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def check_content(content: dict[str, Any], keys: set[str]) -> None:
    """Raise ``ValueError`` for an object that lacks entries, has others, or was altered.

    Objects of earlier releases have no checksum.
    """
    missing, unknown = sorted(keys - content.keys()), sorted(content.keys() - keys - {CHECKSUM})
    if missing or unknown:
        raise ValueError(f"no entries {missing}" if missing else f"unknown entries {unknown}")
    if CHECKSUM in content and content[CHECKSUM] != checksum(content):
        raise ValueError("its checksum is another")
