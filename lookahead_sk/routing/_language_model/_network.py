"""What the masked and the causal network share: a backbone, a token for every model, heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from lookahead_sk._validation import Words, reject
from lookahead_sk.routing._language_model._backbone import LanguageModel
from lookahead_sk.routing._language_model._heads import Heads
from lookahead_sk.routing._language_model._sequences import Responses, Tokens
from lookahead_sk.routing._language_model._tokenizer import Vocabulary


class LookaheadNetwork(nn.Module, ABC):
    """A backbone with a learned token for every model and heads on what it predicts.

    A subclass names in ``needs`` and ``needs_cache`` what its backbone's trunk must take, and in
    ``accepted`` how to say so.
    """

    needs: ClassVar[frozenset[str]]
    needs_cache: ClassVar[bool] = False
    accepted: ClassVar[str]

    def __init__(
        self,
        language_model: LanguageModel,
        vocabulary: Vocabulary,
        n_models: int,
        n_tokens: int,
        n_descriptors: int = 0,
        head: str = "pooled",
    ) -> None:
        super().__init__()
        has_cache = language_model.cache_name is not None
        if not self.needs <= language_model.takes or (self.needs_cache and not has_cache):
            reject("backbone", self.accepted, Words(type(language_model.trunk).__name__))
        self.language_model = language_model
        self.vocabulary = vocabulary
        self.n_models = n_models
        self.n_tokens = n_tokens
        size = (n_models, language_model.width)
        self.model_tokens = nn.Parameter(torch.zeros(size, dtype=torch.float32))
        self.heads = Heads(language_model.width, n_models, n_descriptors, head)

    @property
    def max_prompt(self) -> int | None:
        """Most tokens of a prompt that leave room for a response."""
        limit = self.language_model.max_positions
        return None if limit is None else limit - self.n_tokens - 3

    def learns_from(self, response: Tokens | None) -> bool:
        """Whether a response has a token to predict, be it its end."""
        return response is not None

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Start the tokens of the models."""

    @abstractmethod
    def cost(self, prompt: int, has_responses: bool) -> int:
        """Tokens that one prompt of a length adds to a batch."""

    @abstractmethod
    def collate(self, prompts: list[Tokens], responses: Responses | None, share: float) -> Any:
        """Lay out a batch; ``share`` of each response is hidden."""

    @abstractmethod
    def first_tokens(self, batch: Any) -> list[list[Tokens]]:
        """The first tokens that every model is expected to write, n x K."""
