"""A network as plain data (configuration, vocabulary, arrays), and back.

The state holds no torch object: it can be pickled on a GPU machine and used on another, and written
as safetensors and JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lookahead_sk._threads import ThreadLock
from lookahead_sk._validation import reject
from lookahead_sk.routing._lm._backbone import LanguageModel, build_language_model
from lookahead_sk.routing._lm._causal import CausalLookahead
from lookahead_sk.routing._lm._masked import MaskedLookahead
from lookahead_sk.routing._lm._vocabulary import Vocabulary

# Building turns off all initialisation of weights for a moment, in every thread.
_building = ThreadLock()
NETWORKS = {"masked": MaskedLookahead, "causal": CausalLookahead}


@dataclass
class NetworkState:
    """All that is needed to build a trained network again.

    Attributes
    ----------
    approach : {"masked", "causal"}
        Which network.
    config : dict
        Configuration of the backbone.
    has_own_head : bool
        Whether the backbone came with a vocabulary head.
    vocabulary : Vocabulary
        Its tokenizer.
    shape : dict
        ``n_models``, ``n_tokens``, ``n_facts`` and ``head`` of the network.
    weights : dict of ndarray
        Every parameter once, tied ones under one name.
    """

    approach: str
    config: dict[str, Any]
    has_own_head: bool
    vocabulary: Vocabulary
    shape: dict[str, Any]
    weights: dict[str, npt.NDArray[np.float32]]
    _built: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_built": None}

    def network(self, device: torch.device) -> Any:
        """The network on a device; built once, it shares the memory of the arrays on a CPU."""
        with _building:
            if self._built is None:
                self._built = self._build().eval()
            self._built = self._built.to(device)
            return self._built

    def _build(self) -> Any:
        self._check_sizes()
        network = self._unset()
        for name, parameter in network.named_parameters():
            parameter.data = torch.from_numpy(self.weights[name]).float()
            parameter.requires_grad_(False)
        return network

    def _unset(self) -> Any:
        model = build_language_model(self.config, self.approach, self.has_own_head)
        return NETWORKS[self.approach](LanguageModel(model), self.vocabulary, **self.shape)

    def _check_sizes(self) -> None:
        """Raise where the configuration does not describe the weights, before memory is taken."""
        for name in ("num_hidden_layers", "n_layers", "n_layer"):
            n_layers = self.config.get(name, 0)
            if not isinstance(n_layers, int) or n_layers > len(self.weights):
                reject("weights", f"those of {n_layers} layers, as {name} says", len(self.weights))
        with torch.device("meta"):
            shapes = {name: p.shape for name, p in self._unset().named_parameters()}
        if shapes.keys() != self.weights.keys():
            odd = sorted(shapes.keys() ^ self.weights.keys())
            reject("weights", "the parameters of the backbone's architecture", odd)
        for name, shape in shapes.items():
            if shape != self.weights[name].shape:
                reject("weights", f"of shape {tuple(shape)} for {name}", self.weights[name].shape)


def state_of(network: Any, approach: str) -> NetworkState:
    """Take the state of a trained network; its memory is not copied where it is on a CPU."""
    model: LanguageModel = network.language_model
    shape = {
        "n_models": network.n_models,
        "n_tokens": network.n_tokens,
        "n_facts": 0 if network.heads.fact_map is None else network.heads.fact_map.out_features,
        "head": network.heads.kind,
    }
    weights = {
        name: np.asarray(p.detach().float().cpu().numpy()) for name, p in network.named_parameters()
    }
    config = model.config.to_dict()
    return NetworkState(approach, config, model.has_own_head, network.vocabulary, shape, weights)


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
