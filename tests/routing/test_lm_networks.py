"""Both networks on tiny backbones: exchangeable blocks, the cache, padding, heads and losses."""

import numpy as np
import pytest
import torch
from _tiny_models import CAUSAL, EOS, MASK, MASKED, SEP, network, tiny, token

from lookahead_sk.routing._language_model._adapters import add_lora, freeze, layers_of, merge_lora
from lookahead_sk.routing._language_model._backbone import TiedHead, load_backbone
from lookahead_sk.routing._language_model._masked import attention_masks
from lookahead_sk.routing._language_model._prediction import predict_prompts
from lookahead_sk.routing._language_model._sequences import IGNORED
from lookahead_sk.routing._language_model._state import state_of

EVERY = (*MASKED, *CAUSAL)
CPU = torch.device("cpu")
PROMPTS = [[7, 8, 9, 10, 11], [6], [12, 13, 7], [8] * 20]
RESPONSES = [
    [[11, 12, 13, 14, 15], [6, 7], None],
    [[8], [], [9, 9, 9]],
    [None, None, None],
    [[6, 6], [7, 7, 7, 7], [8, 9]],
]


@torch.no_grad()
def predict(built, prompts=PROMPTS, responses=None, share=1.0):
    return built(built.collate(prompts, responses, share))


@pytest.mark.parametrize("name", MASKED)
def test_permuting_the_candidates_permutes_the_scores(name):
    built = network(name)
    before = predict(built)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        built.model_tokens.copy_(built.model_tokens[order].clone())
        built.heads.level.copy_(built.heads.level[order].clone())
    after = predict(built)
    assert torch.allclose(after.logits, before.logits[:, order], atol=1e-5)
    assert torch.allclose(after.latents, before.latents[:, order], atol=1e-5)
    spread = before.logits.std(dim=1)
    assert (spread > 1e-3).all()  # else the permutation would show nothing


