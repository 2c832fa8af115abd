"""From ``device="auto"`` and ``dtype="auto"`` to a torch device and a precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lookahead_sk._validation import reject

if TYPE_CHECKING:
    import torch


def resolve_device(device: object = "auto", auto: str | None = None) -> torch.device:
    """Return the torch device that a ``device`` parameter means.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device, default="auto"
        ``"auto"`` is the first CUDA device when there is one, else the CPU.
    auto : str, optional
        What ``"auto"`` is for computations that gain nothing from a GPU.

    Returns
    -------
    torch.device
        A device that exists on this machine.

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine does not have it.
    """
    import torch

    if isinstance(device, str) and device == "auto":
        return torch.device(auto or ("cuda" if torch.cuda.is_available() else "cpu"))
    accepted = "'auto', 'cpu', 'cuda', 'cuda:N', 'mps' or a torch.device"
    if not isinstance(device, str | torch.device):
        reject("device", accepted, device)
    try:
        resolved = torch.device(device)
    except RuntimeError:
        reject("device", accepted, device)
    if resolved.type not in ("cpu", "cuda", "mps"):
        reject("device", accepted, str(device))
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        reject(
            "device",
            "a device of this machine",
            str(device),
            hint=f"torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices.",
        )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        reject("device", "a device of this machine", str(device))
    return resolved


def resolve_precision(dtype: str, device: torch.device) -> str:
    """``"auto"`` is bfloat16 on a CUDA device that has it, else float32."""
    import torch

    if dtype != "auto":
        return dtype
    is_fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if is_fast else "float32"


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Run in bfloat16 where that is asked for.

    On a GPU cuDNN's attention is left out: fine-tuning a causal backbone in bfloat16 on padded
    prompts ended in NaN where torch had chosen it.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with ExitStack() as stack:
        if device.type == "cuda":
            others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
            stack.enter_context(sdpa_kernel(others))
        is_on = precision == "bfloat16"
        stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_on))
        yield


@contextmanager
def gradients() -> Iterator[None]:
    """Compute with gradients, whatever ``no_grad`` or ``inference_mode`` the caller is in."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        yield
