"""Several encoders as one: the mean of what they predict."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of the styles its members predict from the same features."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict styles, as one `Encoder` does."""
        ttl, dp = zip(*(member(features) for member in self.members), strict=True)
        return torch.stack(ttl).mean(dim=0), torch.stack(dp).mean(dim=0)
