"""What the shared prompt saves, and what the response slots cost: two ratios in one run.

``python benchmarks/routing_lm_speed.py`` times, in turns on the same prompts, (1) causal prediction
for five models with the prompt read once against once a model, and (2) masked prediction for five
models of 16 slots against a query-only forward pass of the same backbone. Backbones are the
packaged SmolLM2-135M and MiniLM.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from _backbones import minilm, smollm2
from routing_speed import seconds

from lookahead_sk.routing._language_model._backbone import load_backbone
from lookahead_sk.routing._language_model._causal import CausalLookahead
from lookahead_sk.routing._language_model._masked import MaskedLookahead
from lookahead_sk.routing._language_model._sequences import masked_batch

RESULTS = Path(__file__).resolve().parent / "results"
N_MODELS, N_SLOTS = 5, 16


def prompts(n: int, length: int, n_vocabulary: int) -> list[list[int]]:
    """Random token ids; what they are does not matter for speed."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1000, n_vocabulary, (n, length), generator=generator).tolist()


def rounds(works: list[Any], n: int) -> list[float]:
    """Median seconds of several calls that take turns."""
    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(n)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


@torch.no_grad()
def causal(backbone: Any, n: int, length: int, n_rounds: int) -> list[float]:
    """Seconds with the shared prompt, and without."""
    model, vocabulary = load_backbone(backbone, "causal")
    network = CausalLookahead(model, vocabulary, N_MODELS, N_SLOTS).eval()
    network.initialise(torch.Generator().manual_seed(0))
    batch = network.collate(prompts(n, length, model.n_vocabulary), None, 1.0)
    logits = []

    def predict(shares_prompt: bool) -> None:
        network.shares_prompt = shares_prompt
        logits.append(network(batch).latents)

    times = rounds([lambda: predict(True), lambda: predict(False)], n_rounds)
    print(f"largest difference of latents: {(logits[0] - logits[1]).abs().max():.1e}")
    return times


def causal_training(backbone: Any, n: int, length: int, n_rounds: int) -> list[float]:
    """Seconds of a forward and backward pass with the shared prompt, and without."""
    model, vocabulary = load_backbone(backbone, "causal")
    network = CausalLookahead(model, vocabulary, N_MODELS, N_SLOTS)
    ids = prompts(n, length, model.n_vocabulary)
    responses = [[prompts(1, N_SLOTS, model.n_vocabulary)[0]] * N_MODELS for _ in ids]
    batch = network.collate(ids, responses, 1.0)

    def step(shares_prompt: bool) -> None:
        network.shares_prompt = shares_prompt
        seen = network(batch)
        (seen.token_loss + seen.logits.sum()).backward()

    return rounds([lambda: step(True), lambda: step(False)], n_rounds)


@torch.no_grad()
def masked(n: int, length: int, n_rounds: int) -> list[float]:
    """Seconds for all models at once, and for the prompts alone."""
    model, vocabulary = load_backbone(minilm(), "masked")
    network = MaskedLookahead(model, vocabulary, N_MODELS, N_SLOTS).eval()
    network.initialise(torch.Generator().manual_seed(0))
    ids = prompts(n, length, model.n_vocabulary)
    batch = network.collate(ids, None, 1.0)
    alone = masked_batch(ids, None, n_models=0, n_slots=0, cls=101, sep=102)

    def query_only() -> None:
        model.trunk(
            input_ids=alone.tokens,
            attention_mask=alone.is_real.long(),
            position_ids=alone.positions,
        )

    return rounds([lambda: network(batch), query_only], n_rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=30, help="layers of SmolLM2 that are used")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    backbone = smollm2(RESULTS, args.layers)
    print(f"threads {args.threads}, torch {torch.__version__}, {args.layers} layers of SmolLM2\n")
    rows = [
        ("causal, 256-token prompts: re-encoded / shared", causal(backbone, 4, 256, args.rounds)),
        ("the same, training step, 16 tokens", causal_training(backbone, 1, 256, args.rounds)),
    ]
    print("\n| what | slow | fast | ratio | goal |\n|---|---|---|---|---|")
    for (what, (fast, slow)), goal in zip(rows, (">= 3", ""), strict=True):
        print(f"| {what} | {slow:.3f} s | {fast:.3f} s | {slow / fast:.2f} | {goal} |")
    for length in (256, 128, 64):
        slow, fast = masked(8, length, args.rounds)
        what = f"masked, {length}-token prompts: 5 x 16 slots / query only"
        print(f"| {what} | {slow:.3f} s | {fast:.3f} s | {slow / fast:.2f} | <= 2.5 |")


if __name__ == "__main__":
    main()
