"""A sentence encoder that remembers on disk what it has encoded, so that folds do not repeat it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lookahead_sk.routing._features._sentence_encoder import load_encoder

CHUNK = 512


class CachedEncoder:
    """The packaged encoder behind a cache: one float16 file per token limit, written as it grows.

    Parameters
    ----------
    folder : Path
        Where the cache lies; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.model = load_encoder(None, "auto")
        self.max_seq_length: int = self.model.max_seq_length
        self._known: dict[int, dict[str, npt.NDArray[np.float16]]] = {}

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # clones share the cache

    def _load(self, limit: int) -> dict[str, npt.NDArray[np.float16]]:
        if limit not in self._known:
            self._known[limit] = {}
            path = self.folder / f"minilm-{limit}.npz"
            if path.exists():
                stored = np.load(path)
                vectors = stored["vectors"]
                self._known[limit] = dict(zip(stored["keys"].tolist(), vectors, strict=True))
        return self._known[limit]

    def _save(self, limit: int) -> None:
        known = self._known[limit]
        path = self.folder / f"minilm-{limit}.npz"
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, keys=np.array(list(known)), vectors=np.array(list(known.values())))
        temporary.replace(path)

    def encode(self, texts: list[str], **options: Any) -> npt.NDArray[np.float32]:
        """Embeddings of unit norm, (n, 384); what is new is encoded and stored."""
        limit = self.max_seq_length
        known = self._load(limit)
        keys = [hashlib.sha1(text.encode()).hexdigest() for text in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
        names = list(missing)
        for start in range(0, len(names), CHUNK):
            part = names[start : start + CHUNK]
            self.model.max_seq_length = limit
            vectors = self.model.encode(
                [missing[name] for name in part], normalize_embeddings=True, batch_size=32
            )
            known.update(zip(part, vectors.astype(np.float16), strict=True))
            if start // CHUNK % 8 == 7 or start + CHUNK >= len(names):
                self._save(limit)
                print(f"encoded {start + len(part)} of {len(names)} texts", flush=True)
        return np.array([known[key] for key in keys], dtype=np.float32)
