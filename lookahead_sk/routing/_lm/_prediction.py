"""Foreseeing many prompts with a trained network."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lookahead_sk.routing._lm._batches import in_batches
from lookahead_sk.routing._lm._sequences import Tokens

Floats32 = npt.NDArray[np.float32]

PREDICTION_TOKENS = {"cpu": 4096, "cuda": 65536, "mps": 8192}


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Run in bfloat16 where that is asked for."""
    is_on = precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_on)


def resolve_precision(dtype: str, device: torch.device) -> str:
    """``"auto"`` is bfloat16 on a CUDA device that has it, else float32."""
    if dtype != "auto":
        return dtype
    is_fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if is_fast else "float32"


def _array(values: Tensor) -> Floats32:
    return values.detach().float().cpu().numpy()


@torch.no_grad()
def foresee_prompts(
    network: Any, prompts: list[Tokens], device: torch.device, precision: str
) -> tuple[Floats32, Floats32, Floats32]:
    """Latents, quality logits and facts.

    Parameters
    ----------
    network : MaskedLookahead or CausalLookahead
        On the device.
    prompts : list of list of int
        Token ids of n prompts.
    device : torch.device
        Where to compute.
    precision : {"float32", "bfloat16"}
        See `autocast`.

    Returns
    -------
    latents : ndarray of shape (n, K, d)
        Hidden states.
    logits : ndarray of shape (n, K)
        Logits of the predicted quality.
    facts : ndarray of shape (n, K, r)
        Foreseen facts.
    """
    network.eval()

    def work(rows: list[int]) -> tuple[Floats32, Floats32, Floats32]:
        batch = network.collate([prompts[i] for i in rows], None, 1.0).to(device)
        with autocast(device, precision):
            seen = network(batch)
        return _array(seen.latents), _array(seen.logits), _array(seen.facts)

    costs = [network.cost(len(prompt), False) for prompt in prompts]
    order, parts = in_batches(work, prompts, costs, PREDICTION_TOKENS.get(device.type, 4096))
    back = np.argsort(order)
    latents, logits, facts = (np.concatenate([part[i] for part in parts])[back] for i in range(3))
    return latents, logits, facts


def expect_responses(
    network: Any, prompts: list[Tokens], device: torch.device, precision: str
) -> list[list[Tokens]]:
    """The first tokens that every model is expected to write, n x K."""
    network.eval()

    def work(rows: list[int]) -> list[list[Tokens]]:
        batch = network.collate([prompts[i] for i in rows], None, 1.0).to(device)
        with autocast(device, precision):
            return network.expect(batch)

    costs = [network.cost(len(prompt), True) for prompt in prompts]
    order, parts = in_batches(work, prompts, costs, PREDICTION_TOKENS.get(device.type, 4096))
    found = [cells for part in parts for cells in part]
    return [found[i] for i in np.argsort(order)]
