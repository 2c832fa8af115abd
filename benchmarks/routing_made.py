"""The router on `make_routing`, whose scores are not noisy, against nearest neighbours.

Run ``python benchmarks/routing_made.py``: mean score of the models chosen on 600 test prompts, and
its mean over the data sets, for several numbers of training prompts. Minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _embeddings import CachedEncoder

from lookahead_sk import LookaheadRouter
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import make_routing

RESULTS = Path(__file__).resolve().parent / "results"
N_TRAIN, N_TEST = (300, 600, 1000), 600


def scores_of(n_train: int, seed: int, encoder: CachedEncoder) -> list[float]:
    """Mean scores of the router, the router without responses, and kNN without and with words."""
    data = make_routing(n_train + N_TEST, random_state=seed)
    X, y = data.prompts[:n_train], data.scores[:n_train]
    lookahead = LookaheadRouter(encoder=encoder, random_state=0)
    fitted = [
        lookahead.fit(X, y, responses=data.responses[:n_train]),
        LookaheadRouter(encoder=encoder, response_weight=0.0, random_state=0).fit(X, y),
        KNNRouter(encoder=encoder).fit(X, y),
        KNNRouter(encoder=encoder, lexical_features=256).fit(X, y),
    ]
    return [router.score(data.prompts[n_train:], data.scores[n_train:]) for router in fitted]


def main() -> None:
    """Print one row for each number of training prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="data sets 0 to this number - 1")
    args = parser.parse_args()
    encoder = CachedEncoder(RESULTS / "made")
    rows = []
    for n_train in N_TRAIN:
        every = [scores_of(n_train, seed, encoder) for seed in range(args.seeds)]
        cells = " | ".join(f"{score:.3f}" for score in np.mean(every, axis=0))
        rows.append(f"| {n_train} | {cells} |")
    print("| training prompts | LookaheadRouter | response_weight=0 | kNN | kNN + lexical |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
