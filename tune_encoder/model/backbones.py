"""Backbones: from normalised features to frames of channels.

None needs a mask: all crops of a batch have the same length, so there is no padding.

Shapes: B batch, M mel bands, T frames in, S frames out, C channels (`hidden_dim`).
"""

import itertools
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tune_encoder.config import EncoderSettings
from tune_encoder.model.dropout import Dropout

CONVNEXT_STRIDE = 4  # 23 frames a second at the default hop; Supertonic's latents have 14
CONVNEXT_EXPANSION = 4
CNN_KERNEL = 5
TRANSFORMER_EXPANSION = 4
# Backward, oneDNN takes 1.5 times as long as a matrix product of windows with AVX2, and a tenth
# less with AVX-512 (measured on one EPYC each); other CPUs were not measured.
USE_MATMUL_CONV = torch.backends.cpu.get_cpu_capability() != "AVX512"


class Stack(nn.Module):
    """Sequential blocks, with optional gradient checkpointing."""

    def __init__(self, blocks: list[nn.Module], gradient_checkpointing: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.gradient_checkpointing = gradient_checkpointing

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False, context_fn=self._contexts)
            else:
                x = block(x)
        return x

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _frozen_running_stats(self)


@contextmanager
def _frozen_running_stats(blocks: nn.Module) -> Iterator[None]:
    """Keep batch norms from updating their running statistics when a forward pass is recomputed."""
    norms = [module for module in blocks.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class ChannelsLastConv(nn.Conv1d):
    """A convolution over time with channels last: (B, T, M) -> (B, S, C)."""

    def forward(self, x: Tensor) -> Tensor:
        if USE_MATMUL_CONV and self.training and self.groups == 1 and x.device.type == "cpu":
            return self._as_product(x)
        # With channels last oneDNN needs half the time, but only for 2D convolutions.
        image = x.contiguous().transpose(1, 2).unsqueeze(2)
        # A view's gradient has the strides of the weights, as DDP expects; unsqueeze's does not.
        weight = self.weight.view(*self.weight.shape[:2], 1, -1)
        stride, padding = (1, self.stride[0]), (0, self.kernel_size[0] // 2)
        out = F.conv2d(image, weight, self.bias, stride, padding, groups=self.groups)
        return out.squeeze(2).transpose(1, 2)

    def _as_product(self, x: Tensor) -> Tensor:
        """Compute the convolution as a matrix product of windows and weights."""
        (size,), (stride,) = self.kernel_size, self.stride
        padded = F.pad(x, (0, 0, size // 2, size // 2))
        windows = padded.unfold(1, size, stride)  # (B, S, M, kernel)
        return F.linear(windows.flatten(2), self.weight.flatten(1), self.bias)


class ChannelsLastBatchNorm(nn.BatchNorm1d):
    """Batch norm with channels last: (B, T, C) -> (B, T, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).view_as(x)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a channel mixer: (B, T, C) -> (B, T, C).

    Source: Liu et al., A ConvNet for the 2020s, 2022, figure 4, over time instead of an image.
    """

    def __init__(self, channels: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = ChannelsLastConv(channels, channels, kernel_size, groups=channels)
        self.mix = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, CONVNEXT_EXPANSION * channels),
            nn.GELU(),
            nn.Linear(CONVNEXT_EXPANSION * channels, channels),
            Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.depthwise(x))
        return x + mixed


class ConvNeXt(nn.Sequential):
    """A strided stem and a few ConvNeXt blocks: (B, M, T) -> (B, C, S)."""

    def __init__(self, n_mels: int, settings: EncoderSettings) -> None:
        channels = settings.hidden_dim
        blocks: list[nn.Module] = [
            ConvNeXtBlock(channels, settings.kernel_size, settings.dropout)
            for _ in range(settings.num_layers)
        ]
        super().__init__(
            ChannelsLastConv(n_mels, channels, 2 * CONVNEXT_STRIDE - 1, stride=CONVNEXT_STRIDE),
            Stack(blocks, settings.gradient_checkpointing),
        )

    def forward(self, features: Tensor) -> Tensor:
        rows = features.transpose(1, 2)
        for part in self:
            rows = part(rows)
        return rows.transpose(1, 2)


class Cnn(Stack):
    """Strided convolutions, widening up to `hidden_dim`: (B, M, T) -> (B, C, S)."""

    def __init__(self, n_mels: int, settings: EncoderSettings) -> None:
        widths = [n_mels, *_channel_widths(settings.hidden_dim, settings.num_layers)]
        blocks: list[nn.Module] = [
            nn.Sequential(
                ChannelsLastConv(before, after, CNN_KERNEL, stride=2),
                ChannelsLastBatchNorm(after),
                nn.ReLU(),
                Dropout(settings.dropout),
            )
            for before, after in itertools.pairwise(widths)
        ]
        super().__init__(blocks, settings.gradient_checkpointing)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.transpose(1, 2)).transpose(1, 2)


def _channel_widths(channels: int, n_layers: int) -> list[int]:
    """Channels of each layer: the last two full, each layer before them half of the next."""
    return [max(8, channels >> max(0, n_layers - 2 - i)) for i in range(n_layers)]


class Transformer(nn.Module):
    """Convolutional stem, then pre-norm transformer layers: (B, M, T) -> (B, C, S)."""

    def __init__(self, n_mels: int, settings: EncoderSettings) -> None:
        super().__init__()
        channels = settings.hidden_dim
        self.stem = nn.Sequential(
            nn.Conv1d(n_mels, channels, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(channels, channels, 3, stride=2, padding=1),
            nn.GELU(),
        )
        layers: list[nn.Module] = [
            nn.TransformerEncoderLayer(
                channels,
                settings.num_heads,
                TRANSFORMER_EXPANSION * channels,
                settings.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(settings.num_layers)
        ]
        self.layers = Stack(layers, settings.gradient_checkpointing)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        x = self.stem(features).transpose(1, 2)  # (B, S, C)
        x = x + _positional_encoding(x.shape[1], x.shape[2], x)
        out: Tensor = self.norm(self.layers(x))
        return out.transpose(1, 2)


def _positional_encoding(length: int, channels: int, like: Tensor) -> Tensor:
    """Sinusoidal encoding (length, channels). Source: Vaswani et al., 2017, section 3.5."""
    half = channels // 2
    exponent = torch.arange(half, device=like.device, dtype=torch.float32) / max(1, half)
    angles = torch.arange(length, device=like.device)[:, None] * torch.exp(
        -math.log(10_000.0) * exponent
    )
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    return nn.functional.pad(waves, (0, channels - waves.shape[1])).to(like.dtype)
