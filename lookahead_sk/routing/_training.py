"""Training the members of the embedding approach side by side, each with its own held-out fold.

Member m never sees fold m of the training prompts; on that fold it is stopped early, and there its
latents are honest. What comes after (kinds of prompt, blending, calibration) is fitted on these
held-out latents only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lookahead_sk.routing._embedding import LatentPredictor, decayed_parameters
from lookahead_sk.routing._losses import response_loss, routing_loss

Weights = dict[str, npt.NDArray[np.float32]]

N_HIDDEN = 128
DROPOUT = 0.4
WEIGHT_DECAY = 1e-2
PATIENCE = 5
PENALTIES = (0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 5.0)  # of the ridge regression, per training prompt


@dataclass(frozen=True)
class TrainingData:
    """Tensors on the training device: features (n, p), scores (n, K) in [0, 1], facts (n, K, r)."""

    features: Tensor
    scores: Tensor
    facts: Tensor | None
    fold: Tensor  # (n,), the member that leaves the prompt out


@dataclass(frozen=True)
class TrainingPlan:
    """How to train; see `LookaheadRouter` for the meaning of each entry."""

    n_members: int
    n_latent: int
    response_weight: float
    learning_rate: float
    batch_size: int
    max_epochs: int
    early_stopping: bool
    seed: int
    verbose: bool


class Trainer:
    """One run of training; `step_epoch` is called once per epoch by the estimator."""

    def __init__(self, data: TrainingData, plan: TrainingPlan) -> None:
        self.data = data
        self.plan = plan
        n, n_features = data.features.shape
        members = torch.arange(plan.n_members, device=data.fold.device)
        self.is_held_out = (data.fold == members[:, None]).float()  # (M, n)
        self.generator = torch.Generator().manual_seed(plan.seed)
        network = LatentPredictor(
            plan.n_members,
            n_features,
            data.scores.shape[1],
            plan.n_latent,
            N_HIDDEN,
            DROPOUT,
            self.generator,
        )
        self.network = network.to(data.features.device)
        with torch.no_grad():  # start from what each model scores on average
            network.score_bias.add_(torch.logit(data.scores.nanmean(dim=0), eps=1e-3))
            if data.facts is not None and plan.response_weight > 0:
                network.linear_weight.copy_(linear_latents(data, self.is_held_out))
        self.optimizer = torch.optim.AdamW(
            decayed_parameters(network), lr=plan.learning_rate, weight_decay=WEIGHT_DECAY
        )
        n_steps = math.ceil(n / plan.batch_size) * plan.max_epochs
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, n_steps)
        self.best_loss = torch.full((plan.n_members,), torch.inf)
        self.best = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.n_waiting = 0
        self.history: list[float] = []

    def _loss(self, rows: Tensor, weight: Tensor) -> Tensor:
        latents, logits = self.network(self.data.features[rows])
        loss = routing_loss(logits, self.data.scores[rows], weight)
        if self.data.facts is not None and self.plan.response_weight > 0:
            facts = response_loss(latents, self.data.facts[rows], weight)
            loss = loss + self.plan.response_weight * facts
        return loss

    def step_epoch(self) -> bool:
        """Train one epoch; return whether training should go on."""
        self.network.train()
        order = torch.randperm(len(self.data.fold), generator=self.generator)
        with torch.random.fork_rng(devices=_cuda_devices(self.data.features.device)):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=self.generator)))
            for rows in order.to(self.data.fold.device).split(self.plan.batch_size):
                loss = self._loss(rows, 1.0 - self.is_held_out[:, rows]).sum()
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                self.schedule.step()
        return self._record(self.held_out_loss())

    @torch.no_grad()
    def held_out_loss(self) -> Tensor:
        """Loss of every member on its own fold, (M,)."""
        self.network.eval()
        total = torch.zeros(self.plan.n_members)
        for member in range(self.plan.n_members):
            rows = torch.nonzero(self.data.fold == member).flatten()
            if len(rows):
                total[member] = self._loss(rows, self.is_held_out[:, rows])[member].cpu()
        return total

    def _record(self, loss: Tensor) -> bool:
        """Keep each member's best weights; stop when no member has improved for a while."""
        self.history.append(float(loss.mean()))
        is_better = loss < self.best_loss
        self.best_loss = torch.where(is_better, loss, self.best_loss)
        for name, parameter in self.network.named_parameters():
            keep = is_better if self.plan.early_stopping else torch.ones_like(is_better)
            keep = keep.to(parameter.device).view(-1, *[1] * (parameter.dim() - 1))
            self.best[name] = torch.where(keep, parameter.detach(), self.best[name])
        self.n_waiting = 0 if bool(is_better.any()) else self.n_waiting + 1
        return not self.plan.early_stopping or self.n_waiting < PATIENCE

    def weights(self) -> Weights:
        """The kept weights as numpy arrays, which load on any machine."""
        return {name: value.cpu().numpy().copy() for name, value in self.best.items()}


