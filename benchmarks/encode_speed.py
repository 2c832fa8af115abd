"""What a frozen encoder costs: sentence-transformers' own call, ours, and what else was tried.

``LOOKAHEAD_SK_DATA=folder python benchmarks/encode_speed.py`` encodes real prompts, the ways in
turn; CPU seconds, medians of rounds. ``cosine`` is the least likeness to the first embeddings.
Where openvino is installed, its rows are printed too.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lookahead_sk.datasets import fetch_lookahead_bench
from lookahead_sk.routing._features._sentence_encoder import encode, load_encoder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="data; LOOKAHEAD_SK_DATA when not given")
    parser.add_argument("--n", type=int, default=192, help="prompts")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prompts = fetch_lookahead_bench(folder=args.folder).prompts
    chosen = np.random.RandomState(0).permutation(len(prompts))[: args.n]
    texts = [str(prompts[i]) for i in chosen]
    model = load_encoder(None, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and what it warns of is its own business
        small = torch.ao.quantization.quantize_dynamic(
            copy.deepcopy(model), {torch.nn.Linear}, dtype=torch.qint8
        )
    half = copy.deepcopy(model).bfloat16()
    ways: dict[str, Callable[[], np.ndarray]] = {
        "sentence-transformers, batches of 32": lambda: model.encode(texts),
        "the same, batches of 128": lambda: model.encode(texts, batch_size=128),
        "the same, batches of 8": lambda: model.encode(texts, batch_size=8),
        "lookahead_sk: batches of 512 tokens": lambda: encode(texts, model),
        "bfloat16, batches of 8": lambda: half.encode(texts, batch_size=8),
        "int8 linear layers, batches of 8": lambda: small.encode(texts, batch_size=8),
    }
    if importlib.util.find_spec("openvino") is not None:
        from _openvino import to_openvino

        other = to_openvino(model)
        ways["OpenVINO, batches of 32"] = lambda: other.encode(texts)
        ways["OpenVINO, batches of 512 tokens"] = lambda: encode(texts, other)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, np.ndarray] = {}
    for _ in range(args.rounds):
        for name, way in ways.items():
            start = time.process_time()
            found[name] = np.asarray(way(), dtype=np.float32)
            seconds[name].append(time.process_time() - start)
    first = next(iter(ways))
    print("| way | prompts / CPU s | ratio | cosine |\n|---|---|---|---|")
    for name in ways:
        median, base = np.median(seconds[name][1:]), np.median(seconds[first][1:])
        norms = [np.linalg.norm(found[key], axis=1) for key in (name, first)]
        cosine = ((found[name] * found[first]).sum(axis=1) / norms[0] / norms[1]).min()
        print(f"| {name} | {args.n / median:.1f} | {base / median:.2f} | {cosine:.4f} |")


if __name__ == "__main__":
    main()
