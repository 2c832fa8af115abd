"""The network on frozen features: latents of every unwritten response, and a score from them.

==  =====================================================================
x   (n, p) prompt features, or (M, n, p) when every member sees its own
z   (M, n, K, r) predicted latents
q   (M, n, K) logits of the predicted quality
M   members of the ensemble, trained side by side in one batch of tensors
h   (M, n, hidden) what a member makes of the prompt
==  =====================================================================

z_k = B_k x + A_k h(x) + a_k and q_k = u_k . z_k + v_k . h(x) + c_k. B is the ridge regression of
the response descriptors on the features, in closed form; h learns by gradient what is left. Every
model has its own rows of A, B, u and v, so that its answer never depends on which others are in the
pool.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lookahead_sk._typing import Float32Array, IntArray

Weights = dict[str, Float32Array]


class LatentPredictor(nn.Module):
    """An ensemble of small networks from prompt features to latents and quality logits.

    Parameters
    ----------
    n_members : int
        M, members of the ensemble.
    n_features : int
        p, prompt features.
    n_models : int
        K, candidate models.
    n_latent : int
        r, size of the latent of one model.
    n_hidden : int
        Hidden units of each member.
    dropout : float
        Share of inputs and hidden units dropped in training.
    generator : torch.Generator, optional
        For the initial weights; without it they are left unset, to be loaded.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025: the latent
       F(x, t) and the classifier on it.
    """

    def __init__(
        self,
        n_members: int,
        n_features: int,
        n_models: int,
        n_latent: int,
        n_hidden: int,
        dropout: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.shape = (n_models, n_latent)
        self.dropout = dropout

        def normal(rows: int, columns: int, scale: float) -> nn.Parameter:
            size = (n_members, rows, columns)
            if generator is None:  # the weights will be loaded
                return nn.Parameter(torch.empty(size, dtype=torch.float32))
            return nn.Parameter(torch.randn(size, generator=generator, dtype=torch.float32) * scale)

        def zeros(*size: int) -> Tensor:
            return torch.zeros(n_members, *size, dtype=torch.float32)

        width = n_models * n_latent
        self.hidden_weight = normal(n_features, n_hidden, n_features**-0.5)
        self.hidden_bias = nn.Parameter(zeros(1, n_hidden))
        self.latent_weight = nn.Parameter(zeros(n_hidden, width))
        self.linear_weight = nn.Parameter(zeros(n_features, width), requires_grad=False)
        self.latent_bias = nn.Parameter(zeros(1, width))
        self.score_latent = normal(n_models, n_latent, 0.1 * n_latent**-0.5)
        self.score_hidden = nn.Parameter(zeros(n_hidden, n_models))
        self.score_bias = nn.Parameter(zeros(1, n_models))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents (M, n, K, r) and quality logits (M, n, K) of features (n, p)."""
        n_members = self.hidden_weight.shape[0]
        x = x.expand(n_members, *x.shape[-2:])
        noisy = nn.functional.dropout(x, self.dropout, self.training)
        hidden = torch.relu(torch.baddbmm(self.hidden_bias, noisy, self.hidden_weight))
        hidden = nn.functional.dropout(hidden, self.dropout, self.training)
        latents = torch.baddbmm(self.latent_bias, x, self.linear_weight)
        latents = torch.baddbmm(latents, hidden, self.latent_weight)
        latents = latents.unflatten(-1, self.shape)  # (M, n, K, r)
        from_latents = torch.einsum("mnkr,mkr->mnk", latents, self.score_latent)
        logits = from_latents + torch.baddbmm(self.score_bias, hidden, self.score_hidden)
        return latents, logits


def decayed_parameters(network: LatentPredictor) -> list[dict[str, object]]:
    """Parameter groups for AdamW: weights, which decay, and biases, which do not."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    return [
        {"params": [p for name, p in named if not name.endswith("bias")]},
        {"params": [p for name, p in named if name.endswith("bias")], "weight_decay": 0.0},
    ]


@torch.no_grad()
def predict_latents(
    weights: Weights,
    features: Float32Array,
    device: torch.device,
    fold: IntArray | None = None,
    chunk: int = 4096,
) -> tuple[Float32Array, Float32Array]:
    """Latents and quality logits, averaged over the members or each by one member.

    Parameters
    ----------
    weights : dict of ndarray
        Parameters of `LatentPredictor`.
    features : ndarray of shape (n, p)
        Prompt features, scaled as in training.
    device : torch.device
        Where to compute.
    fold : ndarray of shape (n,), optional
        The member that answers for each prompt; all of them, averaged, when not given.
    chunk : int, default=4096
        Prompts per forward pass.

    Returns
    -------
    latents : ndarray of shape (n, K, r)
        Predicted latents.
    logits : ndarray of shape (n, K)
        Logits of the predicted quality.
    """
    network = _network(weights).to(device).eval()
    parts = []
    for start in range(0, len(features), chunk):
        rows = slice(start, start + chunk)
        latents, logits = network(torch.from_numpy(features[rows]).to(device))
        if fold is None:
            latents, logits = latents.mean(dim=0), logits.mean(dim=0)
        else:
            member = torch.from_numpy(fold[rows]).to(device)
            position = torch.arange(len(member), device=device)
            latents, logits = latents[member, position], logits[member, position]
        parts.append((latents.cpu().numpy(), logits.cpu().numpy()))
    return np.concatenate([z for z, _ in parts]), np.concatenate([q for _, q in parts])


def _network(weights: Weights) -> LatentPredictor:
    n_members, n_features, n_hidden = weights["hidden_weight"].shape
    _, n_models, n_latent = weights["score_latent"].shape
    with torch.device("meta"):  # no time is spent on initial weights
        network = LatentPredictor(n_members, n_features, n_models, n_latent, n_hidden, 0.0)
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    network.load_state_dict(tensors, assign=True)
    return network
