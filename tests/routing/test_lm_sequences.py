"""Token sequences, positions, labels and the curriculum, written out by hand."""

import numpy as np
import pytest
import torch
from _tiny_models import SEP, token, tokenizer

from lookahead_sk.routing._language_model._batching import epoch_steps, in_batches, within_budget
from lookahead_sk.routing._language_model._cross_entropy import mean_over_responses, token_losses
from lookahead_sk.routing._language_model._sequences import (
    IGNORED,
    causal_batch,
    hidden_share,
    masked_batch,
)
from lookahead_sk.routing._language_model._tokenizer import keep_ends, read_vocabulary

CLS_ID, SEP_ID, PAD_ID = 101, 102, 0


def masked(prompts, responses, share=1.0, n_slots=3):
    return masked_batch(
        prompts, responses, n_models=2, n_slots=n_slots, share=share, cls=CLS_ID, sep=SEP_ID
    )


def test_a_masked_sequence_is_as_written_by_hand():
    batch = masked([[7, 8], [9]], [[[11, 12, 13, 14], [21]], [None, []]])
    X = PAD_ID
    assert batch.tokens.tolist() == [
        [CLS_ID, 7, 8, SEP_ID, X, X, X, SEP_ID, X, X, X, SEP_ID],
        [CLS_ID, 9, SEP_ID, X, X, X, SEP_ID, X, X, X, SEP_ID, X],
    ]
    assert batch.model.tolist() == [
        [-1, -1, -1, -1, 0, 0, 0, -1, 1, 1, 1, -1],
        [-1, -1, -1, 0, 0, 0, -1, 1, 1, 1, -1, -1],
    ]
    # Both blocks go on from the prompt with the same positions.
    assert batch.positions.tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7],
        [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 0],
    ]
    N = IGNORED
    # 21 ends within the slots: its end is foreseen. None was not observed. [] is empty, not absent.
    assert batch.labels.tolist() == [
        [N, N, N, N, 11, 12, 13, N, 21, SEP_ID, N, N],
        [N, N, N, N, N, N, N, SEP_ID, N, N, N, N],
    ]
    assert batch.is_real.sum(dim=1).tolist() == [12, 11]
    assert batch.first_slot.tolist() == [4, 3]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.3, [11, 12, 13, None]), (0.5, [11, 12, None, None]), (0.99, [11, None, None, None])],
)
def test_the_curriculum_hides_the_right_end_and_at_least_one_token(share, shown):
    batch = masked([[7]], [[[11, 12, 13, 14], None]], share=share, n_slots=4)
    assert batch.tokens[0, 3:7].tolist() == [PAD_ID if t is None else t for t in shown]
    assert batch.model[0, 3:7].tolist() == [0 if t is None else -1 for t in shown]
    expected = [t if s is None else IGNORED for t, s in zip([11, 12, 13, 14], shown, strict=True)]
    assert batch.labels[0, 3:7].tolist() == expected


def test_the_curriculum_grows_from_three_tenths_to_all_over_a_fifth_of_the_steps():
    shares = [hidden_share(step, 100) for step in (0, 5, 10, 19, 20, 21, 99)]
    assert shares == pytest.approx([0.3, 0.475, 0.65, 0.965, 1.0, 1.0, 1.0])
    assert hidden_share(0, 1) == pytest.approx(0.3)
    assert hidden_share(1, 1) == 1.0


def test_no_label_and_no_token_of_a_response_leaks_at_prediction():
    batch = masked([[7, 8]], None)
    assert (batch.labels == IGNORED).all()
    assert (batch.model >= 0).sum() == 2 * 3


def test_a_causal_batch_is_as_written_by_hand():
    batch = causal_batch(
        [[7, 8], [9]], [[[11, 12, 13], [21]], [None, []]], n_models=2, n_tokens=3, eos=99
    )
    assert batch.prompt.tolist() == [[7, 8], [0, 9]]
    assert batch.prompt_is_real.tolist() == [[True, True], [False, True]]
    # The first column is the model's own token; what follows it are labels.
    assert batch.branch.tolist() == [[[0, 11, 12], [0, 21, 0]], [[0, 0, 0], [0, 0, 0]]]
    N = IGNORED
    assert batch.labels.tolist() == [[[11, 12, 13], [21, 99, N]], [[N, N, N], [99, N, N]]]
    assert batch.branch_is_real.tolist() == [
        [[True, True, True], [True, True, False]],
        [[True, False, False], [True, False, False]],
    ]


