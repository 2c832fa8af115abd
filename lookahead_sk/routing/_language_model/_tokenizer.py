"""From text to token ids and back, without a tokenizer class that could run foreign code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lookahead_sk._validation import reject

CHARACTERS_PER_TOKEN = 16  # no more of a response is tokenised for each token that is kept


@dataclass
class Vocabulary:
    """A fast tokenizer as JSON, and the ids of its special tokens; None where it has none.

    Attributes
    ----------
    tokenizer_json : str
        What ``tokenizers.Tokenizer.to_str`` writes.
    cls, sep, mask, bos, eos : int or None
        Special tokens. ``bos`` is None for a tokenizer that does not put it in front of texts.
    pad : int
        Any id: padding is masked out.
    """

    tokenizer_json: str
    cls: int | None
    sep: int | None
    mask: int | None
    bos: int | None
    eos: int | None
    pad: int
    _tokenizer: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_tokenizer": None}

    @property
    def tokenizer(self) -> Any:
        """The tokenizer itself, built when first asked for."""
        if self._tokenizer is None:
            from tokenizers import Tokenizer

            built = Tokenizer.from_str(self.tokenizer_json)
            built.no_truncation()
            built.no_padding()
            built.encode_special_tokens = True  # "[SEP]" in a prompt is just text
            self._tokenizer = built  # whole, for other threads that look at it
        return self._tokenizer

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, without special tokens."""
        # A lone surrogate cannot be tokenised; it is replaced by a question mark.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encodings = self.tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        return [list(encoding.ids) for encoding in encodings]

    def encode_prompts(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Token ids of prompts; of one that is too long the two ends are kept."""
        return [keep_ends(ids, limit) for ids in self.encode(texts)]

    def encode_starts(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """The first token ids of responses."""
        starts = [text[: limit * CHARACTERS_PER_TOKEN] for text in texts]
        return [ids[:limit] for ids in self.encode(starts)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; special tokens are left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


def keep_ends(ids: list[int], limit: int) -> list[int]:
    """Cut the middle out of ids that are longer than a limit.

    Examples
    --------
    >>> keep_ends([1, 2, 3, 4, 5, 6], 3)
    [1, 2, 6]
    """
    if len(ids) <= limit:
        return ids
    tail = limit // 2
    return ids[: limit - tail] + ids[len(ids) - tail :]


def read_vocabulary(tokenizer: Any) -> Vocabulary:
    """Take from a Hugging Face tokenizer all that is needed of it.

    Raises
    ------
    TypeError
        If it is no fast tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        accepted = "a name, a path, or (model, tokenizer) with a fast tokenizer"
        reject("backbone", accepted, tokenizer, kind=TypeError)
    bos = tokenizer.bos_token_id
    starts_with_bos = bos is not None and tokenizer("a").input_ids[:1] == [bos]
    pad = tokenizer.pad_token_id
    return Vocabulary(
        tokenizer_json=backend.to_str(),
        cls=tokenizer.cls_token_id,
        sep=tokenizer.sep_token_id,
        mask=tokenizer.mask_token_id,
        bos=bos if starts_with_bos else None,
        eos=tokenizer.eos_token_id,
        pad=0 if pad is None else pad,
    )
