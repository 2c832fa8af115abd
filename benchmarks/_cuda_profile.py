"""Where the time of a training step and of a prediction goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from _cuda_setup import Setup, Step

from lookahead_sk._device import autocast
from lookahead_sk.routing._checks import check_fit_data
from lookahead_sk.routing._language_model import _cross_entropy as _cross_entropy_of
from lookahead_sk.routing._language_model import _prediction
from lookahead_sk.routing._language_model._batching import epoch_steps, within_budget
from lookahead_sk.routing._language_model._cross_entropy import token_losses
from lookahead_sk.routing._language_model._sequences import IGNORED

N_OPERATIONS = 12
SMALL_CHUNKS = 2**23  # logits at once, as on a CPU


def _training(setup: Setup, approach: str, **changes: Any) -> Any:
    """A training that has loaded and tokenised everything, and nothing else."""
    train, _ = setup.folds[0]
    rows = np.random.RandomState(0).permutation(train)[: setup.sizes.n_profile]
    router = setup.router(approach, **changes)
    given = setup.given(rows)
    X, y = given.pop("X"), given.pop("y")
    return router._start_training(check_fit_data(router, X, y, **given))


def _padding(batches: list[Any]) -> float:
    """Share of the places in batches where no token stands."""
    real = places = 0
    for batch in batches:
        for name, mask in vars(batch).items():
            if name.endswith("is_real"):
                real, places = real + int(mask.sum()), places + mask.numel()
    return 1 - real / places


def _operations(setup: Setup, work: Callable[[], Any]) -> dict[str, Any]:
    """Operations that take most of the device's time, and the share of it that is used."""
    from torch.profiler import ProfilerActivity, profile

    is_gpu = setup.device == "cuda"
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if is_gpu else [])
    with profile(activities=kinds) as profiled:
        taken = setup.seconds(work)
    events = profiled.key_averages()
    name = "self_device_time_total" if is_gpu else "self_cpu_time_total"
    on_device = [e for e in events if getattr(e, name) > 0]
    if is_gpu:  # kernels, not the calls that started them: else they count twice
        on_device = [e for e in on_device if str(getattr(e, "device_type", "")).endswith("CUDA")]
    on_device.sort(key=lambda e: -getattr(e, name))
    total = sum(getattr(e, name) for e in on_device)
    return {
        "seconds": taken,
        "device_seconds": total / 1e6,
        "kernels": sum(e.count for e in on_device),
        "top": [
            [e.key[:70], e.count, round(getattr(e, name) / 1e3, 2)]
            for e in on_device[:N_OPERATIONS]
        ],
    }


def _median(setup: Setup, works: list[Callable[[], Any]]) -> float:
    return float(np.median([setup.seconds(work) for work in works]))


def _batches(trainer: Any, rows: Any) -> list[Any]:
    """The batches of one step, with all of each response hidden."""
    texts, network = trainer.texts, trainer.network
    return [
        network.collate([texts.prompts[i] for i in part], [texts.responses[i] for i in part], 1.0)
        for part in within_budget(rows.tolist(), trainer.sizes, trainer.budget.tokens)
    ]


def _pieces(setup: Setup, trainer: Any, rows: Any) -> dict[str, Any]:
    """Seconds of every piece of one step, each alone."""
    batches: list[Any] = []
    collating = setup.seconds(lambda: batches.extend(_batches(trainer, rows)))
    moved: list[Any] = []
    moving = setup.seconds(lambda: moved.extend(batch.to(trainer.device) for batch in batches))

    def forward() -> None:
        for batch in moved:
            with autocast(trainer.device, trainer.plan.precision):
                trainer.network(batch)

    forward()
    labels = [batch.labels[batch.labels != IGNORED] for batch in moved]
    return {
        "micro_batches": [len(batch.labels) for batch in batches],
        "padding": _padding(batches),
        "labelled_tokens": sum(len(part) for part in labels),
        "collate": collating,
        "to_device": moving,
        "forward": setup.seconds(forward),
        "cross_entropy": setup.seconds(lambda: _cross_entropy(trainer, labels)),
        "cross_entropy_in_small_chunks": setup.seconds(
            lambda: _cross_entropy(trainer, labels, SMALL_CHUNKS)
        ),
    }


def _cross_entropy(trainer: Any, labels: list[Any], max_logits: int | None = None) -> None:
    """The vocabulary's cross-entropy of random states, forward and backward."""
    model = trainer.network.language_model
    for targets in labels:
        hidden = torch.randn(len(targets), model.width, device=trainer.device, requires_grad=True)
        with autocast(trainer.device, trainer.plan.precision):
            losses = token_losses(
                hidden, targets, model.vocabulary_logits, model.n_vocabulary, max_logits
            )
        losses.mean().backward()


