"""A small multi-label network from features to scores, trained in torch, applied in numpy.

Symbols: Z (n, d) standardised features, T (n, K) targets in [0, 1] with NaN where not observed,
w (n,) weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit

from lookahead_sk._device import gradients
from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk.routing._local_average._clusters import model_means

if TYPE_CHECKING:
    import torch


class Network(NamedTuple):
    """Weights of one hidden layer of rectified linear units, kept as numpy arrays."""

    W1: FloatArray  # (d, h)
    b1: FloatArray  # (h,)
    W2: FloatArray  # (h, K)
    b2: FloatArray  # (K,)

    def predict(self, Z: FloatArray) -> FloatArray:
        """Chance of every model to be right, (n, K)."""
        chance: FloatArray = expit(np.maximum(Z @ self.W1 + self.b1, 0) @ self.W2 + self.b2)
        return chance


class Schedule(NamedTuple):
    """How a network is trained; see `MLPRouter`."""

    hidden_size: int
    dropout: float
    learning_rate: float
    weight_decay: float
    max_epochs: int
    batch_size: int
    patience: int


def _initial(d: int, h: int, K: int, bias: FloatArray, rng: torch.Generator) -> list[torch.Tensor]:
    import torch

    def draw(fan_in: int, fan_out: int) -> torch.Tensor:
        bound = fan_in**-0.5
        values = torch.rand(fan_in, fan_out, generator=rng, dtype=torch.float64)
        return (2 * values - 1) * bound

    parameters = [
        draw(d, h),
        torch.zeros(h, dtype=torch.float64),
        draw(h, K),
        torch.from_numpy(bias),
    ]
    return [parameter.requires_grad_() for parameter in parameters]


def _loss(logits: torch.Tensor, T: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy over the cells that were observed."""
    import torch

    seen = ~torch.isnan(T)
    targets = torch.where(seen, T, 0.0)
    cells = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weights = seen * w[:, None]
    return (cells * weights).sum() / weights.sum().clamp_min(1e-12)


@gradients()
def train_network(
    Z: FloatArray, T: FloatArray, w: FloatArray, held_out: IntArray, schedule: Schedule, seed: int
) -> Network:
    """Train by AdamW until the loss on held-out rows stops falling, and return the best state.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Standardised features.
    T : ndarray of shape (n, K)
        Targets in [0, 1], NaN where not observed.
    w : ndarray of shape (n,)
        Weights of the prompts.
    held_out : ndarray of int
        Rows that are not trained on; if empty, all epochs are run and the last state is returned.
    schedule : Schedule
        Size and training of the network.
    seed : int
        Determines the first weights, the batches and the dropout.

    Returns
    -------
    Network
        O(max_epochs n h (d + K)).
    """
    import torch

    rng = torch.Generator().manual_seed(seed)
    train = np.setdiff1d(np.arange(len(Z)), held_out)
    base = np.clip(model_means(T, w), 0.01, 0.99)
    bias = np.log(base / (1 - base))
    W1, b1, W2, b2 = parameters = _initial(Z.shape[1], schedule.hidden_size, T.shape[1], bias, rng)
    data = [torch.from_numpy(np.ascontiguousarray(array)) for array in (Z, T, w)]
    held = [array[held_out] for array in data]
    optimiser = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    best, best_state, since_best = np.inf, [p.detach().clone() for p in parameters], 0
    for _ in range(schedule.max_epochs):
        for batch in torch.from_numpy(train)[torch.randperm(len(train), generator=rng)].split(
            schedule.batch_size
        ):
            z, t, v = (array[batch] for array in data)
            hidden = torch.relu(z @ W1 + b1)
            kept = torch.rand(hidden.shape, generator=rng, dtype=torch.float32) >= schedule.dropout
            loss = _loss(hidden * kept / (1 - schedule.dropout) @ W2 + b2, t, v)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            z, t, v = held
            value = float(_loss(torch.relu(z @ W1 + b1) @ W2 + b2, t, v)) if len(z) else -np.inf
        since_best += 1
        if value < best or not len(z):
            best, since_best = value, 0
            best_state = [p.detach().clone() for p in parameters]
        if since_best >= schedule.patience:
            break
    return Network(*[p.numpy() for p in best_state])
