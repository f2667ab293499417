"""The choice of torch's device."""

import torch

from tune_encoder.errors import ConfigError


def pick_device(name: str, rank: int = 0) -> torch.device:
    """Return the named device; `auto` takes CUDA, then MPS, then the CPU.

    Args:
        name: The setting `device`.
        rank: Index of the CUDA device.

    Raises:
        ConfigError: if the machine has no such device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, is_there in present.items() if is_there), "cpu")
    elif not present.get(name, True):
        raise ConfigError(f"device is {name}, which torch does not find here; use auto or cpu")
    return torch.device(name, rank) if name == "cuda" else torch.device(name)
