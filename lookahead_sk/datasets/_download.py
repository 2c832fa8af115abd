"""Download files of one commit of a public GitHub repository, checked, resumable, once.

What a file must be is known from the repository itself: GitHub lists, for the pinned commit, the
size and the git object id of every file, and that id is the SHA-1 of the file's content behind a
short header. A file that does not match is never kept. After a download the SHA-256 is written to a
manifest beside the files, and later reads are checked against that, without a network.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

_CHUNK = 1 << 16
_TIMEOUT = 30.0  # seconds without a byte
_MAX_LISTING = 50 * 2**20  # bytes; a listing of a few hundred files has 100 kB
_MAX_TOTAL = 2**30  # bytes; the published outputs are far below


class Listed(NamedTuple):
    """What GitHub says of a file: its git object id (SHA-1, hexadecimal) and its size in bytes."""

    blob: str
    size: int


def git_blob_id(path: Path) -> str:
    """Git's object id of a file: SHA-1 of ``blob <size>``, a zero byte and the content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


@contextlib.contextmanager
def _opened(url: str, start: int = 0) -> Iterator[Any]:
    request = urllib.request.Request(url, headers={"User-Agent": "lookahead-sk"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        yield response


def _is_passing(error: Exception) -> bool:
    """Whether trying again may help: not after the server said no (4xx, but for 416 and 429)."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (416, 429)
    return isinstance(error, OSError | http.client.HTTPException)


def _persist(action: Callable[[], Any], what: str, n_retries: int, delay: float) -> Any:
    """Run an action that may fail in passing; every failure in the end is an OSError."""
    for attempt in range(n_retries + 1):
        try:
            return action()
        except (OSError, http.client.HTTPException) as error:
            if attempt == n_retries or not _is_passing(error):
                raise OSError(f"{what} could not be downloaded: {error!r}.") from error
            time.sleep(delay)
    return None


@dataclass(frozen=True)
class PinnedRepository:
    """Files of one commit of a GitHub repository, kept in a cache folder.

    Parameters
    ----------
    listing_url : str
        Where GitHub's recursive tree of the commit is read, as JSON.
    raw_url : str
        Prefix of the address of every file.
    cache : Path
        Folder that holds the files at their paths, and ``manifest.json``.
    n_retries : int, default=3
        Further attempts after a passing failure; each goes on where the last one broke off.
    delay : float, default=1.0
        Seconds between attempts.
    """

    listing_url: str
    raw_url: str
    cache: Path
    n_retries: int = 3
    delay: float = 1.0

    @property
    def _manifest_path(self) -> Path:
        return self.cache / "manifest.json"

    def _manifest(self) -> dict[str, dict[str, Any]]:
        try:
            manifest = json.loads(self._manifest_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, RecursionError, ValueError):
            return {}
        same = isinstance(manifest, dict) and manifest.get("source") == self.raw_url
        files = manifest.get("files") if same else None
        if not isinstance(files, dict):
            return {}
        is_whole = {path: isinstance(e, dict) and "sha256" in e for path, e in files.items()}
        return {path: entry for path, entry in files.items() if is_whole[path]}

    def missing(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths that are not in the cache as the manifest recorded them."""
        known = self._manifest()
        return [
            path
            for path in paths
            if path not in known
            or not (self.cache / path).is_file()
            or sha256(self.cache / path) != known[path]["sha256"]
        ]

    def ensure(self, paths: Sequence[str]) -> None:
        """Download what is missing of the paths.

        Raises
        ------
        OSError
            If the network or the server fails, a file is not in the commit, or what arrives is not
            the file that the commit holds.
        """
        missing = self.missing(paths)
        if not missing:
            return
        self.cache.mkdir(parents=True, exist_ok=True)
        listing = self._listing()
        absent = [path for path in missing if path not in listing]
        if absent:
            raise OSError(f"{absent[0]} is not in the listing of {self.listing_url}.")
        total = sum(listing[path].size for path in missing)
        if total > _MAX_TOTAL:
            raise OSError(
                f"The listing announces {total} bytes, more than the limit of {_MAX_TOTAL}."
            )
        with tqdm(total=total, unit="B", unit_scale=True, desc="Downloading", disable=None) as bar:
            for path in missing:
                self._fetch(path, listing[path], bar)

    def _listing(self) -> dict[str, Listed]:
        def read() -> bytes:
            with _opened(self.listing_url) as response:
                text: bytes = response.read(_MAX_LISTING + 1)
            return text

        text = _persist(read, "The repository's listing", self.n_retries, self.delay)
        try:
            listing = json.loads(text)
            files = [entry for entry in listing["tree"] if entry["type"] == "blob"]
            found = {entry["path"]: Listed(entry["sha"], int(entry["size"])) for entry in files}
            if any(file.size < 0 for file in found.values()):
                raise ValueError("a size below 0")
        except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise OSError(f"{self.listing_url} did not answer with a git tree.") from error
        if listing.get("truncated"):
            raise OSError(f"{self.listing_url} answered with a part of the git tree only.")
        return found

    def _fetch(self, path: str, listed: Listed, bar: Any) -> None:
        target = self.cache / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        already = part.stat().st_size if part.exists() else 0
        if not (target.is_file() and git_blob_id(target) == listed.blob):
            url = f"{self.raw_url}/{path}"
            self._complete(url, part, listed, bar)
            if git_blob_id(part) != listed.blob and already:
                # What an earlier run left may be of another file: once more from the start.
                part.unlink()
                self._complete(url, part, listed, bar)
            got = git_blob_id(part)
            if got != listed.blob:
                part.unlink()
                raise OSError(f"{url} has the git id {got}, but the commit says {listed.blob}.")
            os.replace(part, target)
        entry = {"sha256": sha256(target), "git_blob": listed.blob, "bytes": listed.size}
        files = self._manifest() | {path: entry}
        text = json.dumps({"source": self.raw_url, "files": files}, indent=1)
        _write_atomically(self._manifest_path, text)

    def _complete(self, url: str, part: Path, listed: Listed, bar: Any) -> None:
        """Bring the partial file to its full length."""
        if part.exists() and part.stat().st_size > listed.size:
            part.unlink()
        bar.update(part.stat().st_size if part.exists() else 0)
        _persist(
            lambda: _append(url, part, listed.size, bar.update), url, self.n_retries, self.delay
        )


def _append(url: str, part: Path, size: int, advance: Callable[[int], object]) -> None:
    """Download the rest of a file behind what the partial file already has.

    Raises
    ------
    OSError
        If less or more than ``size`` bytes arrive. What arrived in order is kept for another go.
    """
    have = part.stat().st_size if part.exists() else 0
    if have == size and part.exists():
        return
    try:
        with _opened(url, have) as response:
            if have and response.status != 206:  # the server ignores ranges: from the start
                advance(-have)
                have = 0
            elif have and not _continues(response, have):
                raise _WrongRange("the server sent another range than the one asked for")
            have = _receive(response, part, have, size, advance)
    except (_WrongRange, urllib.error.HTTPError) as error:
        if isinstance(error, _WrongRange) or error.code == 416:
            part.unlink(missing_ok=True)
        raise
    if have < size:
        raise OSError(f"the connection broke after {have} of {size} bytes")


class _WrongRange(OSError):
    """What the server sends does not continue the partial file."""


def _continues(response: Any, have: int) -> bool:
    return bool(response.headers.get("Content-Range", "").startswith(f"bytes {have}-"))


def _receive(
    response: Any, part: Path, have: int, size: int, advance: Callable[[int], object]
) -> int:
    """Write a response behind the first ``have`` bytes; the number of bytes then there."""
    with part.open("ab" if have else "wb") as file:
        while chunk := response.read(min(_CHUNK, size - have + 1)):
            have += len(chunk)
            if have > size:
                raise _WrongRange(f"more than the {size} bytes of the file were sent")
            file.write(chunk)
            advance(len(chunk))
    return have
