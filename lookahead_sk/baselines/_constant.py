"""The ends of the scale: chance, the best single model, the oracle."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._typing import Float32Array, FloatArray, Prompts
from lookahead_sk.metrics._tables import read_weights
from lookahead_sk.routing import BaseRouter
from lookahead_sk.routing._base import _rewards
from lookahead_sk.routing._checks import check_scores, check_X, remember_X
from lookahead_sk.routing._local_average._clusters import model_means
from lookahead_sk.routing._local_average._selection import fit_temperature


def _key(prompt: str | Float32Array, seed: int = 0) -> bytes:
    """A name for a prompt that depends on nothing but its content (and a seed)."""
    content = prompt.encode("utf-8", "replace") if isinstance(prompt, str) else prompt.tobytes()
    return hashlib.blake2b(content, digest_size=16, salt=seed.to_bytes(8, "little")).digest()


class _ContentRouter(BaseRouter):
    """Base of routers that never look at what a prompt means: no encoder is ever loaded."""

    _poor_score: ClassVar[bool] = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = self._poor_score
        return tags

    @abstractmethod
    def _learn(self, X: Prompts, scores: FloatArray) -> dict[str, Any]:
        """The attributes to set."""

    def fit(self, X: Any, y: Any, responses: Any = None) -> Self:
        """Learn from prompts and scores.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            Scores of the models, NaN where not observed, or 1-D labels.
        responses : object, default=None
            Not used: accepted so that a baseline can stand in for a lookahead router.

        Returns
        -------
        self
            The fitted router.
        """
        given, X = X, check_X(self, X, reset=True)
        table = check_scores(y, len(X))
        for name, value in self._learn(X, table.scores).items():
            setattr(self, name, value)
        self.classes_ = table.classes
        self.temperature_ = fit_temperature(self._predict_quality(X), table.scores)
        remember_X(self, given)
        return self


class RandomRouter(_ContentRouter):
    """Send every prompt to a model drawn at random, all equally likely.

    The draw depends on the prompt's content and the seed alone: the same prompt always goes to the
    same model, whatever else is asked with it.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        "passthrough" for numeric X; otherwise X is text, and no encoder is loaded.
    device : str or torch.device, default="auto"
        Not used; part of every router's parameters.
    random_state : int, RandomState instance or None, default=None
        Determines the draws.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    seed_ : int
        Seed of the draws.
    n_models_ : int
        K.
    score_range_ : tuple of (float, float)
        Least and greatest score seen in fit: the "quality" of a model is a number drawn from there.
    temperature_ : float
        Scale of ``predict_proba``.

    Examples
    --------
    >>> from lookahead_sk.baselines import RandomRouter
    >>> router = RandomRouter(random_state=0).fit(["a", "b"], [[0.0, 1.0], [1.0, 0.0]])
    >>> bool((router.predict(["a"] * 3) == router.predict(["a"])[0]).all())
    True
    """

    seed_: int
    n_models_: int
    score_range_: tuple[float, float]

    def __init__(self, encoder: Any = None, *, device: Any = "auto", random_state: Any = None):
        self.encoder = encoder
        self.device = device
        self.random_state = random_state

    def _learn(self, X: Prompts, scores: FloatArray) -> dict[str, Any]:
        seed = int(check_random_state(self.random_state).randint(2**31))
        low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
        return {"seed_": seed, "score_range_": (low, high), "n_models_": scores.shape[1]}

    def _predict_quality(self, X: Prompts) -> FloatArray:
        low, high = self.score_range_
        keys = [int.from_bytes(_key(prompt, self.seed_), "little") for prompt in X]
        draws = [np.random.default_rng(key).random(self.n_models_) for key in keys]
        return low + (high - low) * np.array(draws)


class BestSingleRouter(_ContentRouter):
    """Send every prompt to the model with the highest mean score on the training prompts.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        "passthrough" for numeric X; otherwise X is text, and no encoder is loaded.
    device : str or torch.device, default="auto"
        Not used; part of every router's parameters.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    means_ : ndarray of shape (K,)
        Mean of every model's observed scores.
    temperature_ : float
        Scale of ``predict_proba``.

    See Also
    --------
    lookahead_sk.metrics.best_single_model : The same choice, from a table of scores.

    Examples
    --------
    >>> from lookahead_sk.baselines import BestSingleRouter
    >>> router = BestSingleRouter().fit(["a", "b"], [[0.0, 0.9], [0.5, 0.1]])
    >>> router.predict(["anything"])
    array([1])
    """

    means_: FloatArray

    def __init__(self, encoder: Any = None, *, device: Any = "auto"):
        self.encoder = encoder
        self.device = device

    def _learn(self, X: Prompts, scores: FloatArray) -> dict[str, Any]:
        return {"means_": model_means(scores, np.ones(len(scores)))}

    def _predict_quality(self, X: Prompts) -> FloatArray:
        return np.tile(self.means_, (len(X), 1))


class _Seen(NamedTuple):
    """Sum of scores and number of times a prompt was seen, both per model."""

    total: FloatArray
    times: FloatArray


class OracleRouter(_ContentRouter):
    """Send every prompt to the model that is best on it: the upper bound, which cheats.

    It cannot foresee anything. ``fit`` keeps the scores of the prompts it is given, and ``predict``
    recalls them; a prompt it was not fitted on goes to the best single model. For the bound on a
    test set, fit it on the test set itself, or ask for ``score(X_test, y_test)``, which takes the
    best of the scores it is given and does not ask the fitted state.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
        "passthrough" for numeric X; otherwise X is text, and no encoder is loaded.
    device : str or torch.device, default="auto"
        Not used; part of every router's parameters.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The models.
    means_ : ndarray of shape (K,)
        Mean of every model's observed scores.
    memory_ : dict of bytes to ndarray of shape (K,)
        Mean scores of every prompt seen, by a hash of its content; a model not observed on it has
        its overall mean.
    temperature_ : float
        Scale of ``predict_proba``.

    Examples
    --------
    >>> from lookahead_sk.baselines import OracleRouter
    >>> prompts, scores = ["a", "b"], [[0.0, 0.9], [0.5, 0.1]]
    >>> oracle = OracleRouter().fit(prompts, scores)
    >>> oracle.predict(prompts)
    array([1, 0])
    >>> oracle.score(["never seen", "neither"], scores)
    0.7
    """

    means_: FloatArray
    memory_: dict[bytes, FloatArray]
    _poor_score: ClassVar[bool] = False

    def __init__(self, encoder: Any = None, *, device: Any = "auto"):
        self.encoder = encoder
        self.device = device

    def _learn(self, X: Prompts, scores: FloatArray) -> dict[str, Any]:
        means = model_means(scores, np.ones(len(scores)))
        seen: dict[bytes, _Seen] = {}
        for prompt, row in zip(X, scores, strict=True):
            was = seen.get(_key(prompt), _Seen(np.zeros(len(means)), np.zeros(len(means))))
            is_observed = ~np.isnan(row)
            total = was.total + np.where(is_observed, row, 0.0)
            seen[_key(prompt)] = _Seen(total, was.times + is_observed)
        memory = {
            key: np.where(times > 0, total / np.maximum(times, 1), means)
            for key, (total, times) in seen.items()
        }
        return {"means_": means, "memory_": memory}

    def _predict_quality(self, X: Prompts) -> FloatArray:
        return np.array([self.memory_.get(_key(prompt), self.means_) for prompt in X])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Mean over the prompts of the best of the scores given.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts; only their number matters.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            True scores, NaN where not observed. For 1-D labels the score is 1.
        sample_weight : array-like of shape (n,), default=None
            Weight of each prompt.

        Returns
        -------
        float
            The highest score that any router can reach on these prompts.
        """
        check_is_fitted(self)
        n = len(check_X(self, X, reset=False))
        names = self.classes_.tolist()
        everyone = [_rewards(np.full(n, name), names, y) for name in names]
        rewards = np.array(everyone)  # (K, n)
        seen = ~np.isnan(rewards)
        best = np.where(seen, rewards, -np.inf).max(axis=0)
        weight = read_weights(sample_weight, n)
        rows = seen.any(axis=0)
        return float(np.average(best[rows], weights=weight[rows]))
