"""The training loss, plain or scaled by the variance of the styles.

Shapes: B batch; styles (B, 50, 256), or (B, K + 2) as in `reduced_styles`, and (B, 8, 16).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tune_encoder.config import LossSettings
from tune_encoder.data.style_statistics import Statistics
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE

_SIZES = (math.prod(TTL_SHAPE), math.prod(DP_SHAPE))
_TINY = 1e-16  # of the product of two squared lengths; keeps the gradient at zero finite


class StyleLoss(NamedTuple):
    """The total and its unweighted parts, each a scalar tensor."""

    total: Tensor
    ttl: Tensor
    """MSE of style_ttl; with `loss_scale: variance`, 1.0 is the mean voice."""
    dp: Tensor
    cosine: Tensor
    """1 - cosine similarity of the concatenated styles, mean over the batch."""


def style_loss(
    predicted: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    settings: LossSettings,
    statistics: Statistics,
) -> StyleLoss:
    """lambda_ttl * MSE(ttl) + lambda_dp * MSE(dp) + lambda_cosine * (1 - cosine)."""
    errors = [_squared_lengths(a - b) for a, b in zip(predicted, target, strict=True)]
    ttl, dp = (error.mean() / size for error, size in zip(errors, _SIZES, strict=True))
    if settings.loss_scale == "variance":
        ttl, dp = ttl / statistics.ttl_variance, dp / statistics.dp_variance
    cosine = 1 - _cosine(predicted, target, errors[0] + errors[1]).mean()
    total = settings.lambda_ttl * ttl + settings.lambda_dp * dp + settings.lambda_cosine * cosine
    return StyleLoss(total, ttl, dp, cosine)


def _cosine(
    predicted: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], error: Tensor
) -> Tensor:
    """Cosine similarity of the concatenated styles of each clip, (B,).

    By the law of cosines it is computed from `error` (B,), the squared distance of the two.
    """
    a, b = (_squared_lengths(ttl) + _squared_lengths(dp) for ttl, dp in (predicted, target))
    return (a + b - error) / 2 / (a * b).clamp(min=_TINY).sqrt()


def _squared_lengths(style: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(style.flatten(1), dim=1)
    return lengths.square()
