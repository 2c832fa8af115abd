"""
Route many prompts with Dask
============================

A fitted router is an ordinary scikit-learn estimator. joblib stores it, and it needs only the
prompts to predict. So Dask can map it over the partitions of a large set of prompts. Every worker
loads the router once.

Here the prompts are generated and the cluster is this machine. At scale, use a bag of text files,
``dask.bag.read_text("s3://...")``, and the address of your cluster.

.. image:: /images/route_with_dask.png
   :alt: Prompts that each model was chosen for, by worker
   :width: 600

The picture comes from ``python route_with_dask.py picture.png``. Dask is installed by the extra
``dask``.
"""

# sphinx_gallery_thumbnail_path = 'images/route_with_dask.png'

import functools
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import dask.bag
import joblib
from dask.distributed import Client, LocalCluster
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from lookahead_sk import LookaheadRouter
from lookahead_sk.datasets import make_routing

N_PROMPTS, N_PARTITIONS = 3000, 12


@functools.cache
def load_router(path: str) -> Any:
    """Load the router once in a process; on many machines the path is on shared storage."""
    return joblib.load(path)


def route(prompts: list[str], path: str) -> list[dict[str, Any]]:
    """Choose a model for every prompt of a partition."""
    prompts = list(prompts)
    router = load_router(path)
    chosen = router.predict(prompts)
    loads = load_router.cache_info().misses
    return [
        {"prompt": prompt, "model": str(model), "process": os.getpid(), "loads": loads}
        for prompt, model in zip(prompts, chosen, strict=True)
    ]


def train(path: Path) -> Any:
    """Train a router and store it."""
    data = make_routing(500, random_state=0, as_frame=True)
    router = make_pipeline(
        TfidfVectorizer(sublinear_tf=True),
        TruncatedSVD(64, random_state=0),
        LookaheadRouter(encoder="passthrough", random_state=0),
    ).fit(data.prompts, data.scores)
    joblib.dump(router, path)
    return router


def main(n_workers: int = 2) -> list[dict[str, Any]]:
    """Route all prompts and show which model got how many."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.joblib"
        train(path)
        prompts = make_routing(N_PROMPTS, random_state=1).prompts.tolist()
        with (
            LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            Client(cluster),
        ):
            bag = dask.bag.from_sequence(prompts, npartitions=N_PARTITIONS)
            routed = bag.map_partitions(route, str(path)).compute()
    processes = {row["process"]: row["loads"] for row in routed}
    print(f"{len(routed)} prompts in {N_PARTITIONS} partitions on {len(processes)} workers")
    print(f"times that a worker loaded the router: {sorted(processes.values())}")
    for model, n in Counter(row["model"] for row in routed).most_common():
        print(f"{model:>16}: {n}")
    return routed


def draw(routed: list[dict[str, Any]], path: str) -> None:
    """Save a picture: how many prompts each worker sent to each model."""
    import matplotlib.pyplot as plt

    counts = Counter((row["model"], row["process"]) for row in routed)
    models = [model for model, _ in Counter(row["model"] for row in routed).most_common()][::-1]
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    left = [0] * len(models)
    for i, process in enumerate(sorted({row["process"] for row in routed})):
        width = [counts[model, process] for model in models]
        axis.barh(models, width, left=left, label=f"worker {i + 1}", color=f"C{i}")
        left = [a + b for a, b in zip(left, width, strict=True)]
    axis.set(xlabel="prompts routed to the model", title=f"{len(routed)} prompts")
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    routed = main()
    if len(sys.argv) > 1:
        draw(routed, sys.argv[1])
