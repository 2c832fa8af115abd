"""The parameters of `LookaheadRouter`: checked, and "auto" turned into numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from lookahead_sk._device import resolve_device
from lookahead_sk._validation import check_choice, check_float, check_int, reject
from lookahead_sk.routing._encoders import PASSTHROUGH

APPROACHES = ("embedding", "masked", "causal")
DEFAULT_BACKBONES = {
    "masked": "answerdotai/ModernBERT-base",
    "causal": "HuggingFaceTB/SmolLM2-135M",
}
AUTO: dict[str, dict[str, float]] = {
    "response_weight": {"embedding": 1.0, "masked": 0.2, "causal": 0.5},
    "response_tokens": {"embedding": 96, "masked": 16, "causal": 64},
    "max_epochs": {"embedding": 12, "masked": 4, "causal": 2},
    "learning_rate": {"embedding": 2e-3, "masked": 5e-5, "causal": 5e-5},
}


@dataclass(frozen=True)
class Settings:
    """Those parameters that depend on the approach."""

    response_weight: float
    response_tokens: int
    max_epochs: int
    learning_rate: float
    batch_size: int


def resolve_settings(router: Any, n: int) -> Settings:
    """Turn "auto" into what suits the approach and n training prompts."""

    def value(name: str) -> Any:
        given = getattr(router, name)
        return AUTO[name][router.approach] if _is_auto(given) else given

    batch_size = router.batch_size
    if _is_auto(batch_size):
        batch_size = min(256, max(16, n // 20)) if router.approach == "embedding" else 32
    return Settings(
        response_weight=float(value("response_weight")),
        response_tokens=int(value("response_tokens")),
        max_epochs=int(value("max_epochs")),
        learning_rate=float(value("learning_rate")),
        batch_size=int(batch_size),
    )


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def check_parameters(router: Any) -> None:
    """Raise for a parameter of a router that is wrong, whatever it will be fitted on."""
    check_choice(router.approach, "approach", APPROACHES)
    check_int(router.lexical_features, "lexical_features", low=0)
    if not _is_auto(router.response_weight):
        check_float(router.response_weight, "response_weight", low=0, closed="left")
    if not _is_auto(router.learning_rate):
        check_float(router.learning_rate, "learning_rate", low=0, closed="neither")
    for name in ("response_tokens", "max_epochs", "batch_size"):
        if not _is_auto(getattr(router, name)):
            check_int(getattr(router, name), name, low=1)
    if router.max_length is not None:
        check_int(router.max_length, "max_length", low=1)
    check_float(router.validation_fraction, "validation_fraction", 0, 0.5, closed="right")
    check_float(router.cost_weight, "cost_weight", low=0, closed="left")
    check_choice(router.cost_unit, "cost_unit", ["call", "length"])
    check_float(router.novelty_level, "novelty_level", 0, 1)
    check_int(router.verbose, "verbose", low=0)
    device = resolve_device(router.device)
    if router.approach == "embedding":
        check_choice(router.dtype, "dtype", ["auto", "float32"])
    else:
        _check_language_parameters(router)
        if router.dtype == "bfloat16" and device.type == "mps":
            reject("dtype", "'auto' or 'float32' on an MPS device", router.dtype)


def _check_language_parameters(router: Any) -> None:
    check_choice(router.dtype, "dtype", ["auto", "float32", "bfloat16"])
    heads = ["pooled", "cls"] if router.approach == "masked" else ["pooled"]
    check_choice(router.head, "head", heads)
    check_float(router.fact_weight, "fact_weight", low=0, closed="left")
    check_int(router.n_frozen_layers, "n_frozen_layers", low=0)
    check_choice(router.compile, "compile", [True, False])
    if router.lora_rank is not None:
        check_int(router.lora_rank, "lora_rank", low=1)
    folder = router.checkpoint_folder
    if folder is not None and not isinstance(folder, str | os.PathLike):
        reject("checkpoint_folder", "None or a path", folder, kind=TypeError)
    if isinstance(router.encoder, str) and router.encoder == PASSTHROUGH:
        accepted = f"None with approach={router.approach!r}, which reads text by its backbone"
        reject("encoder", accepted, router.encoder)
