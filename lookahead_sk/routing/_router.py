"""LookaheadRouter: an estimator that foresees every model's response before one is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from lookahead_sk._device import resolve_device
from lookahead_sk._validation import as_float_array, check_choice, check_float, check_int, reject
from lookahead_sk.routing._base import BaseRouter, fit_temperature
from lookahead_sk.routing._callbacks import CallbackSupportMixin, EpochTasks, with_callbacks
from lookahead_sk.routing._criteria import difference_error
from lookahead_sk.routing._encoders import encode, load_encoder
from lookahead_sk.routing._facts import N_COMPONENTS, ResponseFacts, fit_facts
from lookahead_sk.routing._features import LexicalFeatures, fit_lexical
from lookahead_sk.routing._foresight import ReferenceResponses, keep_references
from lookahead_sk.routing._inputs import Floats, ScoreTable, check_lengths
from lookahead_sk.routing._kinds import GRAINS, Kinds, fit_axes, fit_kinds
from lookahead_sk.routing._neighbours import Neighbours, fit_neighbours

Floats32 = npt.NDArray[np.float32]

FEATURE_SHARES = (0.3, 3.0)
BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)


class _Observed(NamedTuple):
    """All that fit knows, checked and embedded."""

    features: Floats32  # (n, p), centred and scaled
    table: ScoreTable
    facts: Floats32 | None  # (n, K, r)
    fold: npt.NDArray[np.intp]  # (n,)
    score_range: tuple[float, float]
    attributes: dict[str, Any]  # what is already fitted


class LookaheadRouter(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CallbackSupportMixin, BaseRouter
):
    """Route each prompt to the best of several models by foreseeing their responses.

    The router learns to predict, from the prompt alone, facts about the response that every
    candidate model would write (what it says, how long it is, how it looks, how far the models
    agree), and scores the models on these predicted latents. Responses are needed in ``fit`` only;
    to route a prompt costs one pass of a small sentence encoder.

    Parameters
    ----------
    approach : {"embedding"}, default="embedding"
        How responses are foreseen. ``"embedding"``: a frozen sentence encoder and a small network.
    encoder : None, str, path or SentenceTransformer, default=None
        The frozen sentence encoder. None is all-MiniLM-L6-v2: the packaged one when
        ``lookahead-sk[minilm]`` is installed, else the hub's. ``"passthrough"``: X is numeric, and
        responses are their (n, K, d) embeddings.
    lexical_features : int, default=256
        Number of tf-idf features, reduced by SVD, beside the sentence embedding of text prompts;
        0 leaves them out.
    response_weight : float, default=1.0
        Weight of the response loss against the routing loss. 0 turns lookahead off: the latents
        then carry only what the scores teach.
    response_tokens : int, default=96
        How many first tokens of every training response are embedded.
    max_length : int or None, default=None
        Tokens of a prompt that the encoder reads; None is the encoder's own limit.
    max_epochs : int, default=12
        Most passes over the training prompts.
    batch_size : int or "auto", default="auto"
        Prompts in a training step; "auto" is a twentieth of the training prompts, at least 16 and
        at most 256.
    learning_rate : float, default=2e-3
        Of AdamW, with a cosine schedule.
    validation_fraction : float, default=0.2
        Share of the training prompts that a member of the ensemble leaves out. There are
        ``round(1 / validation_fraction)`` members, so that every prompt is left out by one: on
        these held-out prompts members are stopped early, and the kinds of prompt, the blend and
        the temperature are fitted.
    early_stopping : bool, default=True
        Keep each member's weights of the epoch with the smallest held-out loss, and stop when none
        has improved for 5 epochs. False trains ``max_epochs`` epochs and keeps the last.
    costs : array-like of shape (K,), mapping of model to cost, or None, default=None
        Cost of one call of each model.
    cost_weight : float, default=0.0
        Utility is quality minus ``cost_weight`` times cost, in units of ``y`` per unit of cost.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device, default="auto"
        Where networks run; ``"auto"`` is CUDA when there is a GPU.
    dtype : {"auto", "float32"}, default="auto"
        Precision of the small network; both mean float32.
    random_state : int, RandomState instance or None, default=None
        Makes ``fit`` reproducible on one machine.
    verbose : int, default=0
        1 shows the epochs, 2 the encoding as well.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Names of the models: the columns of ``y``, or 0 to K - 1, or the labels.
    n_features_in_ : int
        Columns of X; only with ``encoder="passthrough"``.
    n_members_ : int
        Members of the ensemble.
    n_iter_ : int
        Epochs trained.
    validation_scores_ : list of float
        Mean held-out loss of the members after each epoch.
    blend_ : float
        Share of the network's own score in the quality; the rest is the mean over kinds of prompt.
        More than 0 only where it routes held-out prompts significantly better.
    temperature_ : float
        Of `predict_proba`, in the units of ``y``.
    validation_score_ : float
        Mean score of the held-out training prompts, as routed; for ``cost_weight=0``.

    See Also
    --------
    lookahead_sk.baselines : Query-only routers with the same interface.
    lookahead_sk.metrics.oracle_gain_score : Share of the oracle's gain that a router reaches.

    Notes
    -----
    Without ``responses`` there is no response loss, and the router is a query-only router. Time and
    memory of ``fit`` are linear in the number of prompts once the texts are embedded.

    References
    ----------
    .. [1] Huang, Shi, Zhu, Chen, Quan, "Lookahead Routing for Large Language Models", NeurIPS 2025,
       arXiv 2510.19506.

    Examples
    --------
    >>> from lookahead_sk import LookaheadRouter
    >>> from lookahead_sk.datasets import make_routing
    >>> from sklearn.decomposition import TruncatedSVD
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.pipeline import make_pipeline
    >>> data = make_routing(300, random_state=0)
    >>> router = make_pipeline(
    ...     TfidfVectorizer(),
    ...     TruncatedSVD(32, random_state=0),
    ...     LookaheadRouter(encoder="passthrough", random_state=0),
    ... )
    >>> router.fit(data.prompts[:200], data.scores[:200]).predict_proba(data.prompts[200:]).shape
    (100, 6)
    """

    def __init__(
        self,
        approach: str = "embedding",
        *,
        encoder: Any = None,
        lexical_features: int = 256,
        response_weight: float = 1.0,
        response_tokens: int = 96,
        max_length: int | None = None,
        max_epochs: int = 12,
        batch_size: int | str = "auto",
        learning_rate: float = 2e-3,
        validation_fraction: float = 0.2,
        early_stopping: bool = True,
        costs: Any = None,
        cost_weight: float = 0.0,
        device: Any = "auto",
        dtype: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.approach = approach
        self.encoder = encoder
        self.lexical_features = lexical_features
        self.response_weight = response_weight
        self.response_tokens = response_tokens
        self.max_length = max_length
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.costs = costs
        self.cost_weight = cost_weight
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _check_params(self) -> None:
        check_choice(self.approach, "approach", ["embedding"])
        check_int(self.lexical_features, "lexical_features", low=0)
        check_float(self.response_weight, "response_weight", low=0, closed="left")
        check_int(self.response_tokens, "response_tokens", low=1)
        if self.max_length is not None:
            check_int(self.max_length, "max_length", low=1)
        check_int(self.max_epochs, "max_epochs", low=1)
        if self.batch_size != "auto":
            check_int(self.batch_size, "batch_size", low=1)
        check_float(self.learning_rate, "learning_rate", low=0, closed="neither")
        check_float(self.validation_fraction, "validation_fraction", 0, 0.5, closed="right")
        check_float(self.cost_weight, "cost_weight", low=0, closed="left")
        check_choice(self.dtype, "dtype", ["auto", "float32"])
        check_int(self.verbose, "verbose", low=0)
        resolve_device(self.device)

    @with_callbacks
    def fit(self, X: Any, y: Any, responses: Any = None, response_lengths: Any = None) -> Self:
        """Learn to foresee responses and to score models on them.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.
        y : array-like of shape (n, K), DataFrame, or array-like of shape (n,)
            Scores of the K models, NaN where not observed, in any unit where more is better; the
            columns of a DataFrame name the models. 1-D labels are plain classification.
        responses : array-like of str of shape (n, K), or of numbers (n, K, d), default=None
            What the models answered; None, or NaN, where not observed. Numbers are response
            embeddings and go with ``encoder="passthrough"``.
        response_lengths : array-like of shape (n, K), default=None
            True lengths of the responses in any unit (characters, tokens), for logs that keep only
            the beginning of a response; measured in characters on ``responses`` when not given.

        Returns
        -------
        LookaheadRouter
            The fitted router itself.

        Raises
        ------
        TypeError
            If X is a single string or holds something that is not a string.
        ValueError
            If a shape does not fit, a score is infinite, or a prompt or a model was never observed.
        OSError
            If the encoder cannot be loaded.
        """
        self._check_params()
        observed = self._observe(X, y, responses, response_lengths)
        from lookahead_sk.routing._training import train

        tasks = EpochTasks(self, X, y, self.max_epochs)
        weights, history = train(
            self._training_data(observed),
            self._plan(observed),
            lambda work, kept: tasks.run_epoch(work, lambda: self._finish(observed, kept(), [])),
        )
        attributes = self._finish(observed, weights, history)
        for name, value in attributes.items():
            setattr(self, name, value)
        self._remember_X(X)
        tasks.close(lambda: attributes)
        return self

    def _observe(self, X: Any, y: Any, responses: Any, response_lengths: Any) -> _Observed:
        """Check and embed all that fit is given; changes nothing."""
        prompts = self._check_X(X, reset=True)
        n = len(prompts)
        if n < 2:
            raise ValueError("X must hold at least 2 prompts; got n_samples=1, 1 sample.")
        table = self._check_y(y, n)
        shape = (n, len(table.classes))
        responses = self._check_responses(responses, shape)
        lengths = check_lengths(response_lengths, shape)
        self._cost_array(table.classes)
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(2**31 - 1))
        n_members = min(n, max(2, round(1 / self.validation_fraction)))
        attributes: dict[str, Any] = {"classes_": table.classes, "n_members_": n_members}
        embeddings = self._embed(prompts)
        lexical = None if isinstance(prompts, np.ndarray) else self._fit_lexical(prompts, seed)
        raw = _join(embeddings, lexical, prompts)
        center, scale = _scaling(raw)
        facts, values = self._fit_facts(responses, lengths, seed)
        attributes |= {
            "lexical_": lexical,
            "center_": center,
            "scale_": scale,
            "facts_": facts,
            "seed_": seed,
            "references_": None,
        }
        if facts is not None and values is not None:
            attributes["references_"] = keep_references(responses, values, facts, seed)
        low, high = float(np.nanmin(table.scores)), float(np.nanmax(table.scores))
        fold = (np.random.RandomState(seed).permutation(n) % n_members).astype(np.intp)
        features = ((raw - center) / scale).astype(np.float32)
        return _Observed(features, table, values, fold, (low, high), attributes)

    def _fit_lexical(self, prompts: list[str], seed: int) -> LexicalFeatures | None:
        return fit_lexical(prompts, self.lexical_features, seed)

    def _fit_facts(
        self, responses: Any, lengths: Floats | None, seed: int
    ) -> tuple[ResponseFacts | None, Floats32 | None]:
        if responses is None or self.response_weight == 0:
            return None, None
        if responses.dtype != object:
            return fit_facts(responses, None, lengths, seed)
        texts = responses.ravel()
        is_observed = np.array([text is not None for text in texts])
        if not is_observed.any():
            return None, None
        model = load_encoder(self.encoder, self.device)
        vectors = encode(
            texts[is_observed].tolist(),
            model,
            show_progress=self.verbose > 1,
            max_tokens=self.response_tokens,
        )
        embeddings = np.full((len(texts), vectors.shape[1]), np.nan, dtype=np.float32)
        embeddings[is_observed] = vectors
        return fit_facts(embeddings.reshape(*responses.shape, -1), responses, lengths, seed)

    def _plan(self, observed: _Observed) -> Any:
        from lookahead_sk.routing._training import TrainingPlan

        n_latent = N_COMPONENTS if observed.facts is None else observed.facts.shape[2]
        return TrainingPlan(
            n_members=observed.attributes["n_members_"],
            n_latent=n_latent,
            response_weight=self.response_weight,
            learning_rate=self.learning_rate,
            batch_size=self._batch_size(len(observed.features)),
            max_epochs=self.max_epochs,
            early_stopping=self.early_stopping,
            seed=observed.attributes["seed_"],
            verbose=self.verbose > 0,
        )

    def _batch_size(self, n: int) -> int:
        return min(256, max(16, n // 20)) if self.batch_size == "auto" else int(self.batch_size)

    def _training_data(self, observed: _Observed) -> Any:
        import torch

        from lookahead_sk.routing._training import TrainingData

        device = resolve_device(self.device)
        low, high = observed.score_range
        scores = (observed.table.scores - low) / max(high - low, 1e-12)
        facts = None if observed.facts is None else torch.from_numpy(observed.facts).to(device)
        return TrainingData(
            features=torch.from_numpy(observed.features).to(device),
            scores=torch.from_numpy(scores.astype(np.float32)).to(device),
            facts=facts,
            fold=torch.from_numpy(observed.fold).to(device),
        )

    def _finish(self, observed: _Observed, weights: Any, history: list[float]) -> dict[str, Any]:
        """Fit what needs held-out latents; return all attributes of the fitted router."""
        from lookahead_sk.routing._training import foresee_latents

        scores = observed.table.scores
        latents, logits = foresee_latents(
            weights, observed.features, resolve_device(self.device), observed.fold
        )
        kinds, feature_scale, local = _choose_kinds(observed, latents)
        network = _to_units(logits, observed.score_range)
        blend = choose_blend(local, network, scores)
        quality = (1 - blend) * local + blend * network
        return observed.attributes | {
            "weights_": weights,
            "kinds_": kinds,
            "feature_scale_": feature_scale,
            "blend_": blend,
            "score_range_": observed.score_range,
            "temperature_": fit_temperature(quality, scores),
            "validation_score_": float(np.nanmean(_routed(quality, scores))),
            "validation_scores_": list(history),
            "n_iter_": len(history),
            "_n_features_out": latents[0].size,
        }

    def _foresee(
        self, X: list[str] | npt.NDArray[np.float32]
    ) -> tuple[Floats32, Floats32, Floats32]:
        """Scaled features (n, p), latents (n, K, r) and quality logits (n, K)."""
        from lookahead_sk.routing._training import foresee_latents

        raw = _join(self._embed(X), self.lexical_, X)
        features = ((raw - self.center_) / self.scale_).astype(np.float32)
        latents, logits = foresee_latents(self.weights_, features, resolve_device(self.device))
        return features, latents, logits

    def _predict_quality(self, X: list[str] | npt.NDArray[np.float32]) -> Floats:
        features, latents, logits = self._foresee(X)
        kinds: Kinds | Neighbours = self.kinds_
        local = kinds.predict(_space(features, latents, self.feature_scale_))
        return (1 - self.blend_) * local + self.blend_ * _to_units(logits, self.score_range_)

    def _utility(self, quality: Floats) -> Floats:
        return quality - self.cost_weight * self._cost_array(self.classes_)

    def _cost_array(self, classes: npt.NDArray[Any]) -> Floats:
        """Costs of the models in the order of ``classes``; zeros when there are none."""
        if self.costs is None:
            return np.zeros(len(classes))
        costs = self.costs
        if isinstance(costs, Mapping):
            missing = [name for name in classes.tolist() if name not in costs]
            if missing:
                reject("costs", f"a mapping with a cost for each of {classes.tolist()}", costs)
            costs = [costs[name] for name in classes.tolist()]
        array = as_float_array(costs, "costs")
        if array.shape != (len(classes),) or not np.isfinite(array).all():
            reject("costs", f"{len(classes)} finite numbers, one per model", self.costs)
        return array

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """Foresee the response of every model.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        ndarray of shape (n, K * latent)
            The predicted latents, model by model. After a fit with responses they are the
            standardised facts that the responses are expected to show.
        """
        check_is_fitted(self)
        _, latents, _ = self._foresee(self._check_X(X, reset=False))
        return _flat(latents)

    def foresee(self, X: Any) -> list[dict[Any, dict[str, Any]]]:
        """Tell what each model is expected to answer.

        Parameters
        ----------
        X : sequence of str, or array-like of shape (n, p) with ``encoder="passthrough"``
            The prompts.

        Returns
        -------
        list of dict
            For every prompt, model name -> ``{"response", "row", "similarity", "length"}``: the
            training response of that model that is nearest to the foreseen one (None when responses
            were given as numbers), its row in the training data, the cosine between the two, and
            the expected length (in the unit of ``response_lengths``; None when unknown).

        Raises
        ------
        ValueError
            If the router was fitted without responses or with ``response_weight=0``.
        """
        check_is_fitted(self)
        references: ReferenceResponses | None = self.references_
        if references is None:
            raise ValueError(
                "foresee needs a router that was fitted with responses and response_weight > 0."
            )
        _, latents, _ = self._foresee(self._check_X(X, reset=False))
        return references.nearest(latents, self.facts_, self.classes_.tolist())

    def _embed(self, X: list[str] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if isinstance(X, np.ndarray):
            return X
        model = load_encoder(self.encoder, self.device)
        return encode(X, model, show_progress=self.verbose > 1, max_tokens=self.max_length)


def _join(embeddings: Floats32, lexical: LexicalFeatures | None, prompts: Any) -> Floats32:
    return embeddings if lexical is None else np.hstack([embeddings, lexical.transform(prompts)])


def _flat(latents: Floats32) -> Floats32:
    return latents.reshape(len(latents), -1)


def _choose_kinds(
    observed: _Observed, latents: Floats32
) -> tuple[Kinds | Neighbours, float | None, Floats]:
    """The kinds that foresee best which model scores higher on prompts held out.

    Candidates are two grains, a few nearest neighbours and, where there are latents, two shares of
    the prompt's own features in the variance of the space. Returns the kinds, the scale of the
    features and the held-out quality (n, K).
    """
    scores, seed = observed.table.scores, observed.attributes["seed_"]
    scales: list[float | None] = [None]
    if observed.facts is not None:
        features = max(float(observed.features.var(axis=0).sum()), 1e-12)
        ratio = float(_flat(latents).var(axis=0).sum()) / features
        scales = [float(np.sqrt(share * ratio)) for share in FEATURE_SHARES]
    candidates: list[tuple[float, Kinds | Neighbours, float | None, Floats]] = []
    for scale in scales:
        space = _space(observed.features, latents, scale)
        axes = fit_axes(space, seed)
        projected = space if axes is None else space @ axes
        found: list[tuple[Kinds | Neighbours, Floats]] = []
        found += [fit_kinds(projected, scores, grain, seed, axes) for grain in GRAINS]
        found += filter(None, [fit_neighbours(projected, scores, axes)])
        for kinds, held_out in found:
            error = difference_error(held_out, scores, np.ones(len(scores)))
            candidates.append((error, kinds, scale, held_out))
    _, kinds, scale, held_out = min(candidates, key=lambda candidate: candidate[0])
    return kinds, scale, held_out


def _space(features: Floats32, latents: Floats32, feature_scale: float | None) -> Floats32:
    """Where prompts are alike: what they will be answered, and a little what they ask.

    Without a response loss the latents say nothing, and the features stand alone.
    """
    if feature_scale is None:
        return features
    return np.hstack([_flat(latents), np.float32(feature_scale) * features])


def _scaling(raw: Floats32) -> tuple[Floats32, float]:
    """Mean of every feature, and one scale for all: embeddings keep their proportions."""
    center = raw.mean(axis=0, dtype=np.float64)
    rms = float(np.sqrt(raw.var(axis=0, dtype=np.float64).mean()))
    return center.astype(np.float32), rms if rms > 0 else 1.0


def _to_units(logits: Floats32, score_range: tuple[float, float]) -> Floats:
    low, high = score_range
    return low + (high - low) * expit(logits.astype(np.float64))


def _routed(quality: Floats, scores: Floats) -> Floats:
    """Score of the model that the quality would choose, NaN where not observed."""
    return scores[np.arange(len(scores)), quality.argmax(axis=1)]


def choose_blend(local: Floats, network: Floats, scores: Floats) -> float:
    """Share of the network in the quality, by held-out routed score.

    The mean over kinds is left only for a paired advantage of at least two standard errors.

    Parameters
    ----------
    local, network : ndarray of shape (n, K)
        Held-out quality by kinds and by the network.
    scores : ndarray of shape (n, K)
        True scores, NaN where not observed.

    Returns
    -------
    float
        One of 0, 0.25, 0.5, 0.75 and 1.
    """
    reference = _routed(local, scores)
    best, best_gain = 0.0, 0.0
    for blend in BLENDS[1:]:
        gains = _routed((1 - blend) * local + blend * network, scores) - reference
        gains = gains[~np.isnan(gains)]
        if len(gains) < 2:
            continue
        gain = float(gains.mean())
        if gain > max(best_gain, 2 * float(gains.std(ddof=1)) / np.sqrt(len(gains))):
            best, best_gain = blend, gain
    return best
