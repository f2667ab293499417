"""Heads: from the frames of a backbone to a style.

Every head starts at the mean voice: its last layer is initialised with zeros, so an untrained
encoder predicts the mean, and training only has to learn how voices differ.

Shapes: B batch, C channels, T frames, K components or rank.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_encoder.config import EncoderSettings
from tune_encoder.data.style_statistics import Array, Statistics
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE
from tune_encoder.model.dropout import Dropout

DP_COMPONENTS = 16  # style_dp is nearly one 16-vector repeated; five components explain 97 %
STD_FLOOR = 1e-5  # keeps the gradient of a square root finite on one frame or on silence


class FrameLinear(nn.Conv1d):
    """A 1x1 convolution computed as a matrix product: (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.squeeze(2), self.bias)


class AttentivePooling(nn.Module):
    """Attention-weighted mean over time, optionally with std: (B, C, T) -> (B, width).

    Source: Okabe, Koshinaka, Shinoda: Attentive Statistics Pooling, Interspeech 2018, eq. 3-6.
    """

    def __init__(self, channels: int, with_std: bool) -> None:
        super().__init__()
        self.with_std = with_std
        self.width = 2 * channels if with_std else channels
        self.score = nn.Sequential(FrameLinear(channels), nn.Tanh(), FrameLinear(channels))

    def forward(self, frames: Tensor) -> Tensor:
        rows = frames.transpose(1, 2)
        weights = self.score(rows).softmax(dim=1)
        mean: Tensor = (weights * rows).sum(dim=1)
        if not self.with_std:
            return mean
        variance = (weights * rows.square()).sum(dim=1) - mean.square()
        return torch.cat([mean, variance.clamp(min=STD_FLOOR).sqrt()], dim=-1)


class PooledHead(nn.Module):
    """Pool over time, then map to each style with a small network of its own."""

    def __init__(self, channels: int, settings: EncoderSettings, statistics: Statistics) -> None:
        super().__init__()
        self.pool = AttentivePooling(channels, settings.pooling == "statistics")
        self.norm = nn.LayerNorm(self.pool.width)
        self.dropout = Dropout(settings.dropout)
        self.ttl = _ttl_layer(self.pool.width, settings, statistics.ttl_mean, statistics.ttl_basis)
        dp_components = min(DP_COMPONENTS, len(statistics.dp_basis))
        self.dp = PcaMap(self.pool.width, statistics.dp_mean, statistics.dp_basis[:dp_components])

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.dropout(self.norm(self.pool(frames)))
        return self.ttl(pooled), self.dp(pooled)


class JointHead(nn.Module):
    """Pool over time, then one linear map to coefficients of both styles' principal components.

    There is no dropout before the map: it shrinks the coefficients of a regression.
    """

    ttl_mean: Tensor
    dp_mean: Tensor
    basis: Tensor

    def __init__(self, channels: int, settings: EncoderSettings, statistics: Statistics) -> None:
        super().__init__()
        self.pool = AttentivePooling(channels, settings.pooling == "statistics")
        self.norm = nn.LayerNorm(self.pool.width)
        basis = statistics.joint_basis[: settings.pca_components]
        self.register_buffer("ttl_mean", torch.tensor(statistics.ttl_mean))
        self.register_buffer("dp_mean", torch.tensor(statistics.dp_mean))
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32))
        self.coefficients = _zero_init(nn.Linear(self.pool.width, len(basis)))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        deviation = self.coefficients(self.norm(self.pool(frames))) @ self.basis
        ttl, dp = deviation.split([self.ttl_mean.numel(), self.dp_mean.numel()], dim=-1)
        return (
            self.ttl_mean + ttl.unflatten(-1, self.ttl_mean.shape),
            self.dp_mean + dp.unflatten(-1, self.dp_mean.shape),
        )


def _ttl_layer(width: int, settings: EncoderSettings, mean: Array, basis: Array) -> nn.Module:
    if settings.head == "pca":
        return PcaMap(width, mean, basis[: settings.pca_components])
    rank = settings.head_rank if settings.head == "lowrank" else None
    return LinearMap(width, mean, rank)


class PcaMap(nn.Module):
    """Coefficients of the training styles' principal components: (B, W) -> (B, *style)."""

    mean: Tensor
    basis: Tensor

    def __init__(self, width: int, mean: Array, basis: Array) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32))
        self.coefficients = _zero_init(nn.Linear(width, len(basis)))

    def forward(self, pooled: Tensor) -> Tensor:
        deviation: Tensor = self.coefficients(pooled) @ self.basis
        style: Tensor = self.mean + deviation.unflatten(-1, self.mean.shape)
        return style


class LinearMap(nn.Module):
    """A linear map to the style, optionally of low rank: (B, W) -> (B, *style)."""

    mean: Tensor

    def __init__(self, width: int, mean: Array, rank: int | None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.down = nn.Identity() if rank is None else nn.Linear(width, rank)
        self.out = _zero_init(nn.Linear(width if rank is None else rank, mean.size))

    def forward(self, pooled: Tensor) -> Tensor:
        deviation: Tensor = self.out(self.down(pooled))
        style: Tensor = self.mean + deviation.unflatten(-1, self.mean.shape)
        return style


class QueryHead(nn.Module):
    """One learnable query per style row attends to the frames, as in Supertonic's own encoder."""

    ttl_mean: Tensor
    dp_mean: Tensor

    def __init__(self, channels: int, settings: EncoderSettings, statistics: Statistics) -> None:
        super().__init__()
        (ttl_rows, ttl_width), (dp_rows, dp_width) = TTL_SHAPE, DP_SHAPE
        self.register_buffer("ttl_mean", torch.tensor(statistics.ttl_mean))
        self.register_buffer("dp_mean", torch.tensor(statistics.dp_mean))
        self.queries = nn.Parameter(torch.randn(ttl_rows + dp_rows, channels) * channels**-0.5)
        self.attention = nn.MultiheadAttention(
            channels, settings.num_heads, settings.dropout, batch_first=True
        )
        self.norm = nn.LayerNorm(channels)
        self.ttl = _zero_init(nn.Linear(channels, ttl_width))
        self.dp = _zero_init(nn.Linear(channels, dp_width))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        keys = frames.transpose(1, 2)  # (B, T, C)
        queries = self.queries.expand(keys.shape[0], -1, -1)
        rows, _ = self.attention(queries, keys, keys, need_weights=False)
        rows = self.norm(rows + queries)
        split = len(self.ttl_mean)
        ttl, dp = self.ttl(rows[:, :split]), self.dp(rows[:, split:])
        return self.ttl_mean + ttl, self.dp_mean + dp


def _zero_init(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
