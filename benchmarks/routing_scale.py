"""Time and memory of fit and predict as prompts get many, embeddings given; import and cold start.

``python benchmarks/routing_scale.py`` fits ``LookaheadRouter(encoder="passthrough")`` with five
models, prompt embeddings of 384 numbers and response embeddings of 64, each size in a process of
its own. Memory is the peak of that process less what it held before ``fit``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

N_MODELS, WIDTH, RESPONSE_WIDTH = 5, 384, 64
IMPORTS = {
    "import lookahead_sk": "import lookahead_sk",
    "import sklearn.ensemble": "import sklearn.ensemble",
    "import torch": "import torch",
    "import sentence_transformers": "import sentence_transformers",
}


def made(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompts in 200 clusters, responses that follow them, noisy scores."""
    rng = np.random.default_rng(0)
    kind = rng.integers(200, size=n)
    centers = rng.normal(size=(200, WIDTH)).astype(np.float32)
    X = centers[kind] + rng.normal(size=(n, WIDTH)).astype(np.float32)
    skill = rng.random((200, N_MODELS))
    y = (rng.random((n, N_MODELS)) < skill[kind]).astype(float)
    maps = rng.normal(size=(200, N_MODELS, RESPONSE_WIDTH)).astype(np.float32)
    responses = maps[kind]
    responses += rng.standard_normal(responses.shape, dtype=np.float32)
    return X, y, responses


def peak() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(n: int) -> dict[str, float]:
    """Fit on n prompts."""
    from lookahead_sk import LookaheadRouter

    X, y, responses = made(n)
    router = LookaheadRouter(encoder="passthrough", random_state=0)
    warm = slice(0, 200)
    LookaheadRouter(encoder="passthrough", random_state=0).fit(X[warm], y[warm], responses[warm])
    before, start = peak(), time.perf_counter()
    router.fit(X, y, responses)
    fit, memory, start = time.perf_counter() - start, peak() - before, time.perf_counter()
    router.predict(X[:5000])
    predict = time.perf_counter() - start
    data = (X.nbytes + y.nbytes + responses.nbytes) / 2**20
    return {"n": n, "fit": fit, "memory": memory, "data": data, "predict": predict}


def seconds(code: str) -> float:
    """Median of five starts of Python with this program, less an empty one."""

    def median(code: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    return median(code) - median("pass")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 50_000, 500_000])
    parser.add_argument("--one", type=int, help="what a process of its own is asked for")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one)))
        return
    print("| program | s |\n|---|---|")
    for name, code in IMPORTS.items():
        print(f"| {name} | {seconds(code):.2f} |", flush=True)
    print("\n| prompts | fit, s | ms a prompt | memory beside the data, MB | data, MB |", end="")
    print(" predict 5,000, s |\n|---|---|---|---|---|---|")
    for n in args.sizes:
        command = [sys.executable, __file__, "--one", str(n)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        r = json.loads(done.stdout.splitlines()[-1])
        cells = [r["fit"], 1000 * r["fit"] / n, r["memory"], r["data"], r["predict"]]
        print(f"| {n:,} | " + " | ".join(f"{c:.3g}" for c in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