def _steps(trainer: Any) -> list[Any]:
    """Rows of the whole steps of an epoch, from those of short prompts to those of long ones."""
    lengths = [len(trainer.texts.prompts[i]) for i in trainer.rows]
    size = trainer.plan.batch_size
    steps = [trainer.rows[part] for part in epoch_steps(lengths, size, trainer.plan.seed, 0)]
    whole = [rows for rows in steps if len(rows) == size]
    return sorted(whole, key=lambda rows: sum(trainer.sizes[i] for i in rows))


def training_step(setup: Setup, approach: str) -> dict[str, Any]:
    """One optimiser step, taken apart."""
    start = time.perf_counter()
    trainer = _training(setup, approach).trainer
    record: dict[str, Any] = {"load_and_tokenise": time.perf_counter() - start}
    steps = _steps(trainer)
    typical = steps[len(steps) // 2]
    for rows in (steps[-1], typical):
        trainer._step(rows)

    def step() -> None:
        trainer._step(typical)

    def epoch() -> None:
        for rows in steps:
            trainer._step(rows)

    record |= {
        "prompts": len(typical),
        "step": _median(setup, [step] * setup.sizes.n_steps),
        "step_of_an_epoch": setup.seconds(epoch) / len(steps),
        "padding_of_an_epoch": _padding([b for rows in steps for b in _batches(trainer, rows)]),
        "pieces": _pieces(setup, trainer, typical),
        "operations": _operations(setup, step),
    }
    own = dict(_cross_entropy_of.MAX_LOGITS)
    _cross_entropy_of.MAX_LOGITS.update(dict.fromkeys(own, SMALL_CHUNKS))
    step()
    record["step_in_small_chunks"] = _median(setup, [step] * setup.sizes.n_steps)
    _cross_entropy_of.MAX_LOGITS.update(own)
    if hasattr(trainer.network, "shares_prompt"):
        trainer.network.shares_prompt = False
        step()
        record["step_prompt_read_by_each"] = setup.seconds(step)
    return record


def prediction(setup: Setup, approach: str) -> dict[str, Any]:
    """Predicting the test prompts of fold 0 with an untrained head, taken apart."""
    training = _training(setup, approach)
    network, device = training.trainer.network, training.trainer.device
    prompts = setup.prompts(setup.folds[0][1])
    tokens: list[Any] = []
    limit = training.inputs.max_length
    tokenising = setup.seconds(
        lambda: tokens.extend(network.vocabulary.encode_prompts(prompts, limit))
    )
    budget = _prediction.PREDICTION_TOKENS.get(device.type, 4096)

    def predict() -> Any:
        return _prediction.predict_prompts(network, tokens, device, training.precision)

    def collate() -> list[Any]:
        costs = [network.cost(len(row), False) for row in tokens]
        batches = within_budget(range(len(tokens)), costs, budget)
        return [network.collate([tokens[i] for i in part], None, 1.0) for part in batches]

    predict()
    record: dict[str, Any] = {
        "prompts": len(prompts),
        "tokenise": tokenising,
        "predict": _median(setup, [predict] * setup.sizes.n_steps),
        "collate": setup.seconds(collate),
        "padding": _padding(collate()),
        "operations": _operations(setup, predict),
    }
    if hasattr(network, "shares_prompt"):
        network.shares_prompt = False
        record["predict_prompt_read_by_each"] = setup.seconds(predict)
    return record


def embedding_prediction(setup: Setup) -> dict[str, Any]:
    """The default router: the encoder, and all the rest."""
    train, test = setup.folds[0]
    router = setup.embedding_router(setup.device).fit(**setup.given(train[: setup.sizes.n_fit]))
    prompts = setup.prompts(test)
    router.predict(prompts)
    return {
        "prompts": len(prompts),
        "predict": _median(setup, [lambda: router.predict(prompts)] * setup.sizes.n_steps),
        "operations": _operations(setup, lambda: router.predict(prompts)),
    }


def profile(setup: Setup) -> Iterator[Step]:
    """A step and a prediction of every approach."""
    for approach in ("causal", "masked"):
        yield Step(
            f"{approach}: training step",
            "profile",
            lambda approach=approach: training_step(setup, approach),
        )
        yield Step(
            f"{approach}: prediction",
            "profile",
            lambda approach=approach: prediction(setup, approach),
        )
    yield Step("embedding: prediction", "profile", lambda: embedding_prediction(setup))
