"""Routing prompts to the best of several language models by foreseeing their responses."""

from typing import TYPE_CHECKING, Any

from lookahead_sk.routing._base import BaseRouter

if TYPE_CHECKING:
    from lookahead_sk.routing._router import LookaheadRouter

__all__ = ["BaseRouter", "LookaheadRouter"]


def __getattr__(name: str) -> Any:
    if name == "LookaheadRouter":
        from lookahead_sk.routing._router import LookaheadRouter

        return LookaheadRouter
    raise AttributeError(f"module 'lookahead_sk.routing' has no attribute {name!r}")
