"""Fine-tuned routers on a fold of real prompts: time, memory, routed score, agreement."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from _blends import qualities, with_blend
from _cuda_setup import Clock, Setup, Step

from lookahead_sk.metrics import oracle_gain_score

AFTER_TRAINING = 20.0  # seconds that the local average and the evaluation may take


class Watch:
    """Callback: seconds of every epoch, and a stop where the next one would not fit.

    Parameters
    ----------
    clock : Clock
        Of the run.
    reserve : float
        Seconds to keep for what follows.
    """

    def __init__(self, clock: Clock, reserve: float) -> None:
        self.clock, self.reserve = clock, reserve + AFTER_TRAINING
        self.seconds: list[float] = []
        self.begun = 0.0

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing to prepare."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing to clear."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """An epoch begins."""
        self.begun = time.perf_counter()

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        """An epoch ends."""
        if context.task_name != "epoch":
            return False
        self.seconds.append(time.perf_counter() - self.begun)
        return self.clock.left() - self.reserve < 1.1 * self.seconds[-1]


def measures(setup: Setup, test: Any, quality: Any, best_single: int) -> dict[str, Any]:
    """Routed score, and shares of the oracle's gain over the best single model."""
    scores, groups = setup.data.scores[test], setup.data.benchmark[test]
    chosen = quality.argmax(axis=1)
    rewards = scores[np.arange(len(test)), chosen]
    found: dict[str, Any] = {"score": rewards.mean()}
    found["macro_score"] = np.mean([rewards[groups == g].mean() for g in np.unique(groups)])
    for average in ("macro", "micro"):
        try:
            found[f"{average}_gain"] = oracle_gain_score(
                scores, chosen, best_single=best_single, groups=groups, average=average
            )
        except ValueError:  # few prompts: the oracle gains nothing
            found[f"{average}_gain"] = None
    return found


def evaluate(setup: Setup, router: Any, label: str, fold: int) -> dict[str, Any]:
    """Score the router, its network and its local average on the test prompts of the fold."""
    train, test = setup.folds[fold]
    prompts = setup.prompts(test)
    best = int(np.nanmean(setup.data.scores[train], axis=0).argmax())
    found = qualities(router, prompts)
    kept = {"label": label, "fold": fold, "best_single": best, "test": test.tolist()}
    kept |= {name: np.round(values, 4).tolist() for name, values in found.items()}
    with (setup.out / "choices.jsonl").open("a") as file:
        file.write(json.dumps(kept) + "\n")
    scores = setup.data.scores[test]
    return {
        "best_single_score": scores[:, best].mean(),
        "oracle_score": scores.max(axis=1).mean(),
        **{name: measures(setup, test, q, best) for name, q in found.items()},
    }


def agreement(setup: Setup, router: Any, prompts: list[str]) -> dict[str, Any]:
    """The network in bfloat16 on the device against float32 on the CPU."""
    fitted = router.predictor_
    fast = with_blend(router, 1.0).predict_quality(prompts)
    exact = router.set_params(device="cpu", dtype="float32").predict_quality(prompts)
    router.set_params(device=setup.device, dtype="bfloat16")
    router.predictor_ = fitted
    return {
        "largest_difference": np.abs(fast - exact).max(),
        "same_choice": (fast.argmax(axis=1) == exact.argmax(axis=1)).mean(),
        "prompts": len(prompts),
    }


def keep_states(setup: Setup, router: Any, fold: int, name: str) -> None:
    """The network's quality of all prompts; of the first fold also latents, their mean over models.

    To a file.
    """
    prompts = setup.prompts(range(len(setup.data.prompts)))
    n, n_models = setup.data.scores.shape
    kept = {}
    if fold == setup.sizes.folds[0]:
        latents = router.transform(prompts).reshape(n, n_models, -1)
        kept["latents"] = latents.mean(axis=1).astype(np.float16)
    fitted = router.predictor_
    quality = with_blend(router, 1.0).predict_quality(prompts)
    router.predictor_ = fitted
    folder = setup.out / "states"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(
        folder / f"{name}_{fold}.npz",
        quality=quality.astype(np.float32),
        train=setup.folds[fold][0],
        test=setup.folds[fold][1],
        **kept,
    )


def embedding_arm(setup: Setup, fold: int) -> dict[str, Any]:
    """The frozen encoder on the same fold."""
    train, _ = setup.folds[fold]
    router = setup.embedding_router(setup.device)
    seconds = setup.seconds(lambda: router.fit(**setup.given(train)))
    record = {"approach": "embedding", "fold": fold, "fit_seconds": seconds}
    record |= {"blend": router.blend_, "validation_score": router.validation_score_}
    return record | evaluate(setup, router, "embedding", fold)


def arm(setup: Setup, approach: str, has_loss: bool, fold: int, reserve: float) -> dict[str, Any]:
    """One fine-tuned router."""
    train, test = setup.folds[fold]
    changes = {} if has_loss else {"response_weight": 0.0}
    router = setup.router(approach, **changes)
    watch = Watch(setup.clock, reserve)
    router.set_callbacks(watch)
    if setup.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = setup.seconds(lambda: router.fit(**setup.given(train)))
    peak = torch.cuda.max_memory_allocated() / 2**30 if setup.device == "cuda" else None
    n_held_out = round(len(train) * router.validation_fraction)
    n_trained = len(train) - n_held_out
    n_steps = math.ceil(n_trained / setup.sizes.batch_size)
    record = {
        "approach": approach,
        "response_weight": router.response_weight,
        "learning_rate": router.learning_rate,
        "fold": fold,
        "fit_seconds": seconds,
        "epoch_seconds": watch.seconds,
        "epochs_asked": router.max_epochs,
        "steps_per_epoch": n_steps,
        "seconds_per_step": min(watch.seconds) / n_steps,  # validation included
        "prompts_per_second": n_trained / min(watch.seconds),
        "peak_gib": peak,
        "validation_losses": router.validation_losses_,
        "validation_score": router.validation_score_,
        "blend": router.blend_,
    }
    label = f"{approach}, response loss {'on' if has_loss else 'off'}"
    record |= evaluate(setup, router, label, fold)
    predicted = setup.prompts(test)
    predicting = setup.seconds(lambda: router.predict_quality(predicted))
    record["predicted_per_second"] = len(predicted) / predicting
    if fold == setup.sizes.folds[0]:
        few = setup.prompts(test[: setup.sizes.n_agreement])
        record["agreement"] = agreement(setup, router, few)
    keep_states(setup, router, fold, f"{approach}_{'on' if has_loss else 'off'}")
    return record


def steps_of_fold(setup: Setup, fold: int, reserve: float) -> Iterator[Step]:
    """The frozen encoder, then every fine-tuned router, as far as they are asked for."""
    for name in setup.sizes.arms:
        if name == "embedding":
            work = partial(embedding_arm, setup, fold)
            yield Step(f"fold {fold}, embedding", name, work, reserve)
            continue
        approach, _, loss = name.partition("-")
        work = partial(arm, setup, approach, loss == "on", fold, reserve)
        yield Step(f"fold {fold}, {approach}, response loss {loss}", name, work, reserve)


def training(setup: Setup) -> Iterator[Step]:
    """The first fold."""
    yield from steps_of_fold(setup, setup.sizes.folds[0], setup.sizes.reserve)


def later_folds(setup: Setup) -> Iterator[Step]:
    """Further folds, for as long as there is time."""
    for fold in setup.sizes.folds[1:]:
        yield from steps_of_fold(setup, fold, 5.0)
