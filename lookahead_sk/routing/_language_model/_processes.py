"""Several processes that train one network, as ``accelerate launch`` and ``torchrun`` start them.

Every process has all of the network and a share of each step's prompts. The gradients are summed
here, not by DistributedDataParallel: that would wait for weights which a step does not use, and
for a process that has no prompt of a short step or that repeats a step in smaller passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, gather_object
from torch import Tensor

Value = TypeVar("Value")


class Processes:
    """The processes of one training; a process that is alone has rank 0 of 1."""

    def __init__(self) -> None:
        self.accelerator = Accelerator(device_placement=False)
        self.n: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def device(self, wanted: torch.device) -> torch.device:
        """Where this process computes: each of several has a device of its own."""
        return wanted if self.n == 1 else self.accelerator.device

    def agreed(self, value: Value) -> Value:
        """The value that the first process has."""
        if self.n == 1:
            return value
        values: list[Any] = [value]
        return broadcast_object_list(values)[0]

    def all_of(self, value: Value) -> list[Value]:
        """The values of all processes."""
        return [value] if self.n == 1 else gather_object([value])

    def start_alike(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process."""
        if self.n > 1:
            for tensor in tensors:
                broadcast(tensor.detach())

    def share(self, rows: Sequence[int]) -> list[int]:
        """The rows of a step that this process takes, which may be none."""
        return list(rows[self.rank :: self.n])

    def total(self, value: float, device: torch.device) -> float:
        """Sum over all processes."""
        if self.n == 1:
            return value
        return float(self._sum(torch.tensor(value, dtype=torch.float32, device=device)))

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum over all processes; a parameter without a gradient in any of them stays without."""
        if self.n == 1:
            return
        has = [float(p.grad is not None) for p in parameters]
        n_with = self._sum(torch.tensor(has, device=parameters[0].device)).tolist()
        for parameter, n in zip(parameters, n_with, strict=True):
            if n:
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self._sum(own)

    def _sum(self, tensor: Tensor) -> Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")

    def wait(self) -> None:
        """Until all processes have come here."""
        self.accelerator.wait_for_everyone()
