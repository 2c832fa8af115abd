"""Token sequences of both approaches, with positions and labels.

They are drawn in ``docs/explanation/fine_tuned_routing.md``.

n prompts, K models, m response slots a model, L tokens of a prompt.

=========  =====================================================================================
masked     [CLS] prompt [SEP] (m slots) [SEP] (m slots) [SEP] ... : one sequence for all K models
causal     prompt, left-padded; then, for each of the n * K branches, ID_k response EOS
model      (n, T) which model's own token stands there, -1 where it is an ordinary token
labels     what is to be predicted there, IGNORED where nothing is
=========  =====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IGNORED = -100
FIRST_SHARE, CURRICULUM = 0.3, 0.2

Tokens = list[int]
Responses = Sequence[Sequence[Tokens | None]]  # n x K, None where not observed


def hidden_share(step: int, n_steps: int) -> float:
    """Share of a response that is hidden at a training step.

    Parameters
    ----------
    step : int
        Number of the optimiser's step, from 0.
    n_steps : int
        Steps of the whole training.

    Returns
    -------
    float
        Grows linearly from 0.3 to 1 over the first fifth of the steps, and stays there.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025: curriculum
       masking.
    """
    return min(1.0, FIRST_SHARE + (1 - FIRST_SHARE) * step / max(CURRICULUM * n_steps, 1.0))


@dataclass(frozen=True)
class MaskedBatch:
    """Sequences for a masked language model; all tensors are (n, T) but ``first_slot`` (n,)."""

    tokens: Tensor
    model: Tensor
    positions: Tensor
    labels: Tensor
    is_real: Tensor
    first_slot: Tensor  # where the block of the first model begins

    def to(self, device: torch.device) -> MaskedBatch:
        """The same batch on a device."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items()})


def _slots(
    response: Tokens | None, n_slots: int, share: float, sep: int
) -> tuple[list[int | None], list[int]]:
    """What stands in the slots of one response (None: hidden), and the labels."""
    visible: list[int | None] = [None] * n_slots
    labels = [IGNORED] * n_slots
    if response is None:
        return visible, labels
    shown = response[:n_slots]
    # The end of a short response is predicted as well; a cut one has no end.
    target = [*shown, sep][:n_slots]
    n_hidden = max(1, math.floor(share * len(shown)))
    n_visible = max(0, len(shown) - n_hidden)
    visible[:n_visible] = shown[:n_visible]
    labels[n_visible : len(target)] = target[n_visible:]
    return visible, labels


def masked_batch(
    prompts: Sequence[Tokens],
    responses: Responses | None,
    *,
    n_models: int,
    n_slots: int,
    share: float = 1.0,
    cls: int,
    sep: int,
    pad: int = 0,
) -> MaskedBatch:
    """Lay out prompts and the blocks of all models.

    Parameters
    ----------
    prompts : sequence of list of int
        Token ids without special tokens.
    responses : n x K token ids or None
        None at prediction: everything is hidden and there are no labels.
    n_models, n_slots : int
        K and m.
    share : float, default=1.0
        Share of each response that is hidden, from its right end; at least one token is.
    cls, sep, pad : int
        Special tokens.

    Returns
    -------
    MaskedBatch
        Block k of every prompt has the positions L + 2 to L + 2 + m, whatever k.
    """
    width = n_slots + 1
    longest = max(len(prompt) for prompt in prompts) + 2 + n_models * width
    shape = (len(prompts), longest)
    tokens, model = np.full(shape, pad), np.full(shape, -1)
    labels, positions = np.full(shape, IGNORED), np.zeros(shape, dtype=np.int64)
    is_real = np.zeros(shape, dtype=bool)
    hidden = _blocks([None] * n_models, n_slots, share, sep, pad)
    within = np.tile(np.arange(width), n_models)
    for i, prompt in enumerate(prompts):
        first = len(prompt) + 2
        slots = slice(first, first + n_models * width)
        blocks = hidden
        if responses is not None:
            blocks = _blocks(responses[i], n_slots, share, sep, pad)
        tokens[i, :first] = [cls, *prompt, sep]
        positions[i, :first] = np.arange(first)
        tokens[i, slots], model[i, slots], labels[i, slots] = blocks
        positions[i, slots] = first + within
        is_real[i, : slots.stop] = True
    first_slot = np.array([len(prompt) + 2 for prompt in prompts])
    arrays = (tokens, model, positions, labels, is_real, first_slot)
    return MaskedBatch(*map(torch.from_numpy, arrays))


