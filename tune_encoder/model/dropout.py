"""Dropout that costs little on a CPU."""

import torch
from torch import Tensor, nn

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """Zeroes a share `p` of the values in training, and scales the others to keep the mean.

    On a CPU a value's fate is drawn from 16 bits, in a third of torch's time; so `p` is rounded to
    1/65536.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * _LEVELS)
        if not self.training or not dropped or x.device.type != "cpu":
            return super().forward(x)
        kept = _random_int16(x.shape) >= dropped - _LEVELS // 2
        return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def _random_int16(shape: torch.Size) -> Tensor:
    """Uniform integers of 16 bits, drawn four at a time."""
    count = shape.numel()
    random_bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return random_bits.view(torch.int16)[:count].view(shape)