def test_a_prompt_without_tokens_and_bos_gets_one_to_attend_to():
    batch = causal_batch([[], [5]], None, n_models=2, n_tokens=3, eos=99)
    assert batch.prompt.tolist() == [[99], [5]]
    assert batch.branch.shape == (2, 2, 1)
    with_bos = causal_batch([[], [5]], None, n_models=2, n_tokens=3, eos=99, bos=1)
    assert with_bos.prompt.tolist() == [[0, 1], [1, 5]]


def test_long_prompts_keep_both_ends():
    assert keep_ends([1, 2, 3, 4, 5], 4) == [1, 2, 4, 5]
    assert keep_ends([1, 2, 3, 4, 5], 1) == [1]
    assert keep_ends([1, 2], 4) == [1, 2]


def test_special_tokens_in_a_prompt_are_just_text():
    vocabulary = read_vocabulary(tokenizer())
    assert vocabulary.encode(["cat red"]) == [[token("cat"), token("red")]]
    assert SEP not in vocabulary.encode(["cat [SEP] red"])[0]


def test_the_vocabulary_starts_texts_with_bos_only_where_its_tokenizer_does():
    from tokenizers.processors import TemplateProcessing

    plain = tokenizer(is_masked=False)
    assert read_vocabulary(plain).bos is None
    plain.add_special_tokens({"bos_token": "[CLS]"})
    assert read_vocabulary(plain).bos is None
    plain.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", plain.bos_token_id)]
    )
    assert read_vocabulary(plain).bos == plain.bos_token_id


def test_every_prompt_is_in_one_step_and_like_lengths_are_together():
    lengths = np.random.RandomState(0).randint(1, 200, size=333)
    steps = epoch_steps(lengths, 16, seed=3, epoch=1)
    assert sorted(np.concatenate(steps)) == list(range(333))
    assert [len(s) for s in steps].count(16) == 20
    spread = np.mean([np.ptp(lengths[s]) for s in steps])
    assert spread < 0.25 * np.mean([np.ptp(lengths[np.arange(i, i + 16)]) for i in range(300)])
    again = epoch_steps(lengths, 16, seed=3, epoch=1)
    assert all(np.array_equal(a, b) for a, b in zip(steps, again, strict=True))
    other = epoch_steps(lengths, 16, seed=3, epoch=2)
    assert not all(np.array_equal(a, b) for a, b in zip(steps, other, strict=True))


def test_batches_keep_to_the_budget_padding_included():
    costs = np.random.RandomState(0).randint(1, 50, size=100).tolist()
    batches = within_budget(range(100), costs, 120)
    assert sorted(row for batch in batches for row in batch) == list(range(100))
    assert max(len(batch) * max(costs[i] for i in batch) for batch in batches) <= 120
    assert within_budget([0], [500], 120) == [[0]]


def test_prediction_falls_back_to_smaller_batches_when_memory_runs_out():
    tried = []

    def work(rows):
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return list(rows)

    order, results = in_batches(work, [[1]] * 9, [1] * 9, 8)
    assert sorted(order) == list(range(9))
    assert [row for part in results for row in part] == order
    assert tried[:3] == [8, 4, 2]
    assert max(tried[2:]) == 2


def test_an_error_that_is_not_about_memory_or_cannot_be_mended_is_raised():
    def fail(message):
        def work(rows):
            raise RuntimeError(message)

        return work

    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(fail("shapes"), [[1]] * 4, [1] * 4, 8)
    with pytest.raises(RuntimeError, match="allocate"):
        in_batches(fail("DefaultCPUAllocator: can't allocate memory"), [[1]] * 4, [1] * 4, 8)


def test_bounded_cross_entropy_equals_torch_and_so_do_its_gradients():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator, requires_grad=True)
    weight = torch.randn(50, 8, generator=generator, requires_grad=True)
    target = torch.randint(50, (23,), generator=generator)
    held = []

    def logits_of(part):
        held.append(len(part) * 50)
        return part @ weight.T

    direct = torch.nn.functional.cross_entropy(hidden @ weight.T, target, reduction="none")
    expected = torch.autograd.grad(direct.square().sum(), (hidden, weight))
    bounded = token_losses(hidden, target, logits_of, 50, max_logits=200)
    actual = torch.autograd.grad(bounded.square().sum(), (hidden, weight))
    assert torch.allclose(bounded, direct, atol=1e-6)
    for a, b in zip(actual, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert max(held) <= 200


def test_every_response_counts_alike_however_long_it_is():
    losses = torch.tensor([1.0, 1.0, 1.0, 1.0, 5.0])
    number = torch.tensor([0, 0, 0, 0, 2])
    assert mean_over_responses(losses, number, 3).item() == pytest.approx(3.0)
