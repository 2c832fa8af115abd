"""CPU against GPU for the embedding router and for `ask`; hidden states of all prompts."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _cuda_setup import Setup, Step

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.routing._language_model._batching import within_budget

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "sentence-transformers", "scikit-learn", "numpy", "accelerate")
HIDDEN_TOKENS = 1024  # of a prompt, from its beginning
HIDDEN_BATCH = {"cuda": 32768, "cpu": 1024}  # tokens


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def environment(setup: Setup) -> dict[str, Any]:
    """Device and versions."""
    found: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count()}
    found |= {name: _version(name) for name in PACKAGES}
    found |= {"threads": torch.get_num_threads(), "prompts": len(setup.data.prompts)}
    if setup.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {"device": card.name, "memory_gib": card.total_memory / 2**30}
        found |= {"cuda": torch.version.cuda, "bf16": torch.cuda.is_bf16_supported()}
    return found


def marked_tests(setup: Setup) -> dict[str, Any]:
    """The tests that need a GPU, by a process of their own, without their optional plugins."""
    files = [p for p in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.cuda" in p.read_text()]
    names = [str(p.relative_to(ROOT)) for p in files]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", *names]
    command += ["-o", "filterwarnings=default", "-p", "no:cacheprovider", "-p", "no:randomly"]
    limit = min(setup.sizes.test_seconds, setup.clock.left())
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"not done after {limit:.0f} s"}
    lines = (done.stdout + done.stderr).strip().splitlines()
    found: dict[str, Any] = {"summary": lines[-1] if lines else "", "exit": done.returncode}
    if done.returncode != 0:
        found["output"] = lines[-40:]
    return found


def first(setup: Setup) -> Iterator[Step]:
    """Where this runs, and the tests."""
    yield Step("environment", "environment", lambda: environment(setup))
    yield Step("tests marked cuda", "tests", lambda: marked_tests(setup))


def _encoder_speed(setup: Setup, prompts: list[str], device: str) -> dict[str, float]:
    """Prompts a second of the encoder alone, by the size of its batches."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(setup.minilm), device=device)
    prompts = prompts if device == "cuda" else prompts[:128]
    speeds = {}
    for size in (32, 256):
        model.encode(prompts[:size], batch_size=size, show_progress_bar=False)
        taken = setup.seconds(
            lambda size=size: model.encode(prompts, batch_size=size, show_progress_bar=False)
        )
        speeds[f"batches of {size}"] = len(prompts) / taken
    return speeds


def _one_prompt(router: Any, prompts: list[str]) -> float:
    """Median milliseconds to route a single prompt."""
    times = []
    for prompt in prompts:
        start = time.perf_counter()
        router.predict([prompt])
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def embedding_router(setup: Setup) -> dict[str, Any]:
    """Fit and predict with the frozen encoder on both devices."""
    sizes = setup.sizes
    train, test = setup.folds[0]
    train = np.random.RandomState(0).permutation(train)[: sizes.n_fit]
    prompts = setup.prompts(np.random.RandomState(0).permutation(test)[: sizes.n_predicted])
    record: dict[str, Any] = {"fitted_on": len(train), "predicted": len(prompts)}
    qualities = {}
    for name, device in (("cpu", "cpu"), ("gpu", setup.device)):
        router = setup.embedding_router(device)
        fitting = setup.seconds(lambda router=router: router.fit(**setup.given(train)))
        router.predict(prompts[:32])
        predicting = setup.seconds(lambda router=router: router.predict(prompts))
        qualities[name] = router.predict_quality(prompts)
        record[name] = {
            "fit_seconds": fitting,
            "predicted_per_second": len(prompts) / predicting,
            "one_prompt_ms": _one_prompt(router, prompts[:20]),
            "encoder_alone_per_second": _encoder_speed(setup, prompts, device),
        }
    # The router that was fitted on the GPU, asked on the CPU: rounding alone.
    qualities["moved"] = router.set_params(device="cpu").predict_quality(prompts)
    for name, other in (("fitted apart", "cpu"), ("same router", "moved")):
        difference = np.abs(qualities["gpu"] - qualities[other])
        same = qualities["gpu"].argmax(axis=1) == qualities[other].argmax(axis=1)
        record[name] = {
            "largest_difference": difference.max(),
            "median_difference": np.median(difference),
            "same_choice": same.mean(),
        }
    return record


def embedding(setup: Setup) -> Iterator[Step]:
    """The embedding router on CPU and GPU."""
    yield Step(
        "embedding router, CPU and GPU", "embedding devices", lambda: embedding_router(setup)
    )


