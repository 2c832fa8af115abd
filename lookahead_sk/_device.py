"""From ``device="auto"`` and ``dtype="auto"`` to a torch device and dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookahead_sk._validation import reject

if TYPE_CHECKING:
    import torch


def resolve_device(device: object = "auto") -> torch.device:
    """Return the torch device that a ``device`` parameter means.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"} or torch.device, default="auto"
        ``"auto"`` is the first CUDA device when there is one, else the CPU.

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
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    accepted = "'auto', 'cpu', 'cuda', 'cuda:N', 'mps' or a torch.device"
    if not isinstance(device, str | torch.device):
        reject("device", accepted, device)
    try:
        resolved = torch.device(device)
    except RuntimeError:
        reject("device", accepted, device)
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
