"""Where torch computes: this machine's processor, or its GPU."""

from __future__ import annotations

import torch

from crowdlearn.errors import SettingsError


def torch_device(device: str) -> torch.device:
    """The torch device for "auto", "cpu" or "gpu". Raises SettingsError where there is none."""
    if device not in ("auto", "cpu", "gpu"):
        raise SettingsError(f"device must be auto, cpu or gpu, not {device!r}")
    seen = torch.cuda.is_available()
    if device == "gpu" and not seen:
        raise SettingsError("device is 'gpu', but torch sees no GPU: take device='cpu'")
    return torch.device("cuda" if seen and device != "cpu" else "cpu")
