"""The routing loss and the response loss, with cells that were not observed left out.

=========  ================================================================
q          (..., n, K) logits of the quality of K models on n prompts
s          (n, K) scores scaled to [0, 1], NaN where not observed
z          (..., n, K, r) predicted latents
t          (n, K, r) descriptors of the true responses, NaN where not observed
w          (..., n) weight of each prompt (0 leaves it out)
=========  ================================================================
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, cells: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over the observed cells, for each leading index.

    Parameters
    ----------
    values : Tensor of shape (..., n, K)
        Loss of every cell; what is not observed may hold anything finite.
    cells : Tensor of bool or float, shape (n, K)
        Which cells count, or how much.
    weight : Tensor of shape (..., n)
        Weight of each prompt.

    Returns
    -------
    Tensor of shape (...)
        ``sum(w * values) / sum(w)`` over observed cells, 0 where there is none.
    """
    cells = weight.unsqueeze(-1) * cells
    total = cells.sum(dim=(-2, -1))
    return (values * cells).sum(dim=(-2, -1)) / total.clamp_min(torch.finfo(values.dtype).tiny)


def routing_loss(
    logits: Tensor, scores: Tensor, weight: Tensor, cell_weight: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of the quality logits against soft targets.

    Parameters
    ----------
    logits : Tensor of shape (..., n, K)
        Predicted quality, as logits.
    scores : Tensor of shape (n, K)
        Scores in [0, 1], NaN where not observed.
    weight : Tensor of shape (..., n)
        Weight of each prompt.
    cell_weight : Tensor of shape (n, K), optional
        How much every observed cell counts; 1 when not given.

    Returns
    -------
    Tensor of shape (...)
        Mean loss over the observed cells, in nats.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025, L_route.
    """
    cells = ~scores.isnan()
    if cell_weight is not None:
        cells = torch.where(cells, cell_weight, 0.0)
    target = scores.nan_to_num().expand_as(logits)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return masked_mean(loss, cells, weight)


def response_loss(latents: Tensor, descriptors: Tensor, weight: Tensor) -> Tensor:
    """Squared error of the predicted latents against the descriptors of the true responses.

    Parameters
    ----------
    latents : Tensor of shape (..., n, K, r)
        Predicted latents.
    descriptors : Tensor of shape (n, K, r)
        Standardised descriptors, NaN where not observed.
    weight : Tensor of shape (..., n)
        Weight of each prompt.

    Returns
    -------
    Tensor of shape (...)
        Mean over the observed responses of the sum over descriptors; predicting the mean of
        each costs 1, since the descriptors of a response have total variance 1.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025, L_resp.
    """
    is_observed = ~descriptors.isnan()
    errors = torch.where(is_observed, latents - descriptors.nan_to_num(), 0.0) ** 2
    return masked_mean(errors.sum(dim=-1), is_observed.any(dim=-1), weight)