def linear_latents(data: TrainingData, is_held_out: Tensor) -> Tensor:
    """Ridge regression of the facts on the features, for each member.

    Parameters
    ----------
    data : TrainingData
        Features (n, p) and facts (n, K, r); a fact that was not observed counts as its mean.
    is_held_out : Tensor of shape (M, n)
        1 where a member leaves a prompt out.

    Returns
    -------
    Tensor of shape (M, p, K * r)
        Coefficients at the penalty with the smallest held-out error of all members together.

    Notes
    -----
    One eigendecomposition a member serves all penalties: O(M (n p^2 + p^3)).
    """
    x = data.features.double()
    facts = torch.nan_to_num(data.facts.flatten(1).double())  # type: ignore[union-attr]
    weights, errors = [], []
    for held_out in is_held_out.bool():
        inside, outside = x[~held_out], x[held_out]
        values, axes = torch.linalg.eigh(inside.T @ inside)
        target = axes.T @ (inside.T @ facts[~held_out])
        penalties = len(inside) * torch.tensor(PENALTIES, dtype=x.dtype, device=x.device)
        shrunk = target / (values.clamp_min(0)[:, None] + penalties[:, None, None])
        coefficients = axes @ shrunk  # (penalties, p, K * r)
        errors.append(((outside @ coefficients - facts[held_out]) ** 2).sum(dim=(1, 2)))
        weights.append(coefficients)
    best = int(torch.stack(errors).sum(dim=0).argmin())
    return torch.stack([coefficients[best] for coefficients in weights]).float()


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def train(
    data: TrainingData,
    plan: TrainingPlan,
    on_epoch: Callable[[Callable[[], bool], Callable[[], Weights]], bool],
) -> tuple[Weights, list[float]]:
    """Train all members and return their best weights and the held-out loss of each epoch.

    Parameters
    ----------
    data : TrainingData
        Tensors on the device to train on.
    plan : TrainingPlan
        Sizes, rates and seeds.
    on_epoch : callable
        Called once an epoch with the epoch's work, which returns whether to go on, and a function
        that gives the weights kept so far; its answer decides whether to go on.

    Returns
    -------
    weights : dict of ndarray
        Parameters of `LatentPredictor`.
    history : list of float
        Mean held-out loss after each epoch.
    """
    trainer = Trainer(data, plan)
    with tqdm(total=plan.max_epochs, desc="fit", unit="epoch", disable=not plan.verbose) as bar:
        for _ in range(plan.max_epochs):
            goes_on = on_epoch(trainer.step_epoch, trainer.weights)
            bar.update()
            bar.set_postfix(held_out_loss=f"{trainer.history[-1]:.4f}")
            if not goes_on:
                break
    return trainer.weights(), trainer.history


@torch.no_grad()
def foresee_latents(
    weights: Weights,
    features: npt.NDArray[np.float32],
    device: torch.device,
    fold: npt.NDArray[np.intp] | None = None,
    chunk: int = 4096,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
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
