"""Fine-tuning a language model, on accelerate.

The learning rate, the order of the prompts, dropout and the curriculum depend on the number of the
step alone; so a training that was killed goes on as if nothing had happened. The gradient of a
step is that of its mean losses over all its prompts, however they are cut to fit into memory and
shared among processes; only dropout, which every process draws for its own prompts, is another.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lookahead_sk._device import autocast
from lookahead_sk._typing import BoolArray, Float32Array, IntArray
from lookahead_sk.routing._language_model._batching import TokenBudget, epoch_steps, within_budget
from lookahead_sk.routing._language_model._checkpoint import (
    Checkpoint,
    load_optimizer,
    optimizer_tensors,
)
from lookahead_sk.routing._language_model._prediction import predict_prompts
from lookahead_sk.routing._language_model._processes import Processes
from lookahead_sk.routing._language_model._sequences import Responses, Tokens, hidden_share
from lookahead_sk.routing._training._losses import response_loss, routing_loss

NEW_PARAMETERS_RATE = 10.0  # heads and model tokens start from nothing, the backbone does not
WARM_UP = 0.05
WEIGHT_DECAY = 0.0
MAX_NORM = 1.0
MAX_LEFT_OUT = 5  # steps running without a finite gradient
TRAINING_TOKENS = {"cpu": 2048, "cuda": 16384, "mps": 4096}
CHECKPOINT_SECONDS = 300.0
PROGRESS = ("step", "losses", "best_key", "best_epoch")


@dataclass(frozen=True)
class TrainingTexts:
    """What is trained on: n prompts of which some are held out for validation."""

    prompts: list[Tokens]
    responses: Responses | None
    scores: Float32Array  # (n, K) in [0, 1], NaN where not observed
    descriptors: Float32Array | None  # (n, K, r)
    is_held_out: BoolArray  # (n,)


@dataclass(frozen=True)
class LanguagePlan:
    """How to train; see `MaskedLookaheadRouter` for the meaning of each entry."""

    response_weight: float
    descriptor_weight: float
    learning_rate: float
    batch_size: int
    max_epochs: int
    early_stopping: bool
    patience: int
    precision: str
    seed: int
    verbose: bool


class LanguageTrainer:
    """One run of training, epoch by epoch.

    Parameters
    ----------
    network : MaskedLookahead or CausalLookahead
        Trained in place.
    texts : TrainingTexts
        Data.
    plan : LanguagePlan
        Sizes, rates and seeds.
    device : torch.device
        Where to train; each of several processes takes its own.
    checkpoint : Checkpoint, optional
        Where a training in progress is kept.
    """

    def __init__(
        self,
        network: Any,
        texts: TrainingTexts,
        plan: LanguagePlan,
        device: torch.device,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.processes = Processes()
        self.device = self.processes.device(device)
        self.network = network.to(self.device)
        self.texts = texts
        self.plan = plan
        self.checkpoint = checkpoint
        self.rows = np.flatnonzero(~texts.is_held_out)
        self.cells = cells_to_learn(network, texts)
        self.sizes = [network.cost(len(p), texts.responses is not None) for p in texts.prompts]
        self.steps_per_epoch = math.ceil(len(self.rows) / plan.batch_size)
        self.n_steps = self.steps_per_epoch * plan.max_epochs
        self.budget = TokenBudget(TRAINING_TOKENS.get(self.device.type, 2048))
        self.optimizer = torch.optim.AdamW(
            parameter_groups(network, plan.learning_rate), weight_decay=WEIGHT_DECAY
        )
        self.processes.start_alike([*network.parameters(), *network.buffers()])
        self.trained = {k: p for k, p in network.named_parameters() if p.requires_grad}
        self.step = 0
        self.n_left_out = 0
        self.losses: list[float] = []
        self.best_key = (-math.inf, -math.inf)
        self.best_epoch = 0
        self.best = self._copy()
        self.saved_at = time.monotonic()
        self._resume()
        if len(set(self.processes.all_of(self.step))) > 1:
            raise ValueError("checkpoint_folder must be the same folder for all processes.")

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self.trained.items()}

    def _resume(self) -> None:
        loaded = None if self.checkpoint is None else self.checkpoint.load()
        if self.checkpoint is None or loaded is None:
            return
        try:
            self._take_over(*loaded)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise self.checkpoint.damaged(error) from error

    def _take_over(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        for name, parameter in self.trained.items():
            for kind in ("now", "best"):
                if tensors[f"{kind}.{name}"].shape != parameter.shape:
                    raise ValueError(f"{kind}.{name} has another shape")
        _assign(self.trained, {name: tensors[f"now.{name}"] for name in self.trained})
        self.best = {name: tensors[f"best.{name}"] for name in self.trained}
        load_optimizer(self.optimizer, tensors)
        for name in PROGRESS:
            setattr(self, name, progress[name])
        self.best_key = tuple(progress["best_key"])

    def save(self) -> None:
        """Write a checkpoint, if there is a folder for it."""
        self.saved_at = time.monotonic()
        if self.checkpoint is None or not self.processes.is_main:
            return
        tensors = {f"now.{name}": p.detach() for name, p in self.trained.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= optimizer_tensors(self.optimizer)
        progress = {name: getattr(self, name) for name in PROGRESS}
        self.checkpoint.save(tensors, progress)

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or held-out prompts have not gained for a while."""
        waited = len(self.losses) - self.best_epoch
        is_stopped = self.plan.early_stopping and waited >= self.plan.patience
        return self.step >= self.n_steps or is_stopped

    def run_epoch(self) -> None:
        """Train what is left of an epoch."""
        epoch, done = divmod(self.step, self.steps_per_epoch)
        lengths = [len(self.texts.prompts[i]) for i in self.rows]
        steps = epoch_steps(lengths, self.plan.batch_size, self.plan.seed, epoch)
        is_shown = self.plan.verbose and self.processes.is_main
        bar = tqdm(steps, f"epoch {epoch + 1}", initial=done, disable=not is_shown)
        for part in steps[done:]:
            loss = self._step(self.rows[part])
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}")
            is_due = time.monotonic() - self.saved_at > CHECKPOINT_SECONDS
            if is_due and self.step % self.steps_per_epoch:
                self.save()
        bar.close()
        self._validate()
        self.save()

    def _step(self, rows: IntArray) -> float:
        """One step of the optimiser, in as many micro-batches as memory asks for."""
        share = self.processes.share(rows.tolist())
        n_cells = self.cells[rows].sum(axis=0)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate_at(self.step, self.n_steps)
        self.network.train()
        while True:
            micro = within_budget(share, self.sizes, self.budget.tokens)
            try:
                loss = self._accumulate(micro, n_cells)
                break
            except RuntimeError as error:
                self.budget.shrink(error, max(map(len, micro)))
        self.processes.sum_gradients(list(self.trained.values()))
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), MAX_NORM)
        self._descend(bool(torch.isfinite(norm)))
        self.step += 1
        return self.processes.total(loss, self.device)

    def _descend(self, is_finite: bool) -> None:
        """Update the weights; a step whose gradient is not finite is left out."""
        self.n_left_out = 0 if is_finite else self.n_left_out + 1
        if is_finite:
            self.optimizer.step()
        elif self.n_left_out >= MAX_LEFT_OUT:
            raise FloatingPointError(
                f"Training diverged: at step {self.step} the gradient was not finite for the "
                f"{MAX_LEFT_OUT}th time running. Give a smaller learning_rate, or dtype='float32'."
            )

    def _accumulate(self, micro: list[list[int]], n_cells: IntArray) -> float:
        """This process's part of the gradient of the mean losses over a step's cells."""
        self.optimizer.zero_grad(set_to_none=True)
        devices = [self.device] if self.device.type == "cuda" else []
        total = 0.0
        with torch.random.fork_rng(devices=devices):
            seed = self.plan.seed * 1_000_003 + self.step
            torch.manual_seed((seed + self.processes.rank * 2**52) % 2**63)
            for rows in micro:
                loss = self._loss(rows, n_cells)
                loss.backward()
                total += float(loss.detach())
        return total

    def _loss(self, rows: list[int], n_cells: IntArray) -> Tensor:
        """What some prompts add to the losses, each a mean over cells of the whole step."""
        texts, plan = self.texts, self.plan
        responses = None if texts.responses is None else [texts.responses[i] for i in rows]
        share = hidden_share(self.step, self.n_steps)
        prompts = [texts.prompts[i] for i in rows]
        batch = self.network.collate(prompts, responses, share).to(self.device)
        with autocast(self.device, plan.precision):
            seen = self.network(batch)
        shares = (self.cells[rows].sum(axis=0) / np.maximum(n_cells, 1)).tolist()
        weight = torch.ones(len(rows), device=self.device, dtype=torch.float32)
        scores = torch.from_numpy(texts.scores[rows]).to(self.device)
        loss = shares[0] * routing_loss(seen.logits.float(), scores, weight)
        loss = loss + shares[1] * plan.response_weight * seen.token_loss
        if texts.descriptors is not None:
            true = torch.from_numpy(texts.descriptors[rows]).to(self.device)
            extra = response_loss(seen.descriptors.float(), true, weight)
            loss = loss + shares[2] * plan.response_weight * plan.descriptor_weight * extra
        return loss

    def _validate(self) -> None:
        """Keep the weights that route held-out prompts best."""
        held_out = np.flatnonzero(self.texts.is_held_out)
        prompts = [self.texts.prompts[i] for i in held_out]
        _, logits, _ = predict_prompts(self.network, prompts, self.device, self.plan.precision)
        key = self.processes.agreed(validation_key(logits, self.texts.scores[held_out]))
        self.losses.append(-key[1])
        is_better = key > self.best_key
        if is_better or not self.plan.early_stopping:
            self.best_key, self.best = key, self._copy()
            self.best_epoch = len(self.losses)

    def snapshot(self) -> Any:
        """A copy of the network with the best weights so far; training goes on undisturbed."""
        network = copy.deepcopy(self.network)
        _assign(dict(network.named_parameters()), self.best)
        return network

    def finish(self) -> None:
        """Give the network its best weights; the checkpoint is no longer needed."""
        _assign(self.trained, self.best)
        if self.checkpoint is not None and self.processes.is_main:
            self.checkpoint.remove()
        self.processes.wait()


