"""A sentence encoder whose network runs in OpenVINO; sentence-transformers does all the rest.

sentence-transformers' own OpenVINO backend needs optimum-intel, which asks for transformers below
5.6; this needs ``pip install openvino`` alone.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class _LastHidden(torch.nn.Module):
    """The network with tensors in and one tensor out, as OpenVINO's converter wants it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> torch.Tensor:
        """Last hidden states (texts, tokens, features)."""
        inputs = dict(zip(_INPUTS, (input_ids, attention_mask, token_type_ids), strict=True))
        hidden: torch.Tensor = self.network(**inputs).last_hidden_state
        return hidden


class _Converted(torch.nn.Module):
    """Takes the place of the network inside a SentenceTransformer; one thread, single precision."""

    def __init__(self, network: torch.nn.Module, example: dict[str, torch.Tensor]) -> None:
        super().__init__()
        import openvino

        self.config = network.config
        converted = openvino.convert_model(_LastHidden(network).eval(), example_input=example)
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self.run = openvino.Core().compile_model(converted, "CPU", settings)

    def forward(self, **inputs: Any) -> BaseModelOutput:
        """Run the converted network."""
        found = self.run({name: inputs[name].numpy() for name in _INPUTS})[0]
        return BaseModelOutput(last_hidden_state=torch.from_numpy(found.copy()))


def to_openvino(model: Any) -> Any:
    """Copy a SentenceTransformer of the BERT kind, with its network converted."""
    converted = copy.deepcopy(model)
    name, network = next(iter(converted[0].named_children()))
    example = dict(model.tokenizer(["one two", "three"], padding=True, return_tensors="pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of what depends on the example's shape
        setattr(converted[0], name, _Converted(network, example))
    return converted
