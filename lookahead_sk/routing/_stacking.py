"""How a fine-tuned router gets a router on a frozen encoder beside it.

Held-out prompts decide how much the fine-tuned router may say: a network that was fine-tuned too
little, or too much, leaves the choice to the frozen encoder. Early stopping chose the network by
the same prompts, so its error on them is too small. Hence the doubt is for the frozen one, and of
the fine-tuned one only averages over prompts that its latents make alike count, not its own scores.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lookahead_sk._validation import reject
from lookahead_sk.routing._checks import FitData
from lookahead_sk.routing._embedding_router import LookaheadRouter
from lookahead_sk.routing._features._sentence_encoder import check_encoder, encoder_name
from lookahead_sk.routing._language_model._fitting import LanguageTraining, backbone_shown
from lookahead_sk.routing._local_average._selection import (
    best_single,
    choose_share,
    fit_temperature,
    routed_scores,
    shows_gain,
)
from lookahead_sk.routing._lookahead import Training
from lookahead_sk.routing._predictor import Predictor, capped
from lookahead_sk.routing._stacked import NO_ENCODER, RESPONSE_TOKENS, StackedNetwork


def check_frozen_encoder(encoder: Any) -> None:
    """Raise for an ``encoder`` of a fine-tuned router that is wrong."""
    check_encoder(encoder)
    if isinstance(encoder, str) and encoder == "passthrough":
        accepted = "None, a model name, a path, a SentenceTransformer or 'drop'"
        reject("encoder", accepted, encoder)


def has_frozen(router: Any) -> bool:
    """Whether a fine-tuned router has a frozen encoder beside it."""
    return not (isinstance(router.encoder, str) and router.encoder == NO_ENCODER)


def reads(router: Any) -> str:
    """What the prompts are read by, for the model card."""
    if not has_frozen(router):
        return backbone_shown(router)
    return f"{backbone_shown(router)}, beside {encoder_name(router.encoder)}"


def beside_frozen(router: Any, data: FitData, training: LanguageTraining) -> Training:
    """The training of a fine-tuned router, with a frozen encoder if it has one."""
    if not has_frozen(router):
        return training
    frozen = LookaheadRouter(
        encoder=router.encoder,
        response_weight=float(router.response_weight > 0),
        response_tokens=RESPONSE_TOKENS,
        device=router.device,
        verbose=router.verbose,
    )
    return StackedTraining(training, data, frozen)


class StackedTraining:
    """A fine-tuning in progress; the router beside it is fitted at once."""

    def __init__(self, training: LanguageTraining, data: FitData, frozen: LookaheadRouter) -> None:
        self.training, self.data = training, data
        training.may_blend = False
        self.max_epochs = training.max_epochs
        beside = frozen._start_training(data)
        while not beside.is_over:
            beside.run_epoch()
        self.frozen = beside.finish()
        self.frozen_quality = capped(beside.quality, self.frozen.best_single)

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        return self.training.is_over

    def run_epoch(self) -> None:
        """Train for one epoch."""
        self.training.run_epoch()

    def predictor(self) -> Predictor:
        """What the router would be if training stopped now; training goes on undisturbed."""
        return self._stack(self.training.predictor())

    def finish(self) -> Predictor:
        """End the training."""
        return self._stack(self.training.finish())

    def _stack(self, own: Predictor) -> Predictor:
        """Weigh both on the prompts that the fine-tuning held out."""
        held_out = self.training.inputs.texts.is_held_out
        scores, frozen = self.data.table.scores[held_out], self.frozen_quality[held_out]
        share = choose_share(frozen, self.training.quality, scores)
        quality = share * self.training.quality + (1 - share) * frozen
        single = None if shows_gain(quality, scores) else best_single(scores)
        quality = capped(quality, single)
        blend, of_network = _as_blend(share, own.blend)
        language: Any = own.network
        return replace(
            own,
            network=StackedNetwork(language, self.frozen, of_network),
            blend=blend,
            best_single=single,
            temperature=fit_temperature(quality, scores),
            validation_score=float(np.nanmean(routed_scores(quality, scores))),
        )


def _as_blend(share: float, blend: float) -> tuple[float, float]:
    """Share of the stacked network beside the local average, and of the fine-tuned one within.

    (1 - share) F + share ((1 - blend) average + blend q), with the average's own share apart.
    """
    whole = 1 - share * (1 - blend)
    return whole, share * blend / whole if whole > 0 else 0.0
