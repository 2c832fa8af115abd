"""Hidden states as an encoder: against transformers' own, cached or not."""

import pickle

import numpy as np
import pytest
import torch
from _tiny_models import tiny
from sklearn.base import clone

from lookahead_sk import LookaheadRouter
from lookahead_sk.routing import HiddenStateEncoder

TEXTS = ["sum one two", "cat", "red sing left yes no maybe one two three four", "", "sum one two"]


@pytest.fixture(scope="module")
def llama():
    return tiny("llama")


def by_transformers(model, tokenizer, text, layers, limit):
    ids = tokenizer(text, add_special_tokens=False).input_ids or [tokenizer.pad_token_id]
    if len(ids) > limit:
        ids = ids[: limit - limit // 2] + ids[len(ids) - limit // 2 :]
    with torch.no_grad():
        found = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    means = [found[layer][0, 1 if len(ids) > 1 else 0 :].mean(dim=0) for layer in layers]
    return torch.stack(means).mean(dim=0).numpy()


@pytest.mark.parametrize(("layers", "limit"), [((1,), 1024), ((1,), 4), (None, 1024)])
def test_the_encoding_is_the_mean_of_the_states(llama, layers, limit):
    model, tokenizer = llama
    encoder = HiddenStateEncoder(llama, layers=layers, max_length=limit, device="cpu")
    expected = [by_transformers(model, tokenizer, text, layers or (1,), limit) for text in TEXTS]
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_what_is_cached_is_not_computed_again(llama, tmp_path, monkeypatch):
    encoder = HiddenStateEncoder(llama, device="cpu", cache_folder=tmp_path / "states")
    first = encoder.encode(TEXTS[:3])
    other = HiddenStateEncoder(llama, device="cpu", cache_folder=tmp_path / "states")
    computed = []
    compute = HiddenStateEncoder._compute
    monkeypatch.setattr(
        HiddenStateEncoder, "_compute", lambda self, t: computed.extend(t) or compute(self, t)
    )
    np.testing.assert_array_equal(other.encode(TEXTS)[:3], first)
    assert computed == [""]
    shorter = HiddenStateEncoder(
        llama, device="cpu", max_length=2, cache_folder=tmp_path / "states"
    )
    shorter.encode(TEXTS[:1])
    assert computed == ["", TEXTS[0]]


def test_a_damaged_cache_is_named(llama, tmp_path):
    (tmp_path / "hidden_states.sqlite").write_bytes(b"not a database" * 100)
    encoder = HiddenStateEncoder(llama, device="cpu", cache_folder=tmp_path)
    with pytest.raises(OSError, match=r"cache_folder must hold no hidden_states\.sqlite but one"):
        encoder.encode(["cat"])


def test_a_router_reads_prompts_by_it_and_copies_share_the_model():
    rng = np.random.RandomState(0)
    prompts = [" ".join(rng.choice(["sum", "cat", "red", "one"], 4)) for _ in range(40)]
    scores = np.array([[prompt.count("cat"), 1] for prompt in prompts], dtype=float)
    encoder = HiddenStateEncoder(tiny("llama"), device="cpu")
    router = clone(LookaheadRouter(encoder, lexical_features=0, max_epochs=2, random_state=0))
    assert router.encoder is encoder
    assert set(router.fit(prompts, scores).predict(prompts)) <= {0, 1}
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.encode(prompts[:2]), encoder.encode(prompts[:2]))


@pytest.mark.parametrize("layers", [(), (3,), (0,)])
def test_layers_that_are_not_there_are_refused(llama, layers):
    with pytest.raises(ValueError, match="layers must be"):
        HiddenStateEncoder(llama, layers=layers, device="cpu").encode(["cat"])


def test_wrong_arguments_are_refused(llama):
    with pytest.raises(TypeError, match="backbone must be"):
        HiddenStateEncoder(3)
    with pytest.raises(ValueError, match="max_length must be"):
        HiddenStateEncoder(llama, max_length=0)
    with pytest.raises(TypeError, match="texts must be a sequence of strings"):
        HiddenStateEncoder(llama, device="cpu").encode("cat")
