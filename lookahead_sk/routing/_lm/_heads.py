"""From the latents of all models to the logits of their quality.

z  (n, K, d) latents;  c  (n, d) what the network makes of the prompt;  q  (n, K) quality logits
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

DROPOUT = 0.1


class Foreseen(NamedTuple):
    """What a network foresees of a batch; losses are 0 where there is nothing to foresee."""

    latents: Tensor  # (n, K, d)
    logits: Tensor  # (n, K)
    facts: Tensor  # (n, K, r), r = 0 without facts
    token_loss: Tensor  # scalar


class Heads(nn.Module):
    """Quality logits and facts.

    Parameters
    ----------
    width : int
        d, size of a hidden state.
    n_models : int
        K.
    n_facts : int
        r, facts about each response that are foreseen from its latent; may be 0.
    kind : {"pooled", "cls"}
        ``"pooled"``: q_k = w . z_k + b_k with one w for all models, so that models can be permuted
        and added. ``"cls"``: all logits from the prompt's state by a dense layer, as in the paper.
    """

    def __init__(self, width: int, n_models: int, n_facts: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.dropout = nn.Dropout(DROPOUT)
        self.level = nn.Parameter(torch.zeros(n_models))
        self.fact_map = nn.Linear(width, n_facts) if n_facts else None
        if kind == "cls":
            self.dense = nn.Linear(width, width)
            self.norm = nn.LayerNorm(width)
            self.scorer = nn.Linear(width, n_models, bias=False)
        else:
            self.scorer = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.scorer.weight)  # start from what each model scores on average

    def forward(self, latents: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Quality logits (n, K) and facts (n, K, r)."""
        if self.kind == "cls":
            state = self.norm(nn.functional.gelu(self.dense(prompt)))
            logits = self.scorer(self.dropout(state))
        else:
            logits = self.scorer(self.dropout(latents)).squeeze(-1)
        if self.fact_map is None:
            return logits + self.level, latents[..., :0]
        return logits + self.level, self.fact_map(self.dropout(latents))