@pytest.mark.parametrize("name", EVERY)
def test_predictions_do_not_depend_on_the_batch(name):
    built = network(name)
    together = predict(built)
    for i, prompt in enumerate(PROMPTS):
        alone = predict(built, [prompt])
        assert torch.allclose(alone.logits[0], together.logits[i], atol=1e-5)
        assert torch.allclose(alone.latents[0], together.latents[i], atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_shared_cache_changes_nothing(name):
    built = network(name)
    shared = predict(built, responses=RESPONSES)
    built.shares_prompt = False
    apart = predict(built, responses=RESPONSES)
    assert torch.allclose(shared.logits, apart.logits, atol=1e-5)
    assert torch.allclose(shared.latents, apart.latents, atol=1e-5)
    assert shared.token_loss.item() == pytest.approx(apart.token_loss.item(), abs=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_gradients_flow_through_the_shared_cache(name):
    gradients = []
    for shares_prompt in (True, False):
        built = network(name)
        built.shares_prompt = shares_prompt
        seen = built(built.collate(PROMPTS, RESPONSES, 1.0))
        (seen.token_loss + seen.logits.sum()).backward()
        gradients.append({k: p.grad for k, p in built.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        assert torch.isfinite(gradient).all()
        assert torch.allclose(gradient, gradients[1][key], atol=1e-4), key


@pytest.mark.parametrize("name", CAUSAL)
def test_the_latent_sees_the_prompt_and_the_model_but_not_the_response(name):
    built = network(name)
    blind = predict(built)
    told = predict(built, responses=RESPONSES)
    assert torch.allclose(blind.logits, told.logits, atol=1e-5)
    other = predict(built, [[p[0] + 1, *p[1:]] for p in PROMPTS])
    assert not torch.allclose(blind.logits, other.logits, atol=1e-3)
    assert (blind.logits.std(dim=1) > 1e-3).all()


@pytest.mark.parametrize("name", CAUSAL)
def test_the_causal_latent_is_the_state_after_the_prompt(name):
    built = network(name)
    model = built.language_model
    prompt = torch.tensor([PROMPTS[0]])
    own = built.model_tokens[1].view(1, 1, -1)
    embeddings = torch.cat([model.embed(prompt), own], dim=1)
    direct = model.trunk(inputs_embeds=embeddings).last_hidden_state[0, -1]
    assert torch.allclose(predict(built, [PROMPTS[0]]).latents[0, 1], direct, atol=1e-5)


def test_the_causal_response_loss_is_the_model_s_own_likelihood():
    built = network("llama")
    with torch.no_grad():  # the model's own token is made an ordinary one
        built.model_tokens[:] = built.language_model.embed(torch.tensor(token("cat")))
    response = [token("yes"), token("one")]
    loss = predict(built, [[7, 8]], [[response, None, None]]).token_loss
    row = torch.tensor([[7, 8, token("cat"), *response]])
    logits = built.language_model.model(row).logits[0, 2:5].log_softmax(dim=-1)
    expected = -logits[torch.arange(3), torch.tensor([*response, EOS])].mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert"])
def test_the_masked_response_loss_uses_the_model_s_own_head(name):
    built = network(name, n_models=1)
    with torch.no_grad():  # every slot holds an ordinary [MASK]
        built.model_tokens[:] = built.language_model.embed(torch.tensor(MASK))
    response = [6, 7, 8, 9]
    loss = predict(built, [[10, 11]], [[response]]).token_loss
    row = torch.tensor([[2, 10, 11, SEP, MASK, MASK, MASK, MASK, SEP]])
    # With one block positions are consecutive, as the model itself would count them.
    logits = built.language_model.model(row).logits[0, 4:8].log_softmax(dim=-1)
    expected = -logits[torch.arange(4), torch.tensor(response)].mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_trunk_without_a_head_gets_one_that_is_tied_to_its_embeddings():
    own, tied = network("bert"), network("bert-trunk")
    assert own.language_model.tied is None
    assert isinstance(tied.language_model.tied, TiedHead)
    assert tied.language_model.trunk.pooler is None
    seen = tied(tied.collate(PROMPTS, RESPONSES, 1.0))
    seen.token_loss.backward()
    gradient = tied.language_model.trunk.get_input_embeddings().weight.grad
    unused = [token("four")]  # stands in no prompt and no response: only the tied head sees it
    assert gradient[unused].abs().sum() > 0


def test_local_attention_goes_by_position():
    built = network("modernbert", n_tokens=2)
    batch = built.collate([[7] * 10, [7] * 3], None, 1.0)
    masks = attention_masks(batch, built.language_model.config)
    window = built.language_model.config.sliding_window
    assert window == 4
    full, near = masks["full_attention"], masks["sliding_attention"]
    assert full.shape == near.shape == (2, 1, 21, 21)
    slots = 12 + np.arange(9)  # three blocks of two slots and [SEP], positions 12 to 14
    for first in slots[::3]:
        seen = near[0, 0, first].nonzero().flatten().tolist()
        assert seen == [8, 9, 10, 11, *slots]  # the same for every block
    assert full[0].all()
    assert not full[1, 0, 0, 14:].any()  # padding is not seen


def test_roberta_counts_positions_from_its_padding_index():
    assert network("roberta").language_model.first_position == 1
    assert network("bert").language_model.first_position == 0
    assert network("roberta").language_model.max_positions == 63


def test_the_cls_head_scores_from_the_prompt_alone_and_the_pooled_head_has_one_scorer():
    by_cls, pooled = network("bert", head="cls"), network("bert")
    assert by_cls.heads.scorer.weight.shape == (3, 32)
    assert pooled.heads.scorer.weight.shape == (1, 32)
    batch = by_cls.collate(PROMPTS, None, 1.0)
    hidden = by_cls._hidden(batch)[:, 0]
    state = by_cls.heads.norm(torch.nn.functional.gelu(by_cls.heads.dense(hidden)))
    expected = state @ by_cls.heads.scorer.weight.T + by_cls.heads.level
    assert torch.allclose(by_cls(batch).logits, expected, atol=1e-5)


def test_an_unobserved_response_has_no_loss():
    for name in ("bert", "llama"):
        built = network(name)
        seen = predict(built, [[7, 8]], [[None, None, None]])
        assert seen.token_loss.item() == 0
        one = predict(built, [[7, 8]], [[[9, 10], None, None]]).token_loss
        two = predict(built, [[7, 8]], [[[9, 10], None, [9, 10]]]).token_loss
        assert one.item() > 0
        assert two.item() != one.item()


def test_expected_tokens_are_the_greedy_ones():
    built = network("llama", n_tokens=5)
    tokens = built.first_tokens(built.collate([[7, 8], [9, 10, 11]], None, 1.0))
    model = built.language_model
    for i, prompt in enumerate([[7, 8], [9, 10, 11]]):
        embeddings = model.embed(torch.tensor([prompt]))
        row = torch.cat([embeddings, built.model_tokens[1].view(1, 1, -1)], dim=1)
        greedy = []
        for _ in range(5):
            logits = model.model(inputs_embeds=row).logits[0, -1]
            greedy.append(int(logits.argmax()))
            row = torch.cat([row, model.embed(torch.tensor([[greedy[-1]]]))], dim=1)
        greedy = greedy[: greedy.index(EOS)] if EOS in greedy else greedy
        assert tokens[i][1] == greedy
    masked = network("bert")
    batch = masked.collate(PROMPTS, None, 1.0)
    blocks = masked._blocks(batch, masked._hidden(batch))
    best = masked.language_model.vocabulary_logits(blocks[2, 1]).argmax(dim=-1).tolist()
    best = best[: best.index(SEP)] if SEP in best else best
    assert masked.first_tokens(batch)[2][1] == best


@pytest.mark.parametrize("name", EVERY)
def test_a_network_is_the_same_after_its_state_has_been_taken_and_built_again(name):
    built = network(name, n_descriptors=2)
    state = state_of(built, "masked" if name in MASKED else "causal")
    again = state.network(CPU)
    assert again is not built
    for a, b in zip(
        predict_prompts(built, PROMPTS, CPU, "float32"),
        predict_prompts(again, PROMPTS, CPU, "float32"),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert not any(isinstance(w, torch.Tensor) for w in state.weights.values())


def test_a_given_model_is_copied_and_left_alone():
    model, tokenizer = tiny("bert")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loaded, _ = load_backbone((model, tokenizer), "masked")
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_freezing_leaves_the_upper_layers_and_what_is_new_trainable():
    built = network("bert")
    freeze(built, 1, has_response_loss=True)
    first, second = layers_of(built.language_model.trunk)
    assert not any(p.requires_grad for p in first.parameters())
    assert all(p.requires_grad for p in second.parameters())
    assert not built.language_model.trunk.get_input_embeddings().weight.requires_grad
    assert built.model_tokens.requires_grad
    with pytest.raises(ValueError, match="n_frozen_layers must be at most 2, the layers of back"):
        freeze(built, 3, has_response_loss=True)


def test_without_a_response_loss_the_vocabulary_head_is_not_trained():
    built = network("bert")
    freeze(built, 0, has_response_loss=False)
    assert not any(
        p.requires_grad for p in built.language_model.model.cls.predictions.transform.parameters()
    )
    assert built.language_model.trunk.get_input_embeddings().weight.requires_grad


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
def test_lora_trains_a_small_part_and_merges_into_plain_layers(name):
    pytest.importorskip("peft")
    built = network(name)
    names = [key for key, _ in built.named_parameters()]
    add_lora(built, 2, seed=0)
    trunk = built.language_model.trunk
    trained = [p for p in trunk.parameters() if p.requires_grad]
    assert trained
    assert sum(p.numel() for p in trained) < 0.3 * sum(p.numel() for p in trunk.parameters())
    assert built.model_tokens.requires_grad
    assert not built.language_model.trunk.get_input_embeddings().weight.requires_grad
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.1)
    before = predict(built)
    merge_lora(built)
    assert [key for key, _ in built.named_parameters()] == names
    assert torch.allclose(predict(built).logits, before.logits, atol=1e-3)


def test_labels_are_only_where_a_response_is_hidden():
    built = network("bert")
    batch = built.collate(PROMPTS, RESPONSES, 0.5)
    assert ((batch.labels != IGNORED) <= (batch.model >= 0) | (batch.labels == SEP)).all()
