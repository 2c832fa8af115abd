"""The causal approach: the prompt is read once, then every model's branch goes on from its cache.

n prompts, K models, R response tokens, L prompt tokens, d width. A branch is ID_k, response, EOS;
its latent is the hidden state at ID_k, which sees the prompt and ID_k alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lookahead_sk.routing._language_model._cross_entropy import response_token_loss
from lookahead_sk.routing._language_model._heads import BatchOutput
from lookahead_sk.routing._language_model._network import LookaheadNetwork
from lookahead_sk.routing._language_model._sequences import (
    CausalBatch,
    Responses,
    Tokens,
    causal_batch,
    until,
)


class CausalLookahead(LookaheadNetwork):
    """A causal language model that begins every model's response.

    Parameters
    ----------
    language_model : LanguageModel
        Backbone.
    vocabulary : Vocabulary
        Its special tokens.
    n_models : int
        K.
    n_tokens : int
        R, first response tokens that are learned from.
    n_descriptors : int, default=0
        See `Heads`.
    head : {"pooled"}, default="pooled"
        One shared scorer on the latents.

    Attributes
    ----------
    shares_prompt : bool
        Whether the prompt is read once for all models. False reads it K times, for comparison.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025, causal
       approach.
    """

    needs = frozenset({"position_ids", "inputs_embeds"})
    needs_cache = True
    accepted = "an architecture with a key/value cache, position_ids and inputs_embeds"

    shares_prompt = True

    def initialise(self, generator: torch.Generator) -> None:
        """Start every model's token near the mean token, as far from it as tokens are."""
        every = torch.arange(self.language_model.n_vocabulary)
        with torch.no_grad():
            weight = self.language_model.embed(every)
            noise = torch.randn(self.model_tokens.shape, generator=generator, dtype=torch.float32)
            self.model_tokens.copy_(weight.mean(dim=0) + weight.std(dim=0) * noise)

    def learns_from(self, response: Tokens | None) -> bool:
        """Whether a response has a token to predict, be it its end."""
        return response is not None and (len(response) > 0 or self.vocabulary.eos is not None)

    def cost(self, prompt: int, has_responses: bool) -> int:
        """Tokens that one prompt of a length adds to a batch."""
        branch = 1 + (self.n_tokens if has_responses else 0)
        times = 1 if self.shares_prompt else self.n_models
        return prompt * times + self.n_models * branch

    def collate(
        self, prompts: list[Tokens], responses: Responses | None, share: float
    ) -> CausalBatch:
        """Lay out a batch; nothing is hidden by degrees, so ``share`` has no meaning."""
        return causal_batch(
            prompts,
            responses,
            n_models=self.n_models,
            n_tokens=self.n_tokens,
            eos=self.vocabulary.eos,
            bos=self.vocabulary.bos,
            pad=self.vocabulary.pad,
        )

    def _branch_embeddings(self, batch: CausalBatch) -> Tensor:
        """Embeddings (n * K, 1 + R, d) of ID_k and the response."""
        embeddings = self.language_model.embed(batch.branch)
        own = self.model_tokens.to(embeddings.dtype).expand(len(embeddings), -1, -1)
        return torch.cat([own.unsqueeze(2), embeddings[:, :, 1:]], dim=2).flatten(0, 1)

    def _read_prompt(self, batch: CausalBatch) -> Any:
        """Key/value cache of the prompts."""
        is_real = batch.prompt_is_real
        output = self.language_model.trunk(
            inputs_embeds=self.language_model.embed(batch.prompt),
            attention_mask=is_real.long(),
            position_ids=(is_real.cumsum(dim=1) - 1).clamp_min(0),
            use_cache=True,
        )
        return output[self.language_model.cache_name]

    def _branch_masks(self, batch: CausalBatch) -> tuple[Tensor, Tensor]:
        """What branches (n * K) see, (.., L + 1 + R), and their positions, (.., 1 + R)."""
        prompts = batch.prompt_is_real.repeat_interleave(self.n_models, dim=0)
        branches = batch.branch_is_real.flatten(0, 1)
        places = torch.arange(branches.shape[1], device=branches.device)
        positions = prompts.sum(dim=1, keepdim=True) + places
        return torch.cat([prompts, branches], dim=1).long(), positions

    def _hidden(self, batch: CausalBatch) -> Tensor:
        """Hidden states (n * K, 1 + R, d) of the branches."""
        if not self.shares_prompt:
            return self._hidden_apart(batch)
        cache = self._read_prompt(batch)
        cache.batch_repeat_interleave(self.n_models)
        mask, positions = self._branch_masks(batch)
        output = self.language_model.trunk(
            inputs_embeds=self._branch_embeddings(batch),
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{str(self.language_model.cache_name): cache},
        )
        return output.last_hidden_state

    def _hidden_apart(self, batch: CausalBatch) -> Tensor:
        """The same without a cache: prompt and branch as one sequence for each model."""
        prompts = self.language_model.embed(batch.prompt).repeat_interleave(self.n_models, dim=0)
        mask, _ = self._branch_masks(batch)
        output = self.language_model.trunk(
            inputs_embeds=torch.cat([prompts, self._branch_embeddings(batch)], dim=1),
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp_min(0),
            use_cache=False,
        )
        return output.last_hidden_state[:, prompts.shape[1] :]

    def forward(self, batch: CausalBatch) -> BatchOutput:
        """Predict a batch."""
        n = len(batch.prompt)
        hidden = self._hidden(batch).unflatten(0, (n, self.n_models))
        latents = hidden[:, :, 0]
        logits, descriptors = self.heads(latents, latents.mean(dim=1))
        loss = response_token_loss(hidden, batch.labels, self.language_model)
        return BatchOutput(latents, logits, descriptors, loss)

    @torch.no_grad()
    def first_tokens(self, batch: CausalBatch) -> list[list[Tokens]]:
        """A greedy continuation of every model's branch, at most R tokens."""
        trunk = self.language_model.trunk
        cache = self._read_prompt(batch)
        cache.batch_repeat_interleave(self.n_models)
        mask, positions = self._branch_masks(batch)
        step, position = self._branch_embeddings(batch), positions[:, :1]
        found: list[Tensor] = []
        for _ in range(self.n_tokens):
            output = trunk(
                inputs_embeds=step,
                attention_mask=mask,
                position_ids=position,
                use_cache=True,
                **{str(self.language_model.cache_name): cache},
            )
            logits = self.language_model.vocabulary_logits(output.last_hidden_state[:, -1])
            found.append(logits.argmax(dim=-1))
            step = self.language_model.embed(found[-1][:, None])
            position = position + 1
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        tokens = torch.stack(found, dim=1).unflatten(0, (-1, self.n_models)).tolist()
        return [[until(cell, self.vocabulary.eos) for cell in row] for row in tokens]
