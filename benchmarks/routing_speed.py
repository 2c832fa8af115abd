"""What a LookaheadRouter costs beside the sentence encoder alone, in one run.

``python benchmarks/routing_speed.py`` prints medians of several repetitions, taken in turns.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lookahead_sk import LookaheadRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.routing._features._sentence_encoder import load_encoder

N_TEXTS, N_REPEATS, N_SINGLE = 256, 7, 60


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(first: Callable[[], Any], second: Callable[[], Any], n: int) -> tuple[float, float]:
    """Medians of two calls that take turns, so that both see the same machine."""
    pairs = [(seconds(first), seconds(second)) for _ in range(n)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def peak_rss_during(work: Callable[[], Any]) -> float:
    """Growth of the resident set while a call runs, in MB, sampled every 5 ms."""

    def resident() -> float:
        fields = Path("/proc/self/statm").read_text().split()
        return int(fields[1]) * 4096 / 1e6

    stop = threading.Event()
    seen = [resident()]

    def watch() -> None:
        while not stop.wait(0.005):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        stop.set()
        watcher.join()
    return max(seen) - seen[0]


def main() -> None:
    """Print the table."""
    data = make_routing(600 + N_TEXTS, random_state=0)
    # Real prompts are longer than these: three of them make one of about 60 tokens.
    texts = [" ".join(data.prompts[i : i + 3]) for i in range(600, 600 + N_TEXTS)]
    router = LookaheadRouter(random_state=0)
    router.fit(data.prompts[:600], data.scores[:600], responses=data.responses[:600])
    encoder = load_encoder(None, "auto")

    def encode(part: list[str]) -> Any:
        return encoder.encode(part, normalize_embeddings=True, show_progress_bar=False)

    router.predict(texts)
    alone, routed = in_turns(lambda: encode(texts), lambda: router.predict(texts), N_REPEATS)
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}\n")
    print("| what | encoder alone | router | ratio | goal |")
    print("|---|---|---|---|---|")
    print(f"| {N_TEXTS} texts | {alone:.3f} s | {routed:.3f} s | {routed / alone:.3f} | <= 1.10 |")
    pairs = [
        (seconds(lambda t=t: encode([t])), seconds(lambda t=t: router.predict([t])))
        for t in texts[:N_SINGLE]
    ]
    one, one_routed = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(
        f"| a single text | {1e3 * one:.2f} ms | {1e3 * one_routed:.2f} ms "
        f"| {one_routed / one:.3f} | <= 1.15 |"
    )

    rng = np.random.RandomState(0)
    X = rng.randn(5000, 384).astype(np.float32)
    responses = rng.randn(5000, 5, 384).astype(np.float32)
    scores = rng.rand(5000, 5)
    given = LookaheadRouter(encoder="passthrough", random_state=0)
    times = [seconds(lambda: given.fit(X, scores, responses=responses)) for _ in range(3)]
    memory = peak_rss_during(lambda: given.fit(X, scores, responses=responses))
    print(
        f"| fit, 5,000 prompts, 5 models, embeddings given | | {statistics.median(times):.1f} s "
        f"| | <= 20 s |"
    )
    print(f"| its peak memory beyond the embeddings | | {memory:.0f} MB | | < 500 MB |")


if __name__ == "__main__":
    main()
