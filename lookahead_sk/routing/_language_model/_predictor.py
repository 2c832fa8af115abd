"""The trained state of a fine-tuned router: a network, and how its outputs are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from lookahead_sk._device import resolve_device, resolve_precision
from lookahead_sk._typing import Float32Array, FloatArray, Prompts
from lookahead_sk.routing._answer_judge import Answers
from lookahead_sk.routing._features._reference_responses import known_length
from lookahead_sk.routing._features._response_descriptors import ResponseDescriptors
from lookahead_sk.routing._language_model._prediction import predict_first_tokens, predict_prompts
from lookahead_sk.routing._language_model._sequences import Tokens
from lookahead_sk.routing._language_model._state import NetworkState
from lookahead_sk.routing._predictor import Foreseen, NetworkOutput, in_score_units


class LanguageModelOptions(NamedTuple):
    """Parameters of a fine-tuned router that prediction reads."""

    device: Any
    dtype: str


@dataclass(frozen=True)
class LanguageModelPredictor:
    """A fine-tuned backbone: hidden states where responses would stand are the latents.

    Attributes
    ----------
    state : NetworkState
        The network as plain data.
    max_length : int
        Tokens of a prompt that are read.
    score_range : tuple of float
        Smallest and largest training score.
    descriptors : ResponseDescriptors or None
        How to read the predicted descriptors; None where none are predicted.
    """

    state: NetworkState
    max_length: int
    score_range: tuple[float, float]
    descriptors: ResponseDescriptors | None

    @property
    def n_models(self) -> int:
        """Models that were fitted, K0."""
        return len(self.state.weights["model_tokens"])

    @property
    def n_latents(self) -> int:
        """Numbers that `read` predicts of a prompt's responses."""
        return int(self.state.weights["model_tokens"].size)

    def _ready(
        self, prompts: Prompts, options: LanguageModelOptions
    ) -> tuple[Any, list[Tokens], torch.device, str]:
        """Network, tokens of the prompts, device and precision."""
        device = resolve_device(options.device)
        tokens = self.state.vocabulary.encode_prompts(list(prompts), self.max_length)
        precision = resolve_precision(options.dtype, device)
        return self.state.network(device), tokens, device, precision

    def read(self, prompts: Prompts, options: LanguageModelOptions) -> NetworkOutput:
        """Hidden states where the responses would stand, and the network's quality."""
        latents, logits, descriptors = predict_prompts(*self._ready(prompts, options))
        return NetworkOutput(
            space=search_space(latents, descriptors),
            quality=in_score_units(logits, self.score_range),
            latents=latents,
            descriptors=descriptors,
            features=latents.reshape(len(latents), -1),
        )

    def lengths(self, output: NetworkOutput) -> FloatArray | None:
        """Expected lengths (n, K0) of the responses."""
        return None if self.descriptors is None else self.descriptors.lengths(output.descriptors)

    def foresee(
        self, prompts: Prompts, output: NetworkOutput, options: LanguageModelOptions
    ) -> Foreseen:
        """What the language model itself expects every model to begin with."""
        vocabulary = self.state.vocabulary
        tokens = predict_first_tokens(*self._ready(prompts, options))
        lengths = self.lengths(output)
        return [
            {
                k: {
                    "response": vocabulary.decode(begin),
                    "row": None,
                    "similarity": None,
                    "length": None if lengths is None else known_length(lengths[i, k]),
                }
                for k, begin in enumerate(row)
            }
            for i, row in enumerate(tokens)
        ]

    def embed_responses(
        self, responses: npt.NDArray[Any], options: LanguageModelOptions
    ) -> Float32Array | None:
        """None: there are no axes of responses."""
        return None

    def describe_answers(self, answers: Any, lengths: Any, options: Any) -> Answers:
        """Raise: written responses are judged by `LookaheadRouter` alone."""
        raise ValueError("responses can be judged by a LookaheadRouter; this is another router.")

    def judge_answers(self, output: NetworkOutput, answers: Answers) -> FloatArray:
        """Nothing is learned of answers."""
        raise NotImplementedError


def search_space(latents: Float32Array, descriptors: Float32Array) -> Float32Array:
    """Where prompts are alike, (n, f): predicted descriptors where there are any, else latents."""
    values = descriptors if descriptors.shape[2] else latents
    return values.reshape(len(values), -1)
