"""The trained state of the frozen-encoder approach: features of a prompt, latents, lookups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lookahead_sk._device import resolve_device
from lookahead_sk._typing import Float32Array, FloatArray, Prompts
from lookahead_sk._validation import Words, reject
from lookahead_sk.routing._answer_judge import AnswerJudge, Answers
from lookahead_sk.routing._embedding._network import Weights, predict_latents
from lookahead_sk.routing._features._lexical import LexicalFeatures
from lookahead_sk.routing._features._reference_responses import ReferenceResponses
from lookahead_sk.routing._features._response_descriptors import (
    ResponseDescriptors,
    count_characters,
    pairwise_agreement,
)
from lookahead_sk.routing._features._sentence_encoder import embed_prompts, encode, load_encoder
from lookahead_sk.routing._predictor import Foreseen, NetworkOutput, in_score_units

_FARTHEST = 1e6  # squares of larger features, and their sums, leave float32


class EmbeddingOptions(NamedTuple):
    """Parameters of `LookaheadRouter` that prediction reads."""

    encoder: Any
    device: Any
    max_length: int | None
    response_tokens: int
    verbose: int


@dataclass(frozen=True)
class PromptFeatures:
    """From prompts to features: the sentence embedding beside lexical features, scaled.

    Attributes
    ----------
    lexical : LexicalFeatures or None
        None without lexical features.
    center : ndarray of shape (p,)
        Mean of every feature.
    scale : float
        One scale for all: embeddings keep their proportions.
    """

    lexical: LexicalFeatures | None
    center: Float32Array
    scale: float

    def of(self, prompts: Prompts, embeddings: Float32Array) -> Float32Array:
        """Features (n, p) of prompts with embeddings (n, d)."""
        raw = joined(prompts, embeddings, self.lexical)
        if raw.shape[1] != len(self.center):
            n_lexical = raw.shape[1] - embeddings.shape[1]
            accepted = f"one that gives {len(self.center) - n_lexical} numbers a text, as in fit"
            reject("encoder", accepted, Words(f"{embeddings.shape[1]} numbers"))
        # In units of their spread; a prompt beyond all measure is taken to be far off.
        far = np.subtract(raw, self.center, dtype=np.float64) / self.scale
        return np.clip(far, -_FARTHEST, _FARTHEST).astype(np.float32)


def joined(
    prompts: Prompts, embeddings: Float32Array, lexical: LexicalFeatures | None
) -> Float32Array:
    """Embeddings with lexical features beside them."""
    if lexical is None or isinstance(prompts, np.ndarray):
        return embeddings
    return np.hstack([embeddings, lexical.transform(prompts)])


@dataclass(frozen=True)
class EmbeddingPredictor:
    """A small network on frozen features of the prompt.

    Attributes
    ----------
    features : PromptFeatures
        What the network reads.
    weights : dict of ndarray
        Parameters of `LatentPredictor`.
    feature_scale : float or None
        Weight of the features beside the latents in the space where prompts are compared; None
        where the latents were not trained on responses and the features stand alone.
    score_range : tuple of float
        Smallest and largest training score.
    descriptors : ResponseDescriptors or None
        How to read the latents; None without responses.
    references : ReferenceResponses or None
        Training responses that `foresee` looks up.
    judge : AnswerJudge or None
        What written responses tell of the scores; None without training responses.
    counts_characters : bool
        Whether lengths of training responses were measured on their texts.
    """

    features: PromptFeatures
    weights: Weights
    feature_scale: float | None
    score_range: tuple[float, float]
    descriptors: ResponseDescriptors | None
    references: ReferenceResponses | None
    judge: AnswerJudge | None
    counts_characters: bool

    @property
    def n_models(self) -> int:
        """Models that were fitted, K0."""
        return int(self.weights["score_latent"].shape[1])

    @property
    def n_latents(self) -> int:
        """Numbers that `read` predicts of a prompt's responses."""
        _, n_models, n_latent = self.weights["score_latent"].shape
        return int(n_models * n_latent)

    @property
    def n_members(self) -> int:
        """Members of the ensemble."""
        return len(self.weights["score_latent"])

    def read(self, prompts: Prompts, options: EmbeddingOptions) -> NetworkOutput:
        """Features, latents and the network's quality."""
        embeddings = embed_prompts(
            prompts, options.encoder, options.device, options.max_length, options.verbose
        )
        features = self.features.of(prompts, embeddings)
        device = resolve_device(options.device)
        latents, logits = predict_latents(self.weights, features, device)
        quality = in_score_units(logits, self.score_range)
        space = search_space(features, latents, self.feature_scale)
        return NetworkOutput(space, quality, latents, latents, features)

    def lengths(self, output: NetworkOutput) -> FloatArray | None:
        """Expected lengths (n, K0) of the responses."""
        return None if self.descriptors is None else self.descriptors.lengths(output.latents)

    def foresee(
        self, prompts: Prompts, output: NetworkOutput, options: EmbeddingOptions
    ) -> Foreseen:
        """The training responses that are nearest to the predicted ones."""
        if self.references is None or self.descriptors is None:
            raise ValueError(
                "foresee needs a router that was fitted with responses and response_weight > 0."
            )
        names = list(range(output.quality.shape[1]))
        return self.references.nearest(output.latents, self.descriptors, names)

    def embed_responses(
        self, responses: npt.NDArray[Any], options: EmbeddingOptions
    ) -> Float32Array | None:
        """Principal components of the responses' embeddings."""
        if self.descriptors is None:
            return None
        embeddings = embed_responses(responses, options)
        if embeddings is None:
            return None
        if embeddings.shape[1] != len(self.descriptors.center):
            accepted = f"of shape (n, {len(self.descriptors.center)}), as those of fit"
            reject("responses", accepted, Words(f"shape {embeddings.shape}"))
        return self.descriptors.project(embeddings)

    def describe_answers(
        self,
        answers: npt.NDArray[Any],
        lengths: FloatArray | None,
        options: EmbeddingOptions,
    ) -> Answers:
        """What written responses (n, K0), or their embeddings (n, K0, d), say."""
        if self.judge is None or self.descriptors is None:
            raise ValueError(
                "responses can be judged by a router that was fitted with responses and "
                "response_weight > 0."
            )
        width = len(self.descriptors.center)
        embeddings = embed_table(answers, options)
        if embeddings is None:
            embeddings = np.full((*answers.shape, width), np.nan, dtype=np.float32)
        if embeddings.shape[2] != width:
            accepted = f"of shape (n, K, {width}), as those of fit"
            reject("responses", accepted, Words(f"shape {embeddings.shape}"))
        texts = answers if answers.dtype == object else None
        if lengths is None and texts is not None and self.counts_characters:
            lengths = count_characters(texts)
        own = self.descriptors.describe(embeddings, texts, lengths)
        return Answers(own, pairwise_agreement(embeddings, texts))

    def judge_answers(self, output: NetworkOutput, answers: Answers) -> FloatArray:
        """What answers add to the quality, (n, K0)."""
        if self.judge is None:
            return np.zeros(output.quality.shape)
        return self.judge.corrections(answers.surprises(output.latents))


