"""A fine-tuned network with a router on a frozen encoder beside it, as one network.

n prompts, K models.

==  ======================================================================
q   (n, K) quality of the fine-tuned network alone
F   (n, K) quality of the router on the frozen encoder
==  ======================================================================

quality = share q + (1 - share) F
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt

from lookahead_sk._typing import Float32Array, FloatArray, Prompts
from lookahead_sk.routing._answer_judge import Answers
from lookahead_sk.routing._embedding._predictor import EmbeddingOptions
from lookahead_sk.routing._features._reference_responses import known_length
from lookahead_sk.routing._language_model._predictor import (
    LanguageModelOptions,
    LanguageModelPredictor,
)
from lookahead_sk.routing._predictor import Foreseen, NetworkOutput, Predictor

NO_ENCODER = "drop"
RESPONSE_TOKENS = 96  # of a response, that the frozen encoder reads


class StackedOptions(NamedTuple):
    """Parameters of a fine-tuned router that prediction reads."""

    device: Any
    dtype: str
    encoder: Any
    verbose: int

    def frozen(self) -> EmbeddingOptions:
        """Those of the router on the frozen encoder."""
        return EmbeddingOptions(self.encoder, self.device, None, RESPONSE_TOKENS, self.verbose)

    def language(self) -> LanguageModelOptions:
        """Those of the fine-tuned network."""
        return LanguageModelOptions(self.device, self.dtype)


@dataclass(frozen=True)
class StackedNetwork:
    """A fine-tuned network, and a fitted router on a frozen encoder.

    What a response looks like to an encoder, and what it tells of its score, is known to the frozen
    router alone; what a model will write, to the fine-tuned network.

    Attributes
    ----------
    language : LanguageModelPredictor
        The fine-tuned network.
    frozen : Predictor
        The router on the frozen encoder.
    share : float
        Of the fine-tuned network in the quality.
    """

    language: LanguageModelPredictor
    frozen: Predictor
    share: float

    @property
    def n_models(self) -> int:
        """Models that were fitted, K0."""
        return self.language.n_models

    @property
    def n_latents(self) -> int:
        """Numbers that `read` predicts of a prompt's responses."""
        return self.language.n_latents

    def read(self, prompts: Prompts, options: StackedOptions) -> NetworkOutput:
        """What the fine-tuned network says of prompts, with the quality of both."""
        output = self.language.read(prompts, options.language())
        beside = self.frozen.network.read(prompts, options.frozen())
        quality = self.share * output.quality
        quality = quality + (1 - self.share) * self.frozen.fitted_quality(beside)
        return output._replace(quality=quality, beside=beside)

    def lengths(self, output: NetworkOutput) -> FloatArray | None:
        """Expected lengths (n, K0) of the responses."""
        own = self.language.lengths(output)
        return own if own is not None else self.frozen.network.lengths(output.beside)

    def foresee(self, prompts: Prompts, output: NetworkOutput, options: StackedOptions) -> Foreseen:
        """What the language model itself expects every model to begin with."""
        found = self.language.foresee(prompts, output, options.language())
        lengths = self.lengths(output)
        if lengths is not None:
            for row, values in zip(found, lengths.tolist(), strict=True):
                for k, value in enumerate(values):
                    row[k]["length"] = known_length(value)
        return found

    def embed_responses(
        self, responses: npt.NDArray[Any], options: StackedOptions
    ) -> Float32Array | None:
        """Principal components of the responses' embeddings, by the frozen encoder."""
        return self.frozen.network.embed_responses(responses, options.frozen())

    def describe_answers(
        self, answers: npt.NDArray[Any], lengths: FloatArray | None, options: StackedOptions
    ) -> Answers:
        """What written responses (n, K0) say, to the frozen encoder."""
        return self.frozen.network.describe_answers(answers, lengths, options.frozen())

    def judge_answers(self, output: NetworkOutput, answers: Answers) -> FloatArray:
        """What answers add to the quality, (n, K0)."""
        return self.frozen.network.judge_answers(output.beside, answers)
