"""
Search under limits on Dask
===========================

Run a constrained search on a Dask cluster: only the joblib backend changes.

The cluster here is this machine. On a real one, connect the client to its scheduler,
``Client("tcp://scheduler:8786")``; the rest stays as it is. Dask ships a candidate's fits to the
workers, planning stays in this process. ``batch_size`` candidates times ``cv`` folds are in flight
at once: choose it so that this is at least the number of workers' threads.

Needs ``pip install "lookahead-sk[dask]"``.
"""

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


if __name__ == "__main__":
    main()
