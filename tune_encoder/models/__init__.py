"""Encoders: log-mel features in, `style_ttl` and `style_dp` out.

Shapes: B batch, M mel bands, T frames.
"""

import torch
from torch import Tensor, nn

from tune_encoder.config import TrainConfig
from tune_encoder.models.backbones import Cnn, ConvNeXt, Transformer
from tune_encoder.models.heads import PooledHead, QueryHead
from tune_encoder.statistics import Statistics

__all__ = ["Encoder", "build_encoder"]

_BACKBONES = {"convnext": ConvNeXt, "cnn": Cnn, "transformer": Transformer}
STD_FLOOR = 1e-3  # of a band that never changes


class Encoder(nn.Module):
    """Normalise features with the training set's statistics, then backbone, then head."""

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        mel_std = torch.tensor(statistics.mel_std).clamp(min=STD_FLOOR)
        self.register_buffer("mel_mean", torch.tensor(statistics.mel_mean)[:, None])
        self.register_buffer("mel_std", mel_std[:, None])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict styles from log-mel features.

        Args:
            features: (B, M, T) as `frontend.log_mel` makes them, T at least 1.

        Returns:
            `style_ttl` (B, 50, 256) and `style_dp` (B, 8, 16), rows not yet of norm 1.
        """
        normal = (features - self.mel_mean) / self.mel_std
        ttl, dp = self.head(self.backbone(normal))
        return ttl, dp


def build_encoder(config: TrainConfig, statistics: Statistics) -> Encoder:
    """Build the encoder the config describes; its weights come from torch's global generator."""
    backbone = _BACKBONES[config.encoder_type](config.n_mels, config)
    head = QueryHead if config.head == "query" else PooledHead
    return Encoder(backbone, head(config.hidden_dim, config, statistics), statistics)
