"""Routing prompts to the best of several language models by predicting their responses."""

import importlib
from typing import TYPE_CHECKING, Any

from lookahead_sk.routing._base import BaseRouter
from lookahead_sk.routing._features._conversation import conversation_text

if TYPE_CHECKING:
    from lookahead_sk.routing._cascade import CascadeResult, CascadeRouter
    from lookahead_sk.routing._causal_router import CausalLookaheadRouter
    from lookahead_sk.routing._embedding_router import LookaheadRouter
    from lookahead_sk.routing._language_model._hidden_states import HiddenStateEncoder
    from lookahead_sk.routing._masked_router import MaskedLookaheadRouter

__all__ = [
    "BaseRouter",
    "CascadeResult",
    "CascadeRouter",
    "CausalLookaheadRouter",
    "HiddenStateEncoder",
    "LookaheadRouter",
    "MaskedLookaheadRouter",
    "conversation_text",
]

_HOMES = {
    "CascadeResult": "_cascade",
    "CascadeRouter": "_cascade",
    "CausalLookaheadRouter": "_causal_router",
    "HiddenStateEncoder": "_language_model._hidden_states",
    "LookaheadRouter": "_embedding_router",
    "MaskedLookaheadRouter": "_masked_router",
}


def __getattr__(name: str) -> Any:
    # torch takes more than a second to import, transformers several: loaded when asked for.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lookahead_sk.routing' has no attribute {name!r}")
