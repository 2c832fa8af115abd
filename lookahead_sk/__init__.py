"""scikit-learn estimators that look ahead before they pay."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookahead_sk._version import __version__

if TYPE_CHECKING:
    from lookahead_sk._token_price import TokenPrice
    from lookahead_sk.model_selection import ConstrainedSearchCV
    from lookahead_sk.optimization import TwoStepConstrainedBO
    from lookahead_sk.routing import (
        CausalLookaheadRouter,
        LookaheadRouter,
        MaskedLookaheadRouter,
    )

__all__ = [
    "CausalLookaheadRouter",
    "ConstrainedSearchCV",
    "LookaheadRouter",
    "MaskedLookaheadRouter",
    "TokenPrice",
    "TwoStepConstrainedBO",
    "__version__",
]

_HOMES = {
    "CausalLookaheadRouter": "lookahead_sk.routing",
    "ConstrainedSearchCV": "lookahead_sk.model_selection",
    "LookaheadRouter": "lookahead_sk.routing",
    "MaskedLookaheadRouter": "lookahead_sk.routing",
    "TokenPrice": "lookahead_sk._token_price",
    "TwoStepConstrainedBO": "lookahead_sk.optimization",
}
_SUBMODULES = (
    "audit",
    "baselines",
    "datasets",
    "inspection",
    "integrations",
    "metrics",
    "model_selection",
    "optimization",
    "routing",
)


def __getattr__(name: str) -> Any:
    # torch alone takes more than a second to import: what is heavy is loaded when asked for.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"lookahead_sk.{name}")
    raise AttributeError(f"module 'lookahead_sk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
