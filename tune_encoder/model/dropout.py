"""Dropout that is fast on a CPU."""

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """Zeroes values with probability `p` in training, and scales the others to keep the mean.

    On a CPU it uses 16 random bits per value, in a third of torch's time, so `p` is rounded to a
    multiple of 1/65536.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * _LEVELS)
        if not self.training or not dropped or x.device.type != "cpu":
            return super().forward(x)
        kept = _random_int16(x.shape) >= dropped - _LEVELS // 2
        return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def _random_int16(shape: torch.Size) -> Tensor:
    """Uniform 16-bit integers, generated four at a time."""
    count = shape.numel()
    random_bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return random_bits.view(torch.int16)[:count].view(shape)
