"""
Search under limits on Dask
===========================

A constrained search runs on a Dask cluster when the joblib backend is changed. Nothing else
changes: the workers fit the candidates, and this process plans them.

The cluster here is this machine. On a real one, connect the client to its scheduler,
``Client("tcp://scheduler:8786")``. At any time ``batch_size`` candidates times ``cv`` folds are
being fitted. Choose ``batch_size`` so that this is at least the number of threads of all workers.

.. image:: /images/search_on_dask.png
   :alt: Accuracy and nodes of the candidates
   :width: 600

The picture comes from ``python search_on_dask.py picture.png``. Dask is installed by the extra
``dask``.
"""

# sphinx_gallery_thumbnail_path = 'images/search_on_dask.png'

import sys
import time

import numpy as np
from dask.distributed import Client, LocalCluster
from joblib import parallel_config
from scipy.stats import loguniform, randint
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from lookahead_sk import ConstrainedSearchCV

N_CANDIDATES = 12


def nodes(model: RandomForestClassifier, X: np.ndarray, y: np.ndarray) -> float:
    """What a forest occupies."""
    return float(sum(tree.tree_.node_count for tree in model.estimators_))


def main(n_workers: int = 2) -> ConstrainedSearchCV:
    """Search for the best forest of at most 1,500 nodes."""
    X, y = load_digits(return_X_y=True)
    search = ConstrainedSearchCV(
        RandomForestClassifier(random_state=0),
        {
            "n_estimators": randint(5, 41),
            "max_depth": randint(3, 13),
            "max_features": loguniform(0.02, 0.5),
        },
        objective="accuracy",
        constraints={nodes: (None, 1500)},
        n_iter=N_CANDIDATES,
        batch_size=2,
        cv=3,
        random_state=0,
    )
    start = time.perf_counter()
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        parallel_config(backend="dask"),
    ):
        search.fit(X[:600], y[:600])
    seconds = time.perf_counter() - start
    size = search.cv_results_["mean_test_nodes"][search.best_index_]
    print(f"{N_CANDIDATES} candidates x 3 folds on {n_workers} Dask workers: {seconds:.0f} s")
    print(f"accuracy {search.best_score_:.4f} with {size:.0f} nodes, {search.best_params_}")
    return search


def draw(search: ConstrainedSearchCV, path: str) -> None:
    """Save a picture: where the candidates lie, and which one was chosen."""
    import matplotlib.pyplot as plt

    found, best = search.cv_results_, search.best_index_
    size, accuracy = found["mean_test_nodes"], found["mean_test_accuracy"]
    inside = found["is_feasible"]
    figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
    axis.axvspan(1500, 1.1 * max(size.max(), 1500), color="0.92", zorder=0)
    axis.scatter(size[inside], accuracy[inside], label="inside the limit", color="C0")
    axis.scatter(size[~inside], accuracy[~inside], label="too large", color="C3", marker="x")
    axis.plot(size[best], accuracy[best], "*", color="C1", ms=16, label="chosen")
    axis.set(xlabel="nodes of the forest (limit: 1,500)", ylabel="accuracy, 3 folds")
    axis.set_xlim(0, 1.1 * max(size.max(), 1500))
    axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    search = main()
    if len(sys.argv) > 1:
        draw(search, sys.argv[1])
