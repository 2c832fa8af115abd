"""Batches of like lengths, and rows that come back in the order of the texts."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookahead_sk.routing._features._sentence_encoder import (
    _batches,
    _count_tokens,
    encode,
    load_encoder,
)


class Lengths:
    """An encoder that answers with the length of a text, and remembers its batches."""

    max_seq_length = 256

    def __init__(self, kind):
        self.device, self.batches = SimpleNamespace(type=kind), []

    def encode(self, texts, batch_size, **options):
        assert batch_size == len(texts)
        self.batches.append(texts)
        return np.array([[len(text), 1.0] for text in texts])


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@given(sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=80))
def test_every_text_is_encoded_once_and_comes_back_in_its_place(kind, sizes):
    texts = ["a" * size for size in sizes]
    model = Lengths(kind)
    np.testing.assert_array_equal(encode(texts, model)[:, 0], sizes)
    encoded = [text for batch in model.batches for text in batch]
    assert sorted(encoded) == sorted(set(texts))
    tokens = [min(256, max(1, math.ceil(len(text) / 3.5))) for text in encoded]
    assert tokens == sorted(tokens, reverse=True)


def test_a_batch_on_a_cpu_is_of_512_tokens_or_one_text():
    counts = np.array([600, 20, 250, 20, 255])
    assert [batch.tolist() for batch in _batches(counts, 1)] == [[0], [4, 2], [1, 3]]
    assert [batch.size for batch in _batches(np.full(60, 10), 1)] == [51, 9]
    assert [batch.size for batch in _batches(np.full(40, 256), 32)] == [32, 8]


def test_tokens_are_the_encoders_own(encoder):
    texts = ["a", "a b c d", "a b c d " * 500]
    model = load_encoder(encoder, "cpu")
    counts = _count_tokens(texts, model)
    short = model.tokenizer(texts[:2])["input_ids"]
    assert counts.tolist() == [*map(len, short), model.max_seq_length]
