"""Fits of tiny fine-tuned routers, by one process or by each of several."""

import multiprocessing
import os
import socket
import time
from dataclasses import replace

import numpy as np
import torch
from _tiny_models import learnable, tiny

from lookahead_sk import CausalLookaheadRouter, MaskedLookaheadRouter
from lookahead_sk.routing._language_model import _heads, _training

ROUTERS = {
    "masked": (MaskedLookaheadRouter, "bert"),
    "causal": (CausalLookaheadRouter, "llama"),
}
# Steps of 7 prompts of 43, the last of 1: no share of two processes is like the other.
OPTIONS = {
    "response_tokens": 3,
    "descriptor_weight": 0.5,
    "max_epochs": 4,
    "batch_size": 7,
    "validation_fraction": 0.14,
    "learning_rate": 1e-3,
    "early_stopping": False,  # the last epoch is compared, not the best
    "device": "cpu",
}
RANKS = (0, 1)
CASES = {f"{a}-{loss}": (a, loss) for a in ROUTERS for loss in ("on", "off")}


def sparse(n=50):
    """Prompts, of which some models have no score and more have no response."""
    prompts, scores, responses = learnable(n)
    rng = np.random.RandomState(1)
    hidden = rng.randint(2, size=n)
    scores[np.arange(n), hidden] = np.where(rng.rand(n) < 0.4, np.nan, scores[range(n), hidden])
    responses[rng.rand(n, 2) < 0.3] = None
    return prompts, scores, responses


def without_dropout(pair):
    """A backbone that computes the same in training as in prediction."""
    for module in pair[0].modules():
        for name in ("p", "dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return pair


def fit(case, folder=None, seed=0):
    """Quality by the network alone, and validation losses: the local average may jump."""
    approach, loss = CASES[case]
    cls, backbone = ROUTERS[approach]
    prompts, scores, responses = sparse()
    made = cls(
        without_dropout(tiny(backbone)),
        response_weight=1.0 if loss == "on" else 0.0,
        checkpoint_folder=folder,
        random_state=seed,
        **OPTIONS,
    )
    made.fit(prompts, scores, responses=responses)
    made.predictor_ = replace(made.predictor_, blend=1.0)
    return {
        "quality": made.predict_quality(prompts),
        "losses": np.array(made.validation_losses_),
    }


def slow_down(file):
    """Keep the training after every step, and write down which step it is."""
    _training.CHECKPOINT_SECONDS = 0.0
    step = _training.LanguageTrainer._step

    def noted(self, rows):
        with file.open("a") as steps:
            steps.write(f"{self.step}\n")
        time.sleep(0.1)
        return step(self, rows)

    _training.LanguageTrainer._step = noted


def work(rank, port, out, cases, is_slow):
    """What one of two processes does: fit every case, and write what it found."""
    world = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank}
    world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    os.environ.update({key: str(value) for key, value in world.items()})
    torch.set_num_threads(1)
    _heads.DROPOUT = 0.0
    if is_slow:
        slow_down(out / f"steps-{rank}")
    for case in cases:
        found = fit(case, out / "kept" if is_slow else None)
        np.savez(out / f"{case}-{rank}.npz", **found)


def start(out, *cases, is_slow=False):
    """Two processes that train together on a CPU, in the environment of ``torchrun``.

    If ``is_slow``, they keep the training in ``OUT/kept`` after every step, take their time, and
    write the numbers of the steps to ``OUT/steps-RANK``.
    """
    context = multiprocessing.get_context("forkserver")  # imports once, for all processes
    context.set_forkserver_preload(
        [
            "lookahead_sk.routing._language_model._fitting",
            "transformers.models.bert.modeling_bert",
            "transformers.models.llama.modeling_llama",
        ]
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [context.Process(target=work, args=(r, port, out, cases, is_slow)) for r in RANKS]
    for process in started:
        process.start()
    return started


def kill(processes):
    """SIGKILL, which no process can do anything about."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
