"""One prepared run on a GPU, of at most ten minutes; every finished part is a line of a file.

``python benchmarks/cuda.py --data FOLDER --minilm FOLDER --smollm2 FILE_OR_FOLDER --out FOLDER``
does, in this order:

first      device and versions; the tests marked cuda
embedding  LookaheadRouter on CPU and GPU
ask        TwoStepConstrainedBO.ask on CPU and GPU
training   the fine-tuned routers in bfloat16 on fold 0, response loss on and off
profile    one training step and one prediction of each approach, taken apart
hidden     hidden states of the causal backbone for all prompts, to files
folds      further folds of ``training``, until the time is over

``--folds``, ``--arms`` and ``--epochs`` choose what is trained: a GPU has time for several
processes, each with arms and an ``--out`` of its own.

``OUT/cuda.jsonl`` gets the records, ``OUT/choices.jsonl`` the qualities of the test prompts.
Nothing is downloaded. ``--rehearse`` runs the same code on a CPU in tiny sizes, on made-up prompts
and random backbones where no folders are given.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import argparse
import json
import math
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _backbones import minilm
from _cuda_parts import ask, embedding, first, hidden
from _cuda_profile import profile
from _cuda_setup import (
    ARMS,
    TINY,
    CausalFolder,
    Clock,
    Setup,
    Sizes,
    Step,
    load_data,
    tiny_causal,
    tiny_encoder,
)
from _cuda_training import later_folds, training

DIGITS = 4  # significant ones, that are written
SHOWN = 300  # characters of a record that are printed; the file holds all


PARTS: dict[str, Callable[[Setup], Iterator[Step]]] = {
    "first": first,
    "embedding": embedding,
    "ask": ask,
    "training": training,
    "profile": profile,
    "hidden": hidden,
    "folds": later_folds,
}


def plain(value: Any) -> Any:
    """The same as JSON has it, floats with few digits."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.{DIGITS}g}")
    return value


def perform(setup: Setup, step: Step, durations: dict[str, float]) -> dict[str, Any]:
    """Do a step, unless it would take longer than there is time."""
    needed = durations.get(step.kind, 0.0) + step.reserve
    if setup.clock.left() < needed:
        return {"skipped": f"{setup.clock.left():.0f} s are left, {needed:.0f} needed"}
    start = time.perf_counter()
    try:
        record = step.work()
    except Exception:
        record = {"error": traceback.format_exc().splitlines()[-12:]}
    taken = time.perf_counter() - start
    if "error" not in record:
        durations[step.kind] = taken
    if setup.device == "cuda":
        torch.cuda.empty_cache()
    return {"seconds": taken, **record}


def run(setup: Setup, parts: list[str]) -> None:
    """All steps of the parts."""
    durations: dict[str, float] = {}
    for part in parts:
        for step in PARTS[part](setup):
            record = plain({"part": part, "label": step.label, **perform(setup, step, durations)})
            line = json.dumps(record)
            with (setup.out / "cuda.jsonl").open("a") as file:
                file.write(line + "\n")
            print(f"[{setup.clock.left():.0f} s left] {line[:SHOWN]}", flush=True)


def prepared(args: argparse.Namespace, cache: Path) -> Setup:
    """Everything that the parts read; backbones that are not given are made up or packaged."""
    sizes = TINY if args.rehearse else Sizes()
    if args.folds:
        sizes = replace(sizes, folds=tuple(args.folds))
    if args.arms:
        sizes = replace(sizes, arms=tuple(args.arms))
    if args.epochs:
        sizes = replace(sizes, epochs=tuple((name, args.epochs) for name, _ in sizes.epochs))
    encoder = args.minilm or (tiny_encoder(cache / "encoder") if args.rehearse else minilm())
    causal = args.smollm2
    if causal is None:
        if not args.rehearse:
            raise SystemExit("--smollm2 must name a folder or a GGUF file.")
        causal = tiny_causal(cache / "causal")
    return Setup(
        data=load_data(args.data, sizes.n_prompts),
        minilm=encoder,
        smollm2=CausalFolder(causal, cache),
        device="cpu" if args.rehearse else "cuda",
        sizes=sizes,
        out=args.out,
        clock=Clock(args.minutes),
        learning_rate=args.learning_rate,
    )


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the seven benchmarks, NAME.jsonl.gz")
    parser.add_argument("--minilm", type=Path, help="folder of a SentenceTransformer")
    parser.add_argument("--smollm2", type=Path, help="folder or GGUF of the causal backbone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cuda"))
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--folds", type=int, nargs="+", metavar="FOLD", help="0 to 4")
    parser.add_argument("--arms", nargs="+", choices=ARMS, metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--epochs", type=int, help="of every training")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on a CPU")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS))
    args = parser.parse_args()
    if not args.rehearse and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; --rehearse runs the same code on a CPU.")
    if args.data is None and not args.rehearse:
        args.data = Path(os.environ.get("LOOKAHEAD_SK_DATA") or sys.exit("--data is needed."))
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as cache:
        setup = prepared(args, Path(cache))
        try:
            run(setup, args.parts or list(PARTS))
        finally:
            setup.smollm2.close()


if __name__ == "__main__":
    main()
