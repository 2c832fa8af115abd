"""A network as plain data (configuration, vocabulary, arrays), and back.

The state holds no torch object: it can be pickled on a GPU machine and used on another, and written
as safetensors and JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lookahead_sk._threads import fork_safe_lock
from lookahead_sk._typing import Float32Array
from lookahead_sk._validation import reject
from lookahead_sk.routing._language_model._backbone import LanguageModel, build_language_model
from lookahead_sk.routing._language_model._causal import CausalLookahead
from lookahead_sk.routing._language_model._masked import MaskedLookahead
from lookahead_sk.routing._language_model._tokenizer import Vocabulary

# Building turns off all initialisation of weights for a moment, in every thread.
_building = fork_safe_lock()
NETWORKS: dict[str, Any] = {"masked": MaskedLookahead, "causal": CausalLookahead}


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
        ``n_models``, ``n_tokens``, ``n_descriptors`` and ``head`` of the network.
    weights : dict of ndarray
        Every parameter once, tied ones under one name.
    """

    approach: str
    config: dict[str, Any]
    has_own_head: bool
    vocabulary: Vocabulary
    shape: dict[str, Any]
    weights: dict[str, Float32Array]
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
    mapping = network.heads.descriptor_map
    shape = {
        "n_models": network.n_models,
        "n_tokens": network.n_tokens,
        "n_descriptors": 0 if mapping is None else mapping.out_features,
        "head": network.heads.kind,
    }
    weights = {
        name: np.asarray(p.detach().float().cpu().numpy()) for name, p in network.named_parameters()
    }
    config = model.config.to_dict()
    return NetworkState(approach, config, model.has_own_head, network.vocabulary, shape, weights)