def _outcomes(x: Any) -> Any:
    """An objective and two constraints, (n, 3)."""
    n_features = x.shape[1]
    rng = np.random.default_rng(0)
    weights, phases = rng.uniform(1, 4, (3, n_features)), rng.uniform(0, 6, (3, n_features))
    waves = np.sin(weights * x[:, None] + phases).sum(-1)
    waves[:, 1:] -= 0.5
    return waves


def _asks(setup: Setup, d: int, n: int, device: str) -> dict[str, Any]:
    """Seconds of the first ask, of later ones with a fit each, and of one without a fit."""
    optimizer = TwoStepConstrainedBO(
        np.tile([0.0, 1.0], (d, 1)), 2, n_initial=1, device=device, random_state=0
    )
    x = np.random.default_rng(1).random((n, d))
    times = []
    for _ in range(1 + setup.sizes.n_asks):
        optimizer.tell(x, _outcomes(x))
        start = time.perf_counter()
        x = optimizer.ask(plan_pending=False)
        times.append(time.perf_counter() - start)
    # The surrogate is fitted to all that was told: what is left is the search.
    start = time.perf_counter()
    optimizer.ask(plan_pending=False)
    alone = time.perf_counter() - start
    return {"first": times[0], "ask": statistics.median(times[1:]), "search_alone": alone}


def ask(setup: Setup) -> Iterator[Step]:
    """`ask` on both devices; each begins a plan, the more expensive step."""
    end = time.perf_counter() + setup.sizes.ask_seconds

    def work(d: int, n: int) -> dict[str, Any]:
        record: dict[str, Any] = {"d": d, "n": n, "constraints": 2}
        for name, device in (("gpu", setup.device), ("cpu", "cpu")):
            if time.perf_counter() > end:
                return record | {"skipped": f"{name}: the time for asks is over"}
            record[name] = _asks(setup, d, n, device)
        return record

    for d, n in setup.sizes.asks:
        yield Step(f"ask, d = {d}, n = {n}", "ask", lambda d=d, n=n: work(d, n))


@torch.no_grad()
def hidden_states(setup: Setup) -> dict[str, Any]:
    """Mean over a prompt's tokens but the first of layers of the causal backbone, to files.

    Row i belongs to prompt i as ``fetch_lookahead_bench`` gives them; one file for each layer of
    ``Sizes.layers`` and one for the mean of all layers between the first and the last of them.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, device = setup.smollm2.path(), torch.device(setup.device)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    trunk = model.base_model.to(device).eval()
    prompts = setup.prompts(range(len(setup.data.prompts)))
    ids = [tokenizer(prompt).input_ids[:HIDDEN_TOKENS] or [0] for prompt in prompts]
    kept: dict[str, Any] = {}
    for rows in within_budget(range(len(ids)), list(map(len, ids)), HIDDEN_BATCH[device.type]):
        states = _mean_states(trunk, [ids[i] for i in rows], setup.sizes.layers, device)
        for name, values in states.items():
            table = kept.setdefault(name, np.zeros((len(ids), values.shape[1]), np.float16))
            table[rows] = values
    for name, table in kept.items():
        np.savez_compressed(setup.out / f"hidden_{name}.npz", states=table)
    return {"files": sorted(kept), "shape": list(next(iter(kept.values())).shape)}


def _mean_states(
    trunk: Any, ids: list[list[int]], layers: tuple[int, ...], device: torch.device
) -> dict[str, Any]:
    """Mean states (n, d) of prompts, by the name of the layer."""
    longest = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    is_real = torch.tensor([[i < len(row) for i in range(longest)] for row in ids])
    output = trunk(
        input_ids=tokens.to(device),
        attention_mask=is_real.long().to(device),
        output_hidden_states=True,
        use_cache=False,
    )
    counted = is_real.clone()
    counted[:, 0] = is_real.sum(dim=1) == 1  # the first token's state says little of the prompt
    weight = (counted / counted.sum(dim=1, keepdim=True)).unsqueeze(-1).to(device)
    means = [
        (state.float() * weight).sum(dim=1)
        for state in output.hidden_states[layers[0] : layers[-1] + 1]
    ]
    found = {f"layer_{n}": means[n - layers[0]] for n in layers}
    found[f"layers_{layers[0]}_to_{layers[-1]}"] = torch.stack(means).mean(dim=0)
    return {name: values.cpu().numpy().astype(np.float16) for name, values in found.items()}


def hidden(setup: Setup) -> Iterator[Step]:
    """Hidden states of the causal backbone for all prompts."""
    yield Step("hidden states", "hidden", lambda: hidden_states(setup))
