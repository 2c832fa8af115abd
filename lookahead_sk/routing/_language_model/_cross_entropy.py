"""Cross-entropy over a large vocabulary in bounded memory.

h  (N, d) hidden states at labelled places;  t  (N,) true tokens;  V entries in the vocabulary
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lookahead_sk.routing._language_model._backbone import LanguageModel
from lookahead_sk.routing._language_model._sequences import IGNORED

# Logits that are held at once: 32 MB in float32 on a CPU, for its caches, and 512 MB elsewhere.
MAX_LOGITS = {"cpu": 2**23, "cuda": 2**27, "mps": 2**25}


def token_losses(
    hidden: Tensor,
    targets: Tensor,
    logits_of: Callable[[Tensor], Tensor],
    n_vocabulary: int,
    max_logits: int | None = None,
) -> Tensor:
    """Negative log-likelihood of every true token.

    Parameters
    ----------
    hidden : Tensor of shape (N, d)
        Hidden states.
    targets : Tensor of shape (N,)
        True tokens.
    logits_of : callable
        The vocabulary head, (n, d) to (n, V).
    n_vocabulary : int
        V.
    max_logits : int, default=None
        No more logits than this are held at once: they are computed chunk by chunk, and again in
        the backward pass. None is what suits the device.

    Returns
    -------
    Tensor of shape (N,)
        In nats, float32.
    """
    if max_logits is None:
        max_logits = MAX_LOGITS.get(hidden.device.type, MAX_LOGITS["cpu"])
    size = max(1, max_logits // n_vocabulary)

    def of_chunk(part: Tensor, target: Tensor) -> Tensor:
        logits = logits_of(part).float()
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    if len(hidden) <= size:
        return of_chunk(hidden, targets)
    parts = [
        checkpoint(of_chunk, h, t, use_reentrant=False)
        for h, t in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    return torch.cat(parts)


def mean_over_responses(losses: Tensor, response: Tensor, n_responses: int) -> Tensor:
    """Mean over responses of their mean loss, so that no long-winded model drowns the others.

    Parameters
    ----------
    losses : Tensor of shape (N,)
        Loss of every token.
    response : Tensor of shape (N,)
        Number of the response that the token belongs to.
    n_responses : int
        How many responses there can be.

    Returns
    -------
    Tensor
        Scalar; 0 when there is no token.

    References
    ----------
    .. [1] Huang et al., "Lookahead Routing for Large Language Models", NeurIPS 2025:
       L_resp = (1 / T) sum_t L_rec(x, y_t).
    """
    zeros = losses.new_zeros(n_responses)
    total = zeros.index_add(0, response, losses)
    count = zeros.index_add(0, response, torch.ones_like(losses))
    means = total / count.clamp_min(1)
    return means.sum() / (count > 0).sum().clamp_min(1)


def response_token_loss(hidden: Tensor, labels: Tensor, language_model: LanguageModel) -> Tensor:
    """Mean over responses of the cross-entropy of their labelled tokens.

    Parameters
    ----------
    hidden : Tensor of shape (n, K, m, d)
        Hidden states.
    labels : Tensor of shape (n, K, m)
        True tokens; logits are computed only where there is one.
    language_model : LanguageModel
        Whose vocabulary head is used.

    Returns
    -------
    Tensor
        Scalar, float32; 0 when nothing is labelled.
    """
    is_labelled = labels != IGNORED
    if not is_labelled.any():
        return hidden.new_zeros((), dtype=torch.float32)
    losses = token_losses(
        hidden[is_labelled],
        labels[is_labelled],
        language_model.vocabulary_logits,
        language_model.n_vocabulary,
    )
    n_responses = labels.shape[0] * labels.shape[1]
    number = torch.arange(n_responses, device=labels.device).view(*labels.shape[:2], 1)
    return mean_over_responses(losses, number.expand_as(labels)[is_labelled], n_responses)
