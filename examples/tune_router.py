"""
Tune a router under a cost and a latency limit
==============================================

Which router gives the best answers for a limited amount of money, and answers in time?

This example uses both halves of the package. ``ConstrainedSearchCV`` maximises the mean score of
the models that a ``LookaheadRouter`` calls. Two limits apply: on the mean cost of a call, and on
the time that routing a fold of prompts takes. A plain search over ``cost_weight`` would always end
at 0, since spending more never lowers the score.

The prompts come from ``make_routing`` and are answered by six small programs. If the environment
variable ``LOOKAHEAD_SK_DATA`` names the folder of the published benchmarks, 600 real prompts and
the responses of five language models are used instead. Cost is then billions of parameters.

.. image:: /images/tune_router.png
   :alt: Mean score and mean cost of the routers that were tried
   :width: 600

The picture comes from ``python tune_router.py picture.png``.
"""

# sphinx_gallery_thumbnail_path = 'images/tune_router.png'

import os
import sys
import time
from typing import Any

import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from lookahead_sk import ConstrainedSearchCV, LookaheadRouter
from lookahead_sk.datasets import fetch_lookahead_bench, make_routing
from lookahead_sk.metrics import make_cost_scorer, routing_score

N_PROMPTS, N_CANDIDATES = 600, 12
MOST_SECONDS = 1.0  # to route and score one fold, on this machine


def load() -> Any:
    """Prompts, scores and responses, a third of them for the final test."""
    if "LOOKAHEAD_SK_DATA" not in os.environ:
        return make_routing(N_PROMPTS, random_state=0)
    data = fetch_lookahead_bench()
    chosen = np.random.default_rng(0).permutation(len(data.prompts))[:N_PROMPTS]
    for name in ("prompts", "scores", "responses"):
        data[name] = data[name][chosen]
    return data


def embed(texts: Any, like: Any, n_components: int) -> Any:
    """Latent semantic features of texts, fitted on others."""
    reducer = TruncatedSVD(n_components, random_state=0)
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, max_features=20_000), reducer)
    return model.fit(like).transform(texts).astype(np.float32)


def main() -> ConstrainedSearchCV:
    """Search, then compare the chosen router with every single model on new prompts."""
    data = load()
    n_train = 2 * len(data.prompts) // 3
    costs = np.asarray(data.costs, dtype=float)
    budget = float(np.round(0.5 * costs.max(), 2))
    X = embed(data.prompts, data.prompts[:n_train], 64)
    texts = data.responses[:n_train].ravel()
    responses = embed(texts, texts, 32).reshape(n_train, len(costs), -1)

    search = ConstrainedSearchCV(
        LookaheadRouter(encoder="passthrough", costs=costs, max_epochs=5, random_state=0),
        {
            "cost_weight": uniform(0, 1 / costs.max()),
            "response_weight": loguniform(0.01, 10),
            "learning_rate": loguniform(5e-4, 2e-2),
        },
        scoring={"quality": mean_score, "cost": make_cost_scorer(costs)},
        objective="quality",
        constraints={"cost": (None, budget), "mean_score_time": (None, MOST_SECONDS)},
        n_iter=N_CANDIDATES,
        cv=3,
        random_state=0,
    )
    start = time.perf_counter()
    search.fit(X[:n_train], data.scores[:n_train], responses=responses)
    print(f"{N_CANDIDATES} routers x 3 folds in {time.perf_counter() - start:.0f} s")
    print(f"limits: mean cost at most {budget:g}, {MOST_SECONDS:g} s a fold")
    row = {
        key: search.cv_results_[f"mean_test_{key}"][search.best_index_]
        for key in ("quality", "cost")
    }
    print(f"{search.n_feasible_} inside; the best: {search.best_params_}")
    print(f"  cross-validated: score {row['quality']:.3f}, cost {row['cost']:.2f}")

    truth = data.scores[n_train:]
    chosen = search.predict(X[n_train:]).astype(int)
    print(f"\non {len(truth)} new prompts{'score':>22}{'cost':>8}")
    print(f"{'tuned router':<28}{routing_score(truth, chosen):>12.3f}{costs[chosen].mean():>8.2f}")
    for k in np.argsort(costs):
        print(f"{'always ' + data.models[k]:<28}{np.nanmean(truth[:, k]):>12.3f}{costs[k]:>8.2f}")
    return search


def mean_score(router: LookaheadRouter, X: Any, scores: Any) -> float:
    """What a router's own `score` is: the mean score of the models that it calls."""
    return float(router.score(X, scores))


def draw(search: ConstrainedSearchCV, path: str) -> None:
    """Save a picture: mean score against mean cost of every router that was tried."""
    import matplotlib.pyplot as plt

    found, best = search.cv_results_, search.best_index_
    cost, quality, inside = (
        found[key] for key in ("mean_test_cost", "mean_test_quality", "is_feasible")
    )
    budget = search.constraints["cost"][1]
    figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
    axis.axvspan(budget, 1.08 * max(cost.max(), budget), color="0.92", zorder=0)
    axis.scatter(cost[inside], quality[inside], label="inside both limits", color="C0")
    axis.scatter(cost[~inside], quality[~inside], label="over a limit", color="C3", marker="x")
    axis.plot(cost[best], quality[best], "*", color="C1", ms=16, label="chosen")
    axis.set(xlabel=f"mean cost of a call (limit: {budget:g})", ylabel="mean score, 3 folds")
    axis.set_xlim(0, 1.08 * max(cost.max(), budget))
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    search = main()
    if len(sys.argv) > 1:
        draw(search, sys.argv[1])
