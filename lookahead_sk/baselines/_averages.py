"""Routers that average the scores of similar training prompts: nearest neighbours and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from lookahead_sk._typing import FloatArray, IntArray
from lookahead_sk._validation import check_choice, check_float, check_int
from lookahead_sk.baselines._base import Fitted, QueryOnlyRouter
from lookahead_sk.baselines._tuning import cross_validated, first_least
from lookahead_sk.routing._local_average._cells import rows_of
from lookahead_sk.routing._local_average._clusters import (
    cluster_sums,
    memberships,
    model_means,
    shrunken_means,
)
from lookahead_sk.routing._local_average._neighbors import neighbor_means
from lookahead_sk.routing._local_average._selection import difference_error

_NEIGHBORS = (400, 200, 100, 50, 20, 10, 5, 2, 1)
_CLUSTERS = (1, 2, 4, 8, 16, 32, 64, 128)
# Multiples of the mean squared distance to the nearest centre.
_TEMPERATURES = (1.0, 0.3, 0.1, 0.03)


class NeighborModel:
    """Mean scores of the k nearest training prompts, (n, K)."""

    def __init__(
        self, index: NearestNeighbors, Y: FloatArray, k: int, weight: FloatArray | None = None
    ) -> None:
        self.index = index
        self.Y = Y
        self.weight = weight
        self.k = k

    def predict(self, Z: Any) -> FloatArray:
        near = self.index.kneighbors(Z, self.k, return_distance=False)
        overall = model_means(self.Y, np.ones(len(self.Y)), self.weight)
        return neighbor_means(self.Y, near, np.array([self.k]), overall, weight=self.weight)[0]


class KNNRouter(QueryOnlyRouter):
    """Score every model by its mean score on the k nearest training prompts.

    Distances are Euclidean, which for embeddings of unit norm is the order of their cosines.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        Sentence encoder, as for `lookahead_sk.LookaheadRouter`; "passthrough" for numeric X.
    n_neighbors : int or None, default=None
        Number of neighbours; None chooses from 1, 2, 5, 10, 20, 50, 100, 200, 400 the one that best
        predicts, leaving each training prompt out in turn, the differences between the models'
        scores. Fewer training prompts limit it.
    lexical_features : int, default=256
        Number of lexical features (tf-idf of words and signs, reduced by SVD) beside the sentence
        embedding; 0 for none. Not used with "passthrough".
    device : str or torch.device, default="auto"
        Where the encoder runs.
    random_state : int, RandomState instance or None, default=None
        Determines the SVD of the lexical features.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    n_neighbors_ : int
        The number of neighbours used.
    model_ : NeighborModel
        The training prompts' features and scores.
    temperature_ : float
        Scale of ``predict_proba``.

    Notes
    -----
    A model that no neighbour observed has its mean over all training prompts. Predicting costs
    O(n d) for each prompt.

    Examples
    --------
    >>> from lookahead_sk.baselines import KNNRouter
    >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
    >>> y = [[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3
    >>> KNNRouter("passthrough", n_neighbors=2).fit(X, y).predict([[0.3], [4.0]])
    array([0, 1])
    """

    n_neighbors_: int

    def __init__(
        self,
        encoder: Any = None,
        *,
        n_neighbors: int | None = None,
        lexical_features: int = 256,
        device: Any = "auto",
        random_state: Any = None,
    ):
        self.encoder = encoder
        self.n_neighbors = n_neighbors
        self.lexical_features = lexical_features
        self.device = device
        self.random_state = random_state

    def _fit_model(
        self, Z: Any, Y: FloatArray, rng: np.random.RandomState, weight: FloatArray | None
    ) -> Fitted:
        most = max(len(Z) - 1, 1)
        ks: Sequence[int] = [k for k in _NEIGHBORS if k <= most] or [most]
        if self.n_neighbors is not None:
            ks = [min(check_int(self.n_neighbors, "n_neighbors", low=1, closed="left"), most)]
        index = NearestNeighbors(algorithm="brute").fit(Z)
        near = np.zeros((1, 1), dtype=np.intp)
        if len(Z) > 1:
            near = index.kneighbors(n_neighbors=max(ks), return_distance=False)  # but for itself
        w = np.ones(len(Y))
        overall = model_means(Y, w, weight)
        left_out = neighbor_means(Y, near, np.array(ks), overall, weight=weight)
        errors = [difference_error(quality, Y, w, weight) for quality in left_out]
        best = first_least(np.array(errors))
        self.n_neighbors_ = ks[best]
        return Fitted(NeighborModel(index, Y, ks[best], weight), np.arange(len(Y)), left_out[best])


class ClusterModel:
    """Mean scores of the clusters of one clustering that a prompt belongs to, (n, K)."""

    def __init__(self, centres: Any, means: FloatArray, temperature: float | None) -> None:
        self.centres = centres
        self.means = means
        self.temperature = temperature

    def predict(self, Z: Any) -> FloatArray:
        distances = pairwise_distances(Z, self.centres, metric="sqeuclidean")
        return memberships(distances.astype(np.float64), self.temperature) @ self.means


class ClusterEnsemble:
    """Mean of what several clusterings predict, (n, K)."""

    def __init__(self, models: list[ClusterModel]) -> None:
        self.models = models

    def predict(self, Z: Any) -> FloatArray:
        quality: FloatArray = np.mean([model.predict(Z) for model in self.models], axis=0)
        return quality


class ClusterRouter(QueryOnlyRouter):
    """Cluster the training prompts by k-means, and score every model by its mean in each cluster.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        Sentence encoder, as for `lookahead_sk.LookaheadRouter`; "passthrough" for numeric X.
    n_clusters : int or None, default=None
        Number of clusters; None chooses from 1, 2, 4, ..., 128 by cross-validated error of the
        differences between the models' scores.
    assignment : {"hard", "soft"}, default="hard"
        Whether a prompt belongs to its nearest cluster alone, or to all of them in shares that fall
        with the squared distance, in the means as well as in the prediction.
    temperature : float or None, default=None
        For "soft", the shares are softmax(-distance / temperature), in multiples of the training
        prompts' mean squared distance to their nearest centre; None chooses from 0.03, 0.1, 0.3, 1.
    shrinkage : float, default=5.0
        Number of prompts with the overall mean scores that are added to every cluster.
    n_clusterings : int, default=4
        Number of runs of k-means that are averaged.
    lexical_features : int, default=256
        Number of lexical features beside the sentence embedding, as in `KNNRouter`.
    device : str or torch.device, default="auto"
        Where the encoder runs.
    random_state : int, RandomState instance or None, default=None
        Determines k-means, the folds, and the SVD of the lexical features.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    n_clusters_ : int
        The number of clusters used.
    model_ : ClusterEnsemble
        Of every clustering the centres, the mean scores, and the temperature.
    temperature_ : float
        Scale of ``predict_proba``.

    Notes
    -----
    Choosing the number of clusters runs k-means 5 times for every number tried.

    Examples
    --------
    >>> from lookahead_sk.baselines import ClusterRouter
    >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
    >>> y = [[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3
    >>> router = ClusterRouter("passthrough", n_clusters=2, random_state=0).fit(X, y)
    >>> router.predict([[0.3], [4.0]])
    array([0, 1])
    """

    n_clusters_: int

    def __init__(
        self,
        encoder: Any = None,
        *,
        n_clusters: int | None = None,
        assignment: str = "hard",
        temperature: float | None = None,
        shrinkage: float = 5.0,
        n_clusterings: int = 4,
        lexical_features: int = 256,
        device: Any = "auto",
        random_state: Any = None,
    ):
        self.encoder = encoder
        self.n_clusters = n_clusters
        self.assignment = assignment
        self.temperature = temperature
        self.shrinkage = shrinkage
        self.n_clusterings = n_clusterings
        self.lexical_features = lexical_features
        self.device = device
        self.random_state = random_state

    def _candidates(self, n: int) -> list[tuple[int, float | None]]:
        """Numbers of clusters and temperatures to choose from, the simplest first."""
        check_choice(self.assignment, "assignment", ["hard", "soft"])
        check_float(self.shrinkage, "shrinkage", low=0.0)
        counts: Sequence[int] = [count for count in _CLUSTERS if count <= max(n // 2, 1)]
        if self.n_clusters is not None:
            counts = [check_int(self.n_clusters, "n_clusters", low=1, closed="left")]
        heats: Sequence[float | None] = [None]
        if self.temperature is not None:
            heats = [check_float(self.temperature, "temperature", low=0.0, closed="neither")]
        if self.assignment == "soft":
            heats = heats if self.temperature is not None else _TEMPERATURES
        else:
            heats = [None]
        return [(count, heat) for count in counts for heat in heats]

    def _models(
        self,
        Z: Any,
        Y: FloatArray,
        candidates: list[tuple[int, float | None]],
        seed: int,
        weight: FloatArray | None,
    ) -> list[ClusterModel]:
        n_distinct = len(np.unique(Z, axis=0))
        models, overall = [], model_means(Y, np.ones(len(Z)), weight)
        centres: dict[int, Any] = {}
        for count, heat in candidates:
            if count not in centres:
                kmeans = KMeans(min(count, n_distinct), n_init=1, max_iter=50, random_state=seed)
                centres[count] = kmeans.fit(Z).cluster_centers_
            distances = pairwise_distances(Z, centres[count], metric="sqeuclidean")
            distances = distances.astype(np.float64)
            scale = distances.min(axis=1).mean() or 1.0
            temperature = None if heat is None else heat * scale
            shares = memberships(distances, temperature)
            means = shrunken_means(*cluster_sums(shares, Y, weight), overall, self.shrinkage)
            models.append(ClusterModel(centres[count], means, temperature))
        return models

    def _fit_model(
        self, Z: Any, Y: FloatArray, rng: np.random.RandomState, weight: FloatArray | None
    ) -> Fitted:
        candidates = self._candidates(len(Z))
        n_clusterings = check_int(self.n_clusterings, "n_clusterings", low=1, closed="left")
        seed = int(rng.randint(2**31))

        def predict(train: IntArray, test: IntArray) -> FloatArray:
            models = self._models(Z[train], Y[train], candidates, seed, rows_of(weight, train))
            return np.array([model.predict(Z[test]) for model in models])

        judged = cross_validated(predict, Y, np.ones(len(Y)), 5, rng)
        best = first_least(judged.errors(Y, np.ones(len(Y)), weight))
        models = [
            self._models(Z, Y, [candidates[best]], int(rng.randint(2**31)), weight)[0]
            for _ in range(n_clusterings)
        ]
        self.n_clusters_ = len(models[0].centres)
        return Fitted(ClusterEnsemble(models), judged.rows, judged.quality[best])