def search_space(
    features: Float32Array, latents: Float32Array, feature_scale: float | None
) -> Float32Array:
    """Where prompts are alike: what they will be answered, and a little what they ask."""
    if feature_scale is None:
        return features
    return np.hstack([latents.reshape(len(latents), -1), np.float32(feature_scale) * features])


def embed_responses(responses: npt.NDArray[Any], options: EmbeddingOptions) -> Float32Array | None:
    """Embeddings (n, d), NaN where not observed; None where nothing was."""
    if responses.dtype != object:
        return responses
    is_observed = np.array([text is not None for text in responses])
    if not is_observed.any():
        return None
    vectors = encode(
        responses[is_observed].tolist(),
        load_encoder(options.encoder, options.device),
        show_progress=options.verbose > 1,
        max_tokens=options.response_tokens,
    )
    embeddings = np.full((len(responses), vectors.shape[1]), np.nan, dtype=np.float32)
    embeddings[is_observed] = vectors
    return embeddings


def embed_table(responses: npt.NDArray[Any], options: EmbeddingOptions) -> Float32Array | None:
    """Embeddings (n, K, d) of a table of responses; None where nothing was observed."""
    if responses.dtype != object:
        return responses
    embeddings = embed_responses(responses.ravel(), options)
    return None if embeddings is None else embeddings.reshape(*responses.shape, -1)
