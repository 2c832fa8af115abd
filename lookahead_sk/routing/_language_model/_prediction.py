"""Predicting many prompts with a network, in batches that fit into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookahead_sk._device import autocast
from lookahead_sk._typing import Float32Array
from lookahead_sk.routing._language_model._batching import in_batches
from lookahead_sk.routing._language_model._sequences import Tokens

PREDICTION_TOKENS = {"cpu": 4096, "cuda": 65536, "mps": 8192}


def _array(values: Tensor) -> Float32Array:
    return values.detach().float().cpu().numpy()


@torch.no_grad()
def predict_prompts(
    network: Any, prompts: list[Tokens], device: torch.device, precision: str
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Latents, quality logits and response descriptors.

    Parameters
    ----------
    network : MaskedLookahead or CausalLookahead
        On the device.
    prompts : list of list of int
        Token ids of n prompts.
    device : torch.device
        Where to compute.
    precision : {"float32", "bfloat16"}
        Of the computation.

    Returns
    -------
    latents : ndarray of shape (n, K, d)
        Hidden states.
    logits : ndarray of shape (n, K)
        Logits of the predicted quality.
    descriptors : ndarray of shape (n, K, r)
        Predicted response descriptors.
    """
    network.eval()

    def work(rows: list[int]) -> tuple[Float32Array, Float32Array, Float32Array]:
        batch = network.collate([prompts[i] for i in rows], None, 1.0).to(device)
        with autocast(device, precision):
            seen = network(batch)
        return _array(seen.latents), _array(seen.logits), _array(seen.descriptors)

    costs = [network.cost(len(prompt), False) for prompt in prompts]
    order, parts = in_batches(work, prompts, costs, PREDICTION_TOKENS.get(device.type, 4096))
    back = np.argsort(order)
    latents, logits, descriptors = (
        np.concatenate([part[i] for part in parts])[back] for i in range(3)
    )
    return latents, logits, descriptors


def predict_first_tokens(
    network: Any, prompts: list[Tokens], device: torch.device, precision: str
) -> list[list[Tokens]]:
    """The first tokens that every model is expected to write, n x K."""
    network.eval()

    def work(rows: list[int]) -> list[list[Tokens]]:
        batch = network.collate([prompts[i] for i in rows], None, 1.0).to(device)
        with autocast(device, precision):
            return network.first_tokens(batch)

    costs = [network.cost(len(prompt), True) for prompt in prompts]
    order, parts = in_batches(work, prompts, costs, PREDICTION_TOKENS.get(device.type, 4096))
    found = [cells for part in parts for cells in part]
    return [found[i] for i in np.argsort(order)]
