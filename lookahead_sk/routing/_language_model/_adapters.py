"""Which weights of a backbone are trained: its upper layers, or low-rank corrections."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lookahead_sk._validation import reject
from lookahead_sk.routing._language_model._backbone import LanguageModel


def layers_of(trunk: Any) -> nn.ModuleList:
    """The stack of layers of a trunk."""
    n = trunk.config.num_hidden_layers
    for module in trunk.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n:
            return module
    return reject("n_frozen_layers", "0 for an architecture without a stack of layers", n)


def freeze(network: Any, n_frozen_layers: int, has_response_loss: bool) -> None:
    """Fix the embeddings and the first layers, and a vocabulary head that nothing trains."""
    model: LanguageModel = network.language_model
    layers: list[nn.Module] = list(layers_of(model.trunk)) if n_frozen_layers else []
    if n_frozen_layers > len(layers):
        reject("n_frozen_layers", f"at most {len(layers)}, the layers of backbone", n_frozen_layers)
    for layer in layers[:n_frozen_layers]:
        layer.requires_grad_(False)
    if n_frozen_layers:
        for module in model.trunk.modules():
            if isinstance(module, nn.Embedding):
                module.requires_grad_(False)
    if not has_response_loss:
        in_trunk = {id(parameter) for parameter in model.trunk.parameters()}
        for parameter in model.parameters():
            if id(parameter) not in in_trunk:
                parameter.requires_grad_(False)


def add_lora(network: Any, rank: int, seed: int) -> None:
    """Train low-rank corrections of the trunk's linear maps instead of the trunk itself.

    Raises
    ------
    ImportError
        If peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            "lora_rank needs peft; install it with: pip install 'lookahead-sk[lora]'"
        ) from error
    from transformers.pytorch_utils import Conv1D

    trunk = network.language_model.trunk
    for parameter in network.language_model.model.parameters():
        parameter.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules="all-linear",
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in trunk.modules()),  # GPT-2
        )
        inject_adapter_in_model(config, trunk)


def merge_lora(network: Any) -> None:
    """Add the corrections to the linear maps, which become plain again."""
    from peft.tuners.lora import LoraLayer

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())