def _blocks(
    responses: Sequence[Tokens | None], n_slots: int, share: float, sep: int, pad: int
) -> npt.NDArray[np.int64]:
    """Tokens, models and labels (3, K * (m + 1)) of the blocks of all models of one prompt."""
    blocks = np.empty((3, len(responses), n_slots + 1), dtype=np.int64)
    blocks[0, :, n_slots], blocks[1, :, n_slots], blocks[2, :, n_slots] = sep, -1, IGNORED
    for k, response in enumerate(responses):
        shown, target = _slots(response, n_slots, share, sep)
        blocks[0, k, :n_slots] = [pad if token is None else token for token in shown]
        blocks[1, k, :n_slots] = [k if token is None else -1 for token in shown]
        blocks[2, k, :n_slots] = target
    return blocks.reshape(3, -1)


@dataclass(frozen=True)
class CausalBatch:
    """Prompts (n, L) padded on the left, and branches (n, K, 1 + R) padded on the right."""

    prompt: Tensor
    prompt_is_real: Tensor
    branch: Tensor  # the first column is ignored: the model's own token stands there
    branch_is_real: Tensor
    labels: Tensor  # (n, K, 1 + R): the token that follows

    def to(self, device: torch.device) -> CausalBatch:
        """The same batch on a device."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items()})


def causal_batch(
    prompts: Sequence[Tokens],
    responses: Responses | None,
    *,
    n_models: int,
    n_tokens: int,
    eos: int | None,
    bos: int | None = None,
    pad: int = 0,
) -> CausalBatch:
    """Lay out prompts and one branch a model.

    Parameters
    ----------
    prompts : sequence of list of int
        Token ids without special tokens.
    responses : n x K token ids or None
        None at prediction: a branch is the model's own token alone.
    n_models : int
        K.
    n_tokens : int
        R, first response tokens that are learned from; a response that is shorter ends with EOS.
    eos, bos, pad : int or None
        Special tokens.

    Returns
    -------
    CausalBatch
        ``labels[..., t]`` is the token that follows ``branch[..., t]``.
    """
    front = [] if bos is None else [bos]
    # A prompt without any token still needs one to attend to.
    rows = [[*front, *prompt] or [eos if eos is not None else pad] for prompt in prompts]
    n, longest = len(rows), max(map(len, rows))
    prompt, is_real = np.full((n, longest), pad), np.zeros((n, longest), dtype=bool)
    for i, row in enumerate(rows):
        prompt[i, longest - len(row) :] = row
        is_real[i, longest - len(row) :] = True
    nothing: list[Tokens | None] = [None] * n_models
    followers = [
        [
            _followers(cell, n_tokens, eos)
            for cell in (nothing if responses is None else responses[i])
        ]
        for i in range(n)
    ]
    width = max(1, max(len(cell) for row in followers for cell in row))
    shape = (n, n_models, width)
    branch, labels = np.full(shape, pad), np.full(shape, IGNORED)
    branch_is_real = np.zeros(shape, dtype=bool)
    branch_is_real[..., 0] = True
    for i, cells in enumerate(followers):
        for k, cell in enumerate(cells):
            if cell:
                labels[i, k, : len(cell)] = cell
                branch[i, k, 1 : len(cell)] = cell[:-1]
                branch_is_real[i, k, : len(cell)] = True
    arrays = (prompt, is_real, branch, branch_is_real, labels)
    return CausalBatch(*map(torch.from_numpy, arrays))


def _followers(response: Tokens | None, n_tokens: int, eos: int | None) -> Tokens:
    """The tokens that are to be predicted after the model's own token."""
    if response is None:
        return []
    shown = list(response[:n_tokens])
    return [*shown, eos] if len(shown) < n_tokens and eos is not None else shown


def until(tokens: Tokens, end: int | None) -> Tokens:
    """The tokens before the first ``end``; all of them where there is none."""
    return tokens[: tokens.index(end)] if end in tokens else tokens
