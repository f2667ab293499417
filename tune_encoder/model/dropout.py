"""Dropout that costs little on a CPU."""

import torch
from torch import Tensor, nn

_WORD = 2**16


class Dropout(nn.Dropout):
    """Zeroes a share `p` of the values in training, and scales the others to keep the mean.

    On a CPU a value's fate is drawn from 16 bits, in a third of torch's time; so `p` is rounded to
    1/65536.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * _WORD)
        if not self.training or not dropped or x.device.type != "cpu":
            return super().forward(x)
        kept = _words(x.shape) >= dropped - _WORD // 2
        return x * kept.to(x.dtype).mul_(_WORD / (_WORD - dropped))


def _words(shape: torch.Size) -> Tensor:
    """Uniform integers of 16 bits, drawn four at a time."""
    count = shape.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return drawn.view(torch.int16)[:count].view(shape)
