"""The training loss of the guide, and its scaled form.

Shapes: B batch; styles (B, 50, 256) and (B, 8, 16).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tune_encoder.config import LossSettings
from tune_encoder.statistics import Statistics


class StyleLoss(NamedTuple):
    """The total and its unweighted parts, each a scalar tensor."""

    total: Tensor
    ttl: Tensor
    """MSE of style_ttl; 1.0 is predicting the mean voice under `loss_scale: variance`."""
    dp: Tensor
    cosine: Tensor
    """1 - cosine similarity of the two styles laid end to end, mean over the batch."""


def style_loss(
    predicted: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    settings: LossSettings,
    statistics: Statistics,
) -> StyleLoss:
    """lambda_ttl * MSE(ttl) + lambda_dp * MSE(dp) + lambda_cosine * (1 - cosine)."""
    scaled = settings.loss_scale == "variance"
    ttl = F.mse_loss(predicted[0], target[0]) / (statistics.ttl_variance if scaled else 1.0)
    dp = F.mse_loss(predicted[1], target[1]) / (statistics.dp_variance if scaled else 1.0)
    cosine = 1 - F.cosine_similarity(_joined(predicted), _joined(target), dim=-1).mean()
    total = settings.lambda_ttl * ttl + settings.lambda_dp * dp + settings.lambda_cosine * cosine
    return StyleLoss(total, ttl, dp, cosine)


def _joined(style: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in style], dim=1)
