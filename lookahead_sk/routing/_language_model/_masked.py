"""The masked approach: one bidirectional pass over the prompt and all models' hidden responses.

n prompts, K models, m slots, T tokens, d width. Every token attends to every other; the blocks of
all models have the same positions, and where a layer sees a window only, the window goes by
position, not by place in the sequence. So no block knows where it stands: they are exchangeable.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lookahead_sk.routing._language_model._cross_entropy import response_token_loss
from lookahead_sk.routing._language_model._heads import BatchOutput
from lookahead_sk.routing._language_model._network import LookaheadNetwork
from lookahead_sk.routing._language_model._sequences import (
    MaskedBatch,
    Responses,
    Tokens,
    masked_batch,
    until,
)

TOKEN_NOISE = 0.02


class MaskedLookahead(LookaheadNetwork):
    """A masked language model that fills in the responses of all models at once.

    Parameters
    ----------
    language_model : LanguageModel
        Backbone.
    vocabulary : Vocabulary
        Its special tokens.
    n_models : int
        K.
    n_tokens : int
        m, response slots of a model.
    n_descriptors : int, default=0
        See `Heads`.
    head : {"pooled", "cls"}, default="pooled"
        See `Heads`.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025, masked
       approach.
    """

    needs = frozenset({"position_ids", "inputs_embeds"})
    accepted = "an architecture that takes position_ids and inputs_embeds"

    def initialise(self, generator: torch.Generator) -> None:
        """Start every model's mask token near [MASK], or near the mean token."""
        weight = self.language_model.trunk.get_input_embeddings().weight.detach()
        start = weight.mean(dim=0) if self.vocabulary.mask is None else weight[self.vocabulary.mask]
        noise = torch.randn(self.model_tokens.shape, generator=generator, dtype=torch.float32)
        with torch.no_grad():
            self.model_tokens.copy_(start + TOKEN_NOISE * noise)

    def cost(self, prompt: int, has_responses: bool) -> int:
        """Tokens that one prompt of a length adds to a batch."""
        return prompt + 2 + self.n_models * (self.n_tokens + 1)

    def collate(
        self, prompts: list[Tokens], responses: Responses | None, share: float
    ) -> MaskedBatch:
        """Lay out a batch; ``share`` of each response is hidden."""
        cls, sep = self.vocabulary.cls, self.vocabulary.sep
        assert cls is not None
        assert sep is not None
        return masked_batch(
            prompts,
            responses,
            n_models=self.n_models,
            n_slots=self.n_tokens,
            share=share,
            cls=cls,
            sep=sep,
            pad=self.vocabulary.pad,
        )

    def _hidden(self, batch: MaskedBatch) -> Tensor:
        model = self.language_model
        embeddings = model.embed(batch.tokens)
        own = self.model_tokens[batch.model.clamp_min(0)].to(embeddings.dtype)
        embeddings = torch.where((batch.model >= 0).unsqueeze(-1), own, embeddings)
        output = model.trunk(
            inputs_embeds=embeddings,
            attention_mask=attention_masks(batch, model.config),
            position_ids=batch.positions + model.first_position,
        )
        return output.last_hidden_state

    def _blocks(self, batch: MaskedBatch, values: Tensor) -> Tensor:
        """The slots (n, K, m, ...) of all models out of (n, T, ...)."""
        width = self.n_tokens + 1
        offsets = torch.arange(self.n_models * width, device=values.device)
        places = batch.first_slot[:, None] + offsets  # (n, K * (m + 1))
        rows = torch.arange(len(values), device=values.device)[:, None]
        blocks = values[rows, places].unflatten(1, (self.n_models, width))
        return blocks[:, :, : self.n_tokens]

    def forward(self, batch: MaskedBatch) -> BatchOutput:
        """Predict a batch."""
        hidden = self._hidden(batch)
        latents = self._blocks(batch, hidden).mean(dim=2)
        logits, descriptors = self.heads(latents, hidden[:, 0])
        loss = response_token_loss(
            self._blocks(batch, hidden), self._blocks(batch, batch.labels), self.language_model
        )
        return BatchOutput(latents, logits, descriptors, loss)

    @torch.no_grad()
    def first_tokens(self, batch: MaskedBatch) -> list[list[Tokens]]:
        """The most likely first tokens of every response, cut where it is expected to end."""
        hidden = self._blocks(batch, self._hidden(batch))
        rows = hidden.flatten(0, 2).split(4096)
        best = torch.cat([self.language_model.vocabulary_logits(h).argmax(dim=-1) for h in rows])
        tokens = best.view(hidden.shape[:3]).tolist()
        return [[until(cell, self.vocabulary.sep) for cell in row] for row in tokens]


def attention_masks(batch: MaskedBatch, config: Any) -> Any:
    """What the trunk is told about which token sees which.

    Parameters
    ----------
    batch : MaskedBatch
        Real tokens and positions.
    config : PretrainedConfig
        Of the trunk: has it layers that see a window only?

    Returns
    -------
    Tensor of shape (n, T), or dict of layer type to Tensor of shape (n, 1, T, T)
        The window of a layer with local attention is counted in positions: every block is as near
        to the end of the prompt as the first.
    """
    if "sliding_attention" not in (getattr(config, "layer_types", None) or []):
        return batch.is_real.long()
    real = batch.is_real[:, None, None, :]
    gap = (batch.positions[:, :, None] - batch.positions[:, None, :]).abs()
    # Padding sees itself, so that no row is empty.
    diagonal = torch.eye(gap.shape[1], dtype=torch.bool, device=gap.device)
    near = (gap <= config.sliding_window)[:, None]
    masks = {"full_attention": real | diagonal, "sliding_attention": (real & near) | diagonal}
    if config._attn_implementation == "eager":
        low = torch.finfo(torch.float32).min
        return {k: torch.where(mask, 0.0, low) for k, mask in masks.items()}
    return masks
