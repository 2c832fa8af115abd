"""Training that goes on where it was killed: safetensors and JSON, written at once, no pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lookahead_sk._files import write_atomically


def fingerprint(*parts: Any) -> str:
    """A short name for a training: another plan or other data have another name."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else json.dumps(part).encode())
    return digest.hexdigest()[:16]


class Checkpoint:
    """One file of a training in progress.

    Parameters
    ----------
    folder : Path
        Trainings of any number may share it.
    name : str
        The training's `fingerprint`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.path = self.folder / "training.safetensors"

    def save(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Write; what was there stays until all of the new file is on disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        metadata = {"training": json.dumps(progress)}
        try:
            write_atomically(self.path, lambda part: save_file(contiguous, part, metadata=metadata))
        except SafetensorError as error:  # a full disk, say
            raise OSError(f"{self.path} could not be written. ({error})") from error

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was written last, or None."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return tensors, json.loads(file.metadata()["training"])
        except Exception as error:
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> ValueError:
        """What is said of a file that cannot be read, or does not fit the training."""
        return ValueError(
            f"checkpoint_folder holds a damaged file, {self.path}; delete it to train anew. "
            f"({type(error).__name__}: {error})"
        )

    def remove(self) -> None:
        """Forget a training that has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser the state that `optimizer_tensors` wrote."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
