"""From the latents of all models to the logits of their quality.

z  (n, K, d) latents;  c  (n, d) what the network makes of the prompt;  q  (n, K) quality logits
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

DROPOUT = 0.1


class BatchOutput(NamedTuple):
    """What a network predicts of a batch; the loss is 0 where there is nothing to predict."""

    latents: Tensor  # (n, K, d)
    logits: Tensor  # (n, K)
    descriptors: Tensor  # (n, K, r), r = 0 where none are predicted
    token_loss: Tensor  # scalar


class Heads(nn.Module):
    """Quality logits and response descriptors.

    Parameters
    ----------
    width : int
        d, size of a hidden state.
    n_models : int
        K.
    n_descriptors : int
        r, descriptors of each response that are predicted from its latent; may be 0.
    kind : {"pooled", "cls"}
        ``"pooled"``: q_k = w . z_k + b_k with one w for all models, so that models can be permuted
        and added. ``"cls"``: all logits from the prompt's state by a dense layer, as in the paper.
    """

    def __init__(self, width: int, n_models: int, n_descriptors: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.dropout = nn.Dropout(DROPOUT)
        self.level = nn.Parameter(torch.zeros(n_models, dtype=torch.float32))
        f32 = torch.float32  # whatever the process has for a default
        self.descriptor_map = nn.Linear(width, n_descriptors, dtype=f32) if n_descriptors else None
        if kind == "cls":
            self.dense = nn.Linear(width, width, dtype=f32)
            self.norm = nn.LayerNorm(width, dtype=f32)
            self.scorer = nn.Linear(width, n_models, bias=False, dtype=f32)
        else:
            self.scorer = nn.Linear(width, 1, bias=False, dtype=f32)
        nn.init.zeros_(self.scorer.weight)  # start from what each model scores on average

    def forward(self, latents: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """Quality logits (n, K) and descriptors (n, K, r)."""
        if self.kind == "cls":
            state = self.norm(nn.functional.gelu(self.dense(prompt)))
            logits = self.scorer(self.dropout(state))
        else:
            logits = self.scorer(self.dropout(latents)).squeeze(-1)
        if self.descriptor_map is None:
            return logits + self.level, latents[..., :0]
        return logits + self.level, self.descriptor_map(self.dropout(latents))
