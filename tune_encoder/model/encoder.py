"""Encoders: log-mel features in, `style_ttl` and `style_dp` out.

Shapes: B batch, M mel bands, T frames.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from tune_encoder.config import CLOSED_FORM, TrainConfig
from tune_encoder.data.style_statistics import Array, Statistics
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE
from tune_encoder.model.backbones import Cnn, ConvNeXt, Transformer
from tune_encoder.model.closed_form import ClosedFormRegression, empty_regression
from tune_encoder.model.heads import JointHead, PooledHead, QueryHead

__all__ = [
    "ClosedFormEncoder",
    "Encoder",
    "Ensemble",
    "build_encoder",
    "count_parameters",
    "rebuild_encoder",
    "with_windows",
]

# The values of `encoder_type`; `config.training` lists them too, where the command line reads them.
# One with attention heads is named in its `_uses_attention_heads` too, or hidden_dim would not be
# checked to be a multiple of num_heads.
_BACKBONES = {"convnext": ConvNeXt, "cnn": Cnn, "transformer": Transformer}
_HEADS = {"joint": JointHead, "query": QueryHead}  # the others are kinds of `PooledHead`
SHARES, WINDOW = "shares", "window_seconds"  # of an ensemble, beside the weights of its members
WINDOW_DIGITS = 5  # after the point, that are exact in float32, which every device has
STD_FLOOR = 1e-3  # of a constant band


class Encoder(nn.Module):
    """Normalise features with the training set's statistics, then backbone, then head."""

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, backbone: nn.Module, head: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_statistics(statistics)

    def register_statistics(self, statistics: Statistics) -> None:
        """Store the mean and deviation of each band as buffers (M, 1)."""
        mel_std = torch.tensor(statistics.mel_std).clamp(min=STD_FLOOR)
        self.register_buffer("mel_mean", torch.tensor(statistics.mel_mean)[:, None])
        self.register_buffer("mel_std", mel_std[:, None])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict styles from log-mel features.

        Args:
            features: (B, M, T) from `data.log_mel.log_mel`, T at least 1.

        Returns:
            `style_ttl` (B, 50, 256) and `style_dp` (B, 8, 16), rows not yet of norm 1.
        """
        normal = (features - self.mel_mean) / self.mel_std
        ttl, dp = self.head(self.backbone(normal))
        return ttl, dp


class Ensemble(Encoder):
    """An ensemble: the weighted mean of what several encoders predict from the same features."""

    shares: Tensor
    window_seconds: Tensor | None

    def __init__(
        self,
        members: Sequence[Encoder],
        shares: Sequence[float] | None = None,
        window_seconds: float | None = None,
    ) -> None:
        """Combine encoders.

        Args:
            members: The encoders.
            shares: Of each in the mean; they sum to 1, and are equal by default.
            window_seconds: Of the features that it is given: the longest crop of a member, as a
                network loses with shorter windows than those of its training, and hardly with
                longer ones. None: the crop of the first, as in the ensembles of before.
        """
        nn.Module.__init__(self)  # it has members in place of a backbone and a head
        equal = [1 / len(members)] * len(members)
        self.register_buffer(SHARES, torch.tensor(equal if shares is None else [*shares]))
        window = None if window_seconds is None else torch.tensor(float(window_seconds))
        self.register_buffer(WINDOW, window)
        self.members = nn.ModuleList(members)
        self.register_buffer("mel_mean", members[0].mel_mean, persistent=False)
        self.register_buffer("mel_std", members[0].mel_std, persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        ttl, dp = zip(*(member(features) for member in self.members), strict=True)
        shares = self.shares[:, None, None, None]
        return (shares * torch.stack(ttl)).sum(dim=0), (shares * torch.stack(dp)).sum(dim=0)


class ClosedFormEncoder(Encoder):
    """A regression that was fitted by solving, on features as they are."""

    def __init__(self, regression: ClosedFormRegression, statistics: Statistics) -> None:
        nn.Module.__init__(self)  # it has neither a backbone nor a head
        self.regression = regression
        self.register_statistics(statistics)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        ttl, dp = self.regression(features)
        return ttl, dp


def build_encoder(config: TrainConfig, statistics: Statistics) -> Encoder:
    """Build the encoder of a config; its weights are initialised by torch's global generator."""
    backbone = _BACKBONES[config.encoder_type](config.n_mels, config)
    head = _HEADS.get(config.head, PooledHead)
    return Encoder(backbone, head(config.hidden_dim, config, statistics), statistics)


def with_windows(config: TrainConfig, encoder: Encoder) -> TrainConfig:
    """Return the config of an encoder or its first member, with the windows that it is given."""
    if not isinstance(encoder, Ensemble) or encoder.window_seconds is None:
        return config
    return replace(config, crop_seconds=round(encoder.window_seconds.item(), WINDOW_DIGITS))


def count_parameters(encoder: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in encoder.parameters())


def rebuild_encoder(config: TrainConfig, weights: Mapping[str, Tensor]) -> Encoder:
    """Rebuild the encoder of saved `weights`, which include the statistics.

    Raises:
        RuntimeError: if the weights are of another architecture.
    """

    def basis(name: str, width: int) -> Array:
        rows = len(weights.get(name, torch.zeros(1)))
        return np.zeros((rows, width), dtype=np.float32)

    n_mels = len(weights["mel_mean"])
    empty = Statistics(
        mel_mean=np.zeros(n_mels, dtype=np.float32),
        mel_std=np.ones(n_mels, dtype=np.float32),
        ttl_mean=np.zeros(TTL_SHAPE, dtype=np.float32),
        dp_mean=np.zeros(DP_SHAPE, dtype=np.float32),
        ttl_variance=1.0,
        dp_variance=1.0,
        ttl_basis=basis("head.ttl.basis", math.prod(TTL_SHAPE)),
        dp_basis=basis("head.dp.basis", math.prod(DP_SHAPE)),
        joint_basis=basis("head.basis", math.prod(TTL_SHAPE) + math.prod(DP_SHAPE)),
    )
    encoder = _empty_encoder(config, empty, weights)
    encoder.load_state_dict(dict(weights))
    return encoder.eval()


def _empty_encoder(
    config: TrainConfig, statistics: Statistics, weights: Mapping[str, Tensor]
) -> Encoder:
    if config.encoder_type != CLOSED_FORM:
        return build_encoder(config, statistics)
    prefix = "regression."
    own = {name.removeprefix(prefix): each for name, each in weights.items() if prefix in name}
    return ClosedFormEncoder(empty_regression(own), statistics)
