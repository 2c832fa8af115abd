"""What each part of the search adds to the two-step value of the point that is chosen.

For states of several problems (random designs) every variant chooses a first point; all of them are
then valued on the same 4,096 fantasies and 512 candidates. Printed: the gain over EIC's maximiser.
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import torch
from _ours import search_problem
from _problems import PROBLEMS

from lookahead_sk import TwoStepConstrainedBO
from lookahead_sk.optimization import SearchOptions
from lookahead_sk.optimization._maximize import (
    greedy_batch,
    maximize_two_step,
    mean_value,
    second_step_candidates,
)

VARIANTS = {
    "default (stratified, 15 steps, N = 32)": SearchOptions(),
    "no ascent, only screening": SearchOptions(max_iter=0),
    "30 steps": SearchOptions(max_iter=30),
    "N = 8 fantasies a step": SearchOptions(n_fantasies=8),
    "N = 128 fantasies a step": SearchOptions(n_fantasies=128),
    "likelihood ratio": SearchOptions(estimator="likelihood_ratio"),
    "no safeguard": SearchOptions(significance=-1e9),
}


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    gains, seconds = defaultdict(list), defaultdict(float)
    for name in ("gramacy", "gardner1_active", "townsend", "hartmann6"):
        problem = PROBLEMS[name]
        low, high = problem.bounds.T
        for seed in range(5):
            n = 8 + 3 * seed if problem.n_features == 2 else 20 + 4 * seed
            x = low + np.random.default_rng(seed).random((n, problem.n_features)) * (high - low)
            optimizer = TwoStepConstrainedBO(problem.bounds, problem.n_constraints, random_state=0)
            state = search_problem(optimizer.tell(x, problem.evaluate(x)))
            if state.incumbent is None:
                continue
            chosen = []
            for label, options in VARIANTS.items():
                start = time.process_time()
                chosen.append(maximize_two_step(state, options, 1, seed)[0])
                seconds[label] += time.process_time() - start
            greedy, optima, _ = greedy_batch(state, SearchOptions(), 1, seed)
            candidates = second_step_candidates(state, optima, SearchOptions(n_candidates=512), 77)
            batches = torch.stack([*chosen, greedy])
            values = mean_value(state, candidates, batches, 4096, 5, 0.0)
            for label, value in zip(VARIANTS, values[:-1] / values[-1] - 1, strict=True):
                gains[label].append(float(value))
    print("| search | states | mean gain over EIC's point | worst | EIC's point left | s |")
    print("|---|---|---|---|---|---|")
    for label, values in gains.items():
        n = len(values)
        left = sum(abs(v) > 1e-6 for v in values)
        print(
            f"| {label} | {n} | {np.mean(values):+.2%} | {min(values):+.2%} | {left} | "
            f"{seconds[label] / n:.2f} |"
        )


if __name__ == "__main__":
    main()
