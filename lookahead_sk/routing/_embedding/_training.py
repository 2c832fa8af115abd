"""Training the members of the small network side by side, each with its own held-out fold.

Member m never sees fold m of the training prompts; on that fold it is stopped early, and only there
are its latents those of new prompts. What comes after (local average, blend, calibration) is fitted
on these held-out latents alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lookahead_sk.routing._embedding._network import LatentPredictor, Weights, decayed_parameters
from lookahead_sk.routing._training._losses import response_loss, routing_loss

N_HIDDEN = 128
DROPOUT = 0.4
WEIGHT_DECAY = 1e-2
PATIENCE = 5
PENALTIES = (0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 5.0)  # of the ridge regression, per training prompt


@dataclass(frozen=True)
class TrainingData:
    """Tensors on the training device."""

    features: Tensor  # (n, p)
    scores: Tensor  # (n, K) in [0, 1], NaN where not observed
    descriptors: Tensor | None  # (n, K, r), NaN where not observed
    fold: Tensor  # (n,), the member that leaves the prompt out
    cell_weight: Tensor | None = None  # (n, K), of the scores

    def mean_scores(self) -> Tensor:
        """Mean score (K,) of every model."""
        if self.cell_weight is None:
            return self.scores.nanmean(dim=0)
        cells = torch.where(self.scores.isnan(), 0.0, self.cell_weight)
        return (cells * self.scores.nan_to_num()).sum(dim=0) / cells.sum(dim=0)


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
    """One run of training, epoch by epoch."""

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
            network.score_bias.add_(torch.logit(data.mean_scores(), eps=1e-3))
            if data.descriptors is not None and plan.response_weight > 0:
                network.linear_weight.copy_(linear_latents(data, self.is_held_out))
        self.optimizer = torch.optim.AdamW(
            decayed_parameters(network), lr=plan.learning_rate, weight_decay=WEIGHT_DECAY
        )
        n_steps = math.ceil(n / plan.batch_size) * plan.max_epochs
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, n_steps)
        self.best_loss = torch.full((plan.n_members,), torch.inf, dtype=torch.float32)
        self.best = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.n_waiting = 0
        self.losses: list[float] = []
        self.bar = tqdm(total=plan.max_epochs, desc="fit", unit="epoch", disable=not plan.verbose)

    @property
    def is_over(self) -> bool:
        """Whether all epochs are trained, or no member has improved for a while."""
        is_stopped = self.plan.early_stopping and self.n_waiting >= PATIENCE
        return is_stopped or len(self.losses) >= self.plan.max_epochs

    def _loss(self, rows: Tensor, weight: Tensor) -> Tensor:
        latents, logits = self.network(self.data.features[rows])
        cell_weight = self.data.cell_weight
        cells = None if cell_weight is None else cell_weight[rows]
        loss = routing_loss(logits, self.data.scores[rows], weight, cells)
        if self.data.descriptors is not None and self.plan.response_weight > 0:
            predicted = response_loss(latents, self.data.descriptors[rows], weight)
            loss = loss + self.plan.response_weight * predicted
        return loss

    def run_epoch(self) -> None:
        """Train one epoch and keep each member's best weights."""
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
        self._record(self.held_out_loss())
        self.bar.update()
        self.bar.set_postfix(held_out_loss=f"{self.losses[-1]:.4f}")

    @torch.no_grad()
    def held_out_loss(self) -> Tensor:
        """Loss of every member on its own fold, (M,)."""
        self.network.eval()
        total = torch.zeros(self.plan.n_members, dtype=torch.float32)
        for member in range(self.plan.n_members):
            rows = torch.nonzero(self.data.fold == member).flatten()
            if len(rows):
                total[member] = self._loss(rows, self.is_held_out[:, rows])[member].cpu()
        return total

    def _record(self, loss: Tensor) -> None:
        """Keep the weights of the members whose loss is the least so far."""
        self.losses.append(float(loss.mean()))
        is_better = loss < self.best_loss
        self.best_loss = torch.where(is_better, loss, self.best_loss)
        for name, parameter in self.network.named_parameters():
            keep = is_better if self.plan.early_stopping else torch.ones_like(is_better)
            keep = keep.to(parameter.device).view(-1, *[1] * (parameter.dim() - 1))
            self.best[name] = torch.where(keep, parameter.detach(), self.best[name])
        self.n_waiting = 0 if bool(is_better.any()) else self.n_waiting + 1

    def weights(self) -> Weights:
        """The kept weights as numpy arrays, which load on any machine."""
        return {name: value.cpu().numpy().copy() for name, value in self.best.items()}


def linear_latents(data: TrainingData, is_held_out: Tensor) -> Tensor:
    """Ridge regression of the response descriptors on the features, for each member.

    Parameters
    ----------
    data : TrainingData
        Features (n, p) and descriptors (n, K, r); one that was not observed counts as its mean.
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
    target_values = torch.nan_to_num(data.descriptors.flatten(1).double())  # type: ignore[union-attr]
    weights, errors = [], []
    for held_out in is_held_out.bool():
        inside, outside = x[~held_out], x[held_out]
        values, axes = torch.linalg.eigh(inside.T @ inside)
        target = axes.T @ (inside.T @ target_values[~held_out])
        penalties = len(inside) * torch.tensor(PENALTIES, dtype=x.dtype, device=x.device)
        shrunk = target / (values.clamp_min(0)[:, None] + penalties[:, None, None])
        coefficients = axes @ shrunk  # (penalties, p, K * r)
        errors.append(((outside @ coefficients - target_values[held_out]) ** 2).sum(dim=(1, 2)))
        weights.append(coefficients)
    best = int(torch.stack(errors).sum(dim=0).argmin())
    return torch.stack([coefficients[best] for coefficients in weights]).float()


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
