"""Texts by what a causal language model makes of them on its way to an answer."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lookahead_sk._device import resolve_device
from lookahead_sk._typing import Float32Array
from lookahead_sk._validation import check_int, reject
from lookahead_sk.routing._language_model._adapters import layers_of
from lookahead_sk.routing._language_model._backbone import (
    LanguageModel,
    check_backbone,
    load_backbone,
)
from lookahead_sk.routing._language_model._batching import within_budget
from lookahead_sk.routing._language_model._tokenizer import Vocabulary

CACHE_FILE = "hidden_states.sqlite"
_TOKENS = {"cpu": 1024}  # of a batch; 32,768 on a GPU


class _Done(Exception):
    """The last layer that is wanted has been computed."""


class HiddenStateEncoder:
    """Encode texts by the middle layers of a causal language model.

    The encoding is the mean, over the layers and over all tokens but the first, of the hidden
    states. It is used as ``encoder=`` of `lookahead_sk.LookaheadRouter` and of the baselines.

    Parameters
    ----------
    backbone : str, path or (model, tokenizer)
        A causal language model: a name, a folder, or a loaded model with its tokenizer.
    layers : sequence of int or None, default=None
        Which layers, counted from 1; None takes those from a third to two thirds of the depth.
        Layers after the last of them are not computed.
    max_length : int, default=1024
        Tokens of a text that are read; of a longer one the middle is left out.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device, default="auto"
        Where the model runs.
    cache_folder : path or None, default=None
        Folder of a file that remembers what was encoded, also for other processes.

    Attributes
    ----------
    max_seq_length : int
        ``max_length``, under the name that sentence encoders have for it.

    Notes
    -----
    The model is loaded at the first call. Copies share it, and it is not pickled unless it was
    given loaded. A router saves no encoder object: give it again to ``from_pretrained``.

    Examples
    --------
    >>> from lookahead_sk import LookaheadRouter
    >>> from lookahead_sk.routing import HiddenStateEncoder
    >>> encoder = HiddenStateEncoder("HuggingFaceTB/SmolLM2-135M", cache_folder="states")
    >>> router = LookaheadRouter(encoder)
    """

    def __init__(
        self,
        backbone: Any,
        *,
        layers: Sequence[int] | None = None,
        max_length: int = 1024,
        device: Any = "auto",
        cache_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        check_backbone(backbone)
        self.backbone = backbone
        self.layers = layers
        self.max_seq_length = check_int(max_length, "max_length", low=1, closed="left")
        self.device = resolve_device(device)
        self.cache_folder = cache_folder
        self._loaded: tuple[LanguageModel, Vocabulary] | None = None

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_loaded": None}

    def _load(self) -> tuple[LanguageModel, Vocabulary]:
        if self._loaded is None:
            model, vocabulary = load_backbone(self.backbone, "causal")
            self._loaded = model.to(self.device).eval(), vocabulary
        return self._loaded

    def _chosen_layers(self, depth: int) -> list[int]:
        if self.layers is None:
            return list(range(max(1, depth // 3), max(1, 2 * depth // 3) + 1))
        chosen = sorted({check_int(layer, "layers", low=1) for layer in self.layers})
        if not chosen or chosen[-1] > depth:
            reject("layers", f"None or numbers from 1 to {depth}", self.layers)
        return chosen

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str
            n texts.

        Returns
        -------
        ndarray of shape (n, d), float32
            One row a text, as wide as the model.
        """
        if isinstance(texts, str):
            reject("texts", "a sequence of strings", texts, kind=TypeError)
        if self.cache_folder is None:
            return self._compute(list(texts))
        keys = [self._key(text) for text in texts]
        with _opened(Path(self.cache_folder)) as store:
            known = _read(store, keys)
            missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
            if missing:
                vectors = self._compute(list(missing.values()))
                new = dict(zip(missing, vectors, strict=True))
                _write(store, new)
                known |= new
        return np.array([known[key] for key in keys], dtype=np.float32)

    def _key(self, text: str) -> bytes:
        """What a cached row depends on, as a digest."""
        model, vocabulary = self._load()
        digest = hashlib.sha256(text.encode("utf-8", "replace"))
        weights = model.trunk.get_input_embeddings().weight
        layers = self._chosen_layers(len(layers_of(model.trunk)))
        for part in (
            str(model.config.to_json_string()),
            vocabulary.tokenizer_json,
            repr((layers, self.max_seq_length)),
            repr(weights[:, 0].double().sum().item()),
        ):
            digest.update(hashlib.sha256(part.encode()).digest())
        return digest.digest()

    def _compute(self, texts: list[str]) -> Float32Array:
        model, vocabulary = self._load()
        limit = self.max_seq_length
        if model.max_positions is not None:
            limit = min(limit, model.max_positions)
        start = [] if vocabulary.bos is None else [vocabulary.bos]
        prompts = vocabulary.encode_prompts(texts, max(1, limit - len(start)))
        tokens = [[*start, *ids] or [vocabulary.pad] for ids in prompts]
        vectors = np.empty((len(texts), model.width), dtype=np.float32)
        budget = _TOKENS.get(self.device.type, 32_768)
        for rows in within_budget(range(len(tokens)), [len(ids) for ids in tokens], budget):
            vectors[rows] = self._mean_states([tokens[row] for row in rows]).cpu().numpy()
        return vectors

    @torch.no_grad()
    def _mean_states(self, tokens: list[list[int]]) -> Tensor:
        """Mean states (n, d) of texts, each given by its tokens."""
        model, vocabulary = self._load()
        lengths = torch.tensor([len(ids) for ids in tokens])
        longest = int(lengths.max())
        padded = [ids + [vocabulary.pad] * (longest - len(ids)) for ids in tokens]
        position = torch.arange(longest)
        is_real = position < lengths[:, None]
        counted = is_real & ((position > 0) | (lengths[:, None] == 1))
        weight = (counted / counted.sum(dim=1, keepdim=True)).unsqueeze(-1).to(self.device)
        trunk = model.trunk
        blocks = layers_of(trunk)
        chosen = self._chosen_layers(len(blocks))
        with _states_of([blocks[layer - 1] for layer in chosen]) as states, suppress(_Done):
            trunk(
                input_ids=torch.tensor(padded).to(self.device),
                attention_mask=is_real.long().to(self.device),
            )
        means = [(state.float() * weight).sum(dim=1) for state in states]
        return torch.stack(means).mean(dim=0)


@contextmanager
def _states_of(blocks: list[Any]) -> Iterator[list[Tensor]]:
    """Outputs of layers in a forward pass, which ends with `_Done` at the last of them."""
    states: list[Tensor] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)
        if len(states) == len(blocks):
            raise _Done

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """The file of remembered rows; others may read and write it at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(folder / CACHE_FILE, timeout=60)) as store:
            store.execute("CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, row BLOB)")
            yield store
    except sqlite3.DatabaseError as error:
        raise OSError(
            f"cache_folder must hold no {CACHE_FILE} but one that this encoder wrote; {folder} "
            f"could not be used. ({error})"
        ) from error


def _read(store: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Float32Array]:
    known = {}
    for key in dict.fromkeys(keys):
        found = store.execute("SELECT row FROM states WHERE key = ?", (key,)).fetchone()
        if found is not None:
            known[key] = np.frombuffer(found[0], dtype="<f4")
    return known


def _write(store: sqlite3.Connection, rows: dict[bytes, Float32Array]) -> None:
    with store:
        store.executemany(
            "INSERT OR REPLACE INTO states VALUES (?, ?)",
            [(key, row.astype("<f4").tobytes()) for key, row in rows.items()],
        )
