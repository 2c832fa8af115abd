"""LookaheadRouter: a frozen sentence encoder, a small network, averages over similar prompts."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import torch

from lookahead_sk._device import resolve_device
from lookahead_sk._typing import Float32Array, FloatArray, IntArray
from lookahead_sk._validation import check_bool, check_float, check_int, is_auto
from lookahead_sk.routing._answer_judge import AnswerJudge, Answers, fit_judge
from lookahead_sk.routing._checks import FitData, n_observed
from lookahead_sk.routing._embedding._network import predict_latents
from lookahead_sk.routing._embedding._predictor import (
    EmbeddingOptions,
    EmbeddingPredictor,
    PromptFeatures,
    embed_table,
    joined,
    search_space,
)
from lookahead_sk.routing._embedding._training import Trainer, TrainingData, TrainingPlan
from lookahead_sk.routing._features._lexical import fit_lexical
from lookahead_sk.routing._features._reference_responses import ReferenceResponses, keep_references
from lookahead_sk.routing._features._response_descriptors import (
    N_COMPONENTS,
    ResponseDescriptors,
    fit_descriptors,
    pairwise_agreement,
)
from lookahead_sk.routing._features._sentence_encoder import (
    check_encoder,
    embed_prompts,
    encoder_name,
)
from lookahead_sk.routing._local_average._candidates import weighted_averages
from lookahead_sk.routing._local_average._selection import (
    best_single,
    choose_quality,
    shows_gain,
)
from lookahead_sk.routing._lookahead import BaseLookaheadRouter
from lookahead_sk.routing._novelty import fit_novelty
from lookahead_sk.routing._predictor import Predictor, in_score_units, new_predictor

# Of the variance of the latents, in the spaces where averages are tried.
FEATURE_SHARES = (0.3, 3.0)


class LookaheadRouter(BaseLookaheadRouter):
    """Route each prompt to the best of several models by predicting their responses.

    The router learns to predict, from the prompt alone, descriptors of the response that every
    candidate model would write (what it says, how long it is, how it looks, how far the models
    agree), and scores the models on these predicted latents. Responses are needed in ``fit`` only;
    to route a prompt costs one pass of a small sentence encoder.

    Parameters
    ----------
    encoder : None, str, path, SentenceTransformer or "passthrough", default=None
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
        Tokens of a prompt that are read; None is the encoder's own limit.
    max_epochs : int, default=12
        Most passes over the training prompts.
    batch_size : int or "auto", default="auto"
        Prompts in a training step; "auto" is a twentieth of them, at least 16 and at most 256.
    learning_rate : float, default=2e-3
        Of AdamW, with a cosine schedule.
    validation_fraction : float, default=0.2
        Share of the training prompts that each member of the ensemble leaves out; there are
        ``round(1 / validation_fraction)`` members, so that every prompt is held out by one. On
        held-out prompts training is stopped early, and local average, blend and temperature are
        fitted.
    early_stopping : bool, default=True
        Keep the weights of the epoch that does best on held-out prompts, and stop when none has
        been better for 5 epochs. False trains ``max_epochs`` epochs and keeps the last.
    costs : array-like of shape (K,), mapping of model to cost, or None, default=None
        Price of each model, see ``cost_unit``; or a `TokenPrice` of each, with
        ``cost_unit="length"`` and ``response_lengths`` in tokens. In a mapping, the price of
        "model" is that of its arms "model@effort" too.
    cost_weight : float, default=0.0
        Utility is quality minus ``cost_weight`` times cost, in units of ``y`` per unit of cost;
        `tune_cost` sets it.
    cost_unit : {"call", "length"}, default="call"
        What a price is for: one call, or one unit of the response's length, which is predicted (in
        characters, or in the unit of ``response_lengths``).
    fallback : label or None, default=None
        Model that `predict` takes for prompts unlike the training prompts, see `is_novel`.
    novelty_level : float, default=0.01
        Share of prompts like those of the training that are flagged as novel all the same.
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device, default="auto"
        Where encoder and network run; ``"auto"`` is CUDA when there is a GPU.
    random_state : int, RandomState instance or None, default=None
        Makes ``fit`` reproducible on one machine.
    verbose : int, default=0
        1 shows the progress of training, 2 that of the encoding as well.

    Attributes
    ----------
    predictor_ : Predictor
        The fitted state: plain data that a prediction reads at once and an update replaces.
    classes_ : ndarray of shape (K,)
        Names of the models: the columns of ``y``, or 0 to K - 1, or the labels.
    mean_scores_ : ndarray of shape (K,)
        Mean score of every model, by ``cell_weight``.
    n_prompts_ : int
        Prompts learned from, those held out included.
    n_iter_ : int
        Epochs trained.
    validation_losses_ : list of float
        Held-out loss after each epoch; less is better.
    validation_score_ : float
        Mean score of the held-out training prompts, as routed with ``cost_weight=0``; more is
        better.
    blend_ : float
        Share of the network's own score in the quality; the rest are averages over similar prompts.
        Those of up to eight candidates count alike that best predict, on held-out prompts, which
        model scores higher.
    always_best_single_ : bool
        Whether routing gained nothing over the best single model on held-out prompts: their mean
        paired gain is not above half its standard error. No other model is then rated above that
        one, and it is called unless costs speak against it.
    temperature_ : float
        Of `predict_proba`, in the units of ``y``.
    n_members_ : int
        Members of the ensemble.
    n_features_in_ : int
        Columns of X; only with ``encoder="passthrough"``.
    feature_names_in_ : ndarray of str
        Their names; only with ``encoder="passthrough"`` and a DataFrame.

    See Also
    --------
    MaskedLookaheadRouter : A masked language model is fine-tuned.
    CausalLookaheadRouter : A causal language model is fine-tuned.
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

    _options_type = EmbeddingOptions
    _network_type = EmbeddingPredictor

    def __init__(
        self,
        encoder: Any = None,
        *,
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
        cost_unit: str = "call",
        fallback: Any = None,
        novelty_level: float = 0.01,
        device: Any = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
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
        self.cost_unit = cost_unit
        self.fallback = fallback
        self.novelty_level = novelty_level
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @property
    def n_members_(self) -> int:
        """Members of the ensemble."""
        network: Any = self.predictor_.network
        return int(network.n_members)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_encoder(self.encoder)
        check_int(self.lexical_features, "lexical_features", low=0)
        check_float(self.response_weight, "response_weight", low=0, closed="left")
        check_float(self.learning_rate, "learning_rate", low=0, closed="neither")
        check_int(self.response_tokens, "response_tokens", low=1)
        check_int(self.max_epochs, "max_epochs", low=1)
        if not is_auto(self.batch_size):
            check_int(self.batch_size, "batch_size", low=1)
        if self.max_length is not None:
            check_int(self.max_length, "max_length", low=1)
        check_float(self.validation_fraction, "validation_fraction", 0, 0.5, closed="right")
        check_bool(self.early_stopping, "early_stopping")

    def _reads(self) -> str:
        return encoder_name(self.encoder)

    def _start_training(self, data: FitData) -> EmbeddingTraining:
        """Embed prompts and responses."""
        n, seed = len(data.prompts), data.seed
        embeddings = embed_prompts(
            data.prompts, self.encoder, self.device, self.max_length, self.verbose
        )
        lexical = None
        if not isinstance(data.prompts, np.ndarray):
            lexical = fit_lexical(data.prompts, self.lexical_features, seed)
        raw = joined(data.prompts, embeddings, lexical)
        features = PromptFeatures(lexical, *_scaling(raw))
        answers = self._embed_answers(data)
        descriptors, values, pairs = None, None, None
        if answers is not None:
            descriptors, values = self._fit_descriptors(data, answers)
            pairs = pairwise_agreement(answers, data.texts)
        references = None
        if descriptors is not None and values is not None:
            references = keep_references(data.texts, values, descriptors, seed)
        n_members = min(n, max(2, round(1 / self.validation_fraction)))
        inputs = EmbeddingInputs(
            data=data,
            prompt_features=features,
            features=features.of(data.prompts, embeddings),
            descriptors=descriptors,
            values=values,
            pairs=pairs,
            references=references,
            fold=(np.random.RandomState(seed).permutation(n) % n_members).astype(np.intp),
        )
        return EmbeddingTraining(inputs, self._plan(inputs, n_members), resolve_device(self.device))

    def _embed_answers(self, data: FitData) -> Float32Array | None:
        """Embeddings (n, K, d) of the training responses; None where these are not used."""
        responses = data.responses
        if responses is None or self.response_weight == 0 or n_observed(responses) == 0:
            return None
        return embed_table(responses, self._options())

    def _fit_descriptors(
        self, data: FitData, answers: Float32Array
    ) -> tuple[ResponseDescriptors, Float32Array]:
        return fit_descriptors(answers, data.texts, data.lengths, data.seed)

    def _plan(self, inputs: EmbeddingInputs, n_members: int) -> TrainingPlan:
        batch_size: Any = self.batch_size
        if is_auto(batch_size):
            batch_size = min(256, max(16, len(inputs.features) // 20))
        return TrainingPlan(
            n_members=n_members,
            n_latent=N_COMPONENTS if inputs.values is None else inputs.values.shape[2],
            response_weight=float(self.response_weight),
            learning_rate=float(self.learning_rate),
            batch_size=int(batch_size),
            max_epochs=int(self.max_epochs),
            early_stopping=bool(self.early_stopping),
            seed=inputs.data.seed,
            verbose=self.verbose > 0,
        )


class EmbeddingInputs(NamedTuple):
    """All that is trained on: checked and embedded."""

    data: FitData
    prompt_features: PromptFeatures
    features: Float32Array  # (n, p), centred and scaled
    descriptors: ResponseDescriptors | None
    values: Float32Array | None  # (n, K, r), of the training responses
    pairs: Float32Array | None  # (n, P), agreement of each two of them
    references: ReferenceResponses | None
    fold: IntArray  # (n,), the member that leaves the prompt out


class EmbeddingTraining:
    """The training of `LookaheadRouter` in progress.

    Attributes
    ----------
    quality : ndarray of shape (n, K)
        Of the training prompts, each held out; of the predictor that was made last.
    """

    quality: FloatArray

    def __init__(self, inputs: EmbeddingInputs, plan: TrainingPlan, device: torch.device) -> None:
        self.inputs = inputs
        self.device = device
        self.max_epochs = plan.max_epochs
        self.trainer = Trainer(_tensors(inputs, device), plan)
        self.novelty = fit_novelty(inputs.features, inputs.data.seed)

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        return self.trainer.is_over

    def run_epoch(self) -> None:
        """Train for one epoch."""
        self.trainer.run_epoch()

    def finish(self) -> Predictor:
        """End the training."""
        self.trainer.bar.close()
        return self.predictor()

    def predictor(self) -> Predictor:
        """Choose on held-out prompts what makes the quality, and whether to leave the best single.

        Also the temperature is fitted there.
        """
        inputs, data = self.inputs, self.inputs.data
        scores, weights = data.table.scores, self.trainer.weights()
        latents, logits = predict_latents(weights, inputs.features, self.device, inputs.fold)
        scale = _feature_scale(inputs, latents)
        space = search_space(inputs.features, latents, scale)
        own = in_score_units(logits, data.score_range)
        columns = _column_weights(inputs.features.shape[1], space.shape[1])
        cells = data.cell_weight
        averages = weighted_averages(space, columns, scores, inputs.fold, data.seed, cells)
        average, blend, quality = choose_quality(
            itertools.chain([(None, own)], averages), scores, inputs.fold, cells
        )
        self.quality = quality
        network = EmbeddingPredictor(
            features=inputs.prompt_features,
            weights=weights,
            feature_scale=scale,
            score_range=data.score_range,
            descriptors=inputs.descriptors,
            references=inputs.references,
            judge=_fit_judge(inputs, latents, quality),
            counts_characters=data.lengths is None,
        )
        return new_predictor(
            data,
            network,
            average,
            blend,
            quality,
            np.ones(len(scores), dtype=bool),
            self.novelty,
            self.trainer.losses,
            None if shows_gain(quality, scores) else best_single(scores),
        )


def _tensors(inputs: EmbeddingInputs, device: torch.device) -> TrainingData:
    values, cells = inputs.values, inputs.data.cell_weight
    return TrainingData(
        features=torch.from_numpy(inputs.features).to(device),
        scores=torch.from_numpy(inputs.data.unit_scores()).to(device),
        descriptors=None if values is None else torch.from_numpy(values).to(device),
        fold=torch.from_numpy(inputs.fold).to(device),
        cell_weight=None
        if cells is None
        else torch.from_numpy(cells.astype(np.float32)).to(device),
    )


def _fit_judge(
    inputs: EmbeddingInputs, latents: Float32Array, quality: FloatArray
) -> AnswerJudge | None:
    """What responses tell beyond latents and quality that were predicted out of fold."""
    if inputs.descriptors is None or inputs.values is None or inputs.pairs is None:
        return None
    own = inputs.values[..., : inputs.descriptors.n_own]
    surprises = Answers(own, inputs.pairs).surprises(latents)
    return fit_judge(surprises, inputs.data.table.scores - quality)


def _feature_scale(inputs: EmbeddingInputs, latents: Float32Array) -> float | None:
    """Weight of the features beside the latents that gives both the same variance.

    Without a response loss the latents say nothing, and the features stand alone.
    """
    if inputs.values is None:
        return None
    variance = max(float(inputs.features.var(axis=0).sum()), 1e-12)
    flat = latents.reshape(len(latents), -1)
    return float(np.sqrt(flat.var(axis=0).sum() / variance))


def _column_weights(n_features: int, width: int) -> list[Float32Array]:
    """Spaces that are tried: latents with few and with more of the features, features alone."""
    n_latent = width - n_features
    alone = (np.arange(width) >= n_latent).astype(np.float32)
    if n_latent == 0:
        return [alone]
    shares = np.sqrt(FEATURE_SHARES).astype(np.float32)
    ones = np.ones(n_latent, dtype=np.float32)
    both = [np.append(ones, np.full(n_features, share)) for share in shares]
    return [*both, alone]


def _scaling(raw: Float32Array) -> tuple[Float32Array, float]:
    """Mean of every feature, and one scale for all: embeddings keep their proportions."""
    center = raw.mean(axis=0, dtype=np.float64)
    rms = float(np.sqrt(raw.var(axis=0, dtype=np.float64).mean()))
    return center.astype(np.float32), rms if rms > 0 else 1.0