@torch.no_grad()
def _assign(parameters: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)


def cells_to_learn(network: Any, texts: TrainingTexts) -> IntArray:
    """Scores, responses to predict tokens of, and described responses of every prompt, (n, 3)."""
    cells = np.zeros((len(texts.prompts), 3), dtype=np.int64)
    cells[:, 0] = (~np.isnan(texts.scores)).sum(axis=1)
    if texts.responses is not None:
        cells[:, 1] = [sum(map(network.learns_from, row)) for row in texts.responses]
    if texts.descriptors is not None:
        cells[:, 2] = (~np.isnan(texts.descriptors)).any(axis=2).sum(axis=1)
    return cells


def rate_at(step: int, n_steps: int) -> float:
    """Share of the learning rate at a step: a short warm-up, then a cosine to 0."""
    warm_up = max(1.0, WARM_UP * n_steps)
    rising = min(1.0, (step + 1) / warm_up)
    return rising * 0.5 * (1 + math.cos(math.pi * step / max(1, n_steps)))


def parameter_groups(network: Any, learning_rate: float) -> list[dict[str, Any]]:
    """What is trained: the backbone, and what is new to it at ten times its rate."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    is_new = {name: not name.startswith("language_model.model.") for name, _ in named}
    groups = [
        (learning_rate, [p for name, p in named if not is_new[name]]),
        (learning_rate * NEW_PARAMETERS_RATE, [p for name, p in named if is_new[name]]),
    ]
    return [{"params": params, "lr": rate, "base_lr": rate} for rate, params in groups if params]


def validation_key(logits: Float32Array, scores: Float32Array) -> tuple[float, float]:
    """What is maximised on held-out prompts: the routed score, then minus the routing loss."""
    chosen = scores[np.arange(len(scores)), logits.argmax(axis=1)]
    observed = chosen[~np.isnan(chosen)]
    weight = torch.ones(len(scores), dtype=torch.float32)
    loss = routing_loss(torch.from_numpy(logits), torch.from_numpy(scores), weight)
    return float(observed.mean()) if len(observed) else -math.inf, -float(loss)
