"""A sentence encoder that remembers on disk what it has encoded, so that folds do not repeat it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lookahead_sk.routing._features._sentence_encoder import load_encoder

UNSAVED = 2048  # texts that may be lost


class CachedEncoder:
    """An encoder behind a cache: one float16 file per token limit, written as it grows.

    Parameters
    ----------
    folder : Path
        Where the cache lies; made when missing. Another encoder needs another folder.
    source : path, optional
        Folder of the encoder; the packaged MiniLM when not given.
    """

    def __init__(self, folder: Path, source: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.source = None if source is None else str(source)
        self.max_seq_length: int = load_encoder(self.source, "auto").max_seq_length
        self._forget()

    def _forget(self) -> None:
        self._known: dict[int, dict[str, npt.NDArray[np.float16]]] = {}
        self._n_unsaved = 0

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # clones share the cache

    def __getstate__(self) -> dict[str, Any]:
        """Another process reads the files; what it adds, it keeps for itself."""
        return {name: getattr(self, name) for name in ("folder", "source", "max_seq_length")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _load(self, limit: int) -> dict[str, npt.NDArray[np.float16]]:
        if limit not in self._known:
            self._known[limit] = {}
            path = self.folder / f"minilm-{limit}.npz"
            if path.exists():
                stored = np.load(path)
                vectors = stored["vectors"]
                self._known[limit] = dict(zip(stored["keys"].tolist(), vectors, strict=True))
        return self._known[limit]

    def save(self) -> None:
        """Write all files."""
        self._n_unsaved = 0
        for limit, known in self._known.items():
            path = self.folder / f"minilm-{limit}.npz"
            temporary = path.with_suffix(".part.npz")
            np.savez(temporary, keys=np.array(list(known)), vectors=np.array(list(known.values())))
            temporary.replace(path)

    def prepare(self, texts: Iterable[str], limit: int | None = None) -> None:
        """Encode many texts at once, cut at a number of tokens."""
        own, self.max_seq_length = self.max_seq_length, limit or self.max_seq_length
        distinct = list(dict.fromkeys(texts))
        for start in range(0, len(distinct), UNSAVED):
            self.encode(distinct[start : start + UNSAVED])
        self.max_seq_length = own
        self.save()

    def encode(self, texts: list[str], **options: Any) -> npt.NDArray[np.float32]:
        """Embeddings of unit norm, (n, 384); what is new is encoded and stored."""
        limit = self.max_seq_length
        known = self._load(limit)
        keys = [hashlib.sha1(text.encode("utf-8", "replace")).hexdigest() for text in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
        if missing:
            model = load_encoder(self.source, "auto")
            own, model.max_seq_length = model.max_seq_length, limit
            vectors = model.encode(
                list(missing.values()), normalize_embeddings=True, show_progress_bar=False
            )
            model.max_seq_length = own
            known.update(zip(missing, vectors.astype(np.float16), strict=True))
            self._n_unsaved += len(missing)
        if self._n_unsaved >= UNSAVED:
            self.save()
        return np.array([known[key] for key in keys], dtype=np.float32)
