"""Draw the picture of the start page: ``python docs/images/make_overview.py``; a minute.

Left, routing: mean score against mean cost on new prompts. Right, tuning: the best feasible value
after each evaluation of a problem of Gardner et al., beside random search.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lookahead_sk import LookaheadRouter, TwoStepConstrainedBO
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import make_routing
from lookahead_sk.inspection import RoutingCurveDisplay

N_EVALUATIONS, N_SEEDS, OPTIMUM = 25, 8, -1.88875


def evaluate(X):
    x, y = np.asarray(X).T
    return np.stack([np.cos(2 * x) * np.cos(y) + np.sin(x), np.cos(x + y) + 0.5], axis=1)


def best_so_far(outputs):
    feasible = outputs[:, 1] <= 0
    return np.minimum.accumulate(np.where(feasible, outputs[:, 0], np.inf))


def search(seed):
    optimizer = TwoStepConstrainedBO([(0, 6), (0, 6)], n_constraints=1, random_state=seed)
    while len(optimizer.y_) < N_EVALUATIONS:
        X = optimizer.ask()
        optimizer.tell(X, evaluate(X))
    return best_so_far(optimizer.y_)


def draw(left, right):
    data = make_routing(800, random_state=0, as_frame=True)
    train, test = slice(0, 500), slice(500, 800)
    X, y = data.prompts[train], data.scores[train]
    lookahead = LookaheadRouter(random_state=0)
    lookahead.fit(X, y, responses=data.responses[train])
    routers = {
        "LookaheadRouter": lookahead,
        "KNNRouter": KNNRouter(random_state=0).fit(X, y),
    }
    RoutingCurveDisplay.from_estimator(
        routers, data.prompts[test], data.scores[test], costs=data.costs, ax=left
    )
    left.set(xlim=(0, 24), ylim=(0.12, 1.02))  # room for names and legend
    left.legend(frameon=False, fontsize=9, loc="lower right")
    left.set_title("Routing: 300 new prompts, six models")

    steps = np.arange(1, N_EVALUATIONS + 1)
    blind = [
        best_so_far(evaluate(np.random.default_rng(seed).uniform(0, 6, (N_EVALUATIONS, 2))))
        for seed in range(N_SEEDS)
    ]
    for curves, label, color in (
        ([search(seed) for seed in range(N_SEEDS)], "TwoStepConstrainedBO", "C0"),
        (blind, "random search", "0.55"),
    ):
        gaps = np.minimum(np.array(curves) - OPTIMUM, 1e9)
        low, middle, high = np.quantile(gaps, [0.25, 0.5, 0.75], axis=0, method="nearest")
        shown = middle < 1e8
        right.plot(steps[shown], middle[shown], color=color, lw=2, label=label)
        right.fill_between(steps[shown], low[shown], high[shown], color=color, alpha=0.15, lw=0)
    right.set(yscale="log", xlabel="evaluations", ylabel="gap to the optimum", ylim=(1e-6, 10))
    right.set_title(f"Tuning: a problem with one limit, {N_SEEDS} runs")
    right.legend(frameon=False, loc="lower left")


if __name__ == "__main__":
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    draw(*axes)
    figure.savefig(Path(__file__).with_name("overview.png"), dpi=110)
