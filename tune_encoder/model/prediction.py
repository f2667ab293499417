"""Prediction of styles with torch.

Shapes: T audio samples, W windows of a crop's length, M mel bands, F frames.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import covering_windows, evaluation_windows, to_features
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.log_mel import log_mel
from tune_encoder.data.pack import Pack
from tune_encoder.data.scores import Styles
from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE, Array, VoiceStyle
from tune_encoder.model.encoder import Encoder


@torch.no_grad()
def predict_voice(model: Encoder, config: TrainConfig, audio: Array) -> VoiceStyle:
    """Predict a style with rows of norm 1: the mean over windows that cover the recording.

    Args:
        model: An encoder in evaluation mode, on any device.
        config: The settings it was trained with.
        audio: (T,) float32 at `config.sample_rate`, from `data.audio.load_voice`.
    """
    mel = log_mel(torch.from_numpy(audio), config).T.to(torch.float16).numpy()  # as in the pack
    features = to_features(covering_windows(mel, crop_frames(config)))  # (W, M, F)
    ttl, dp = model(features.to(model.mel_mean.device))
    return VoiceStyle(_mean(ttl), _mean(dp)).normalized()


def _mean(styles: torch.Tensor) -> NDArray[np.float32]:
    return styles.mean(dim=0).cpu().numpy()


@torch.no_grad()
def predict_pack(model: Encoder, pack: Pack, n_frames: int, device: torch.device) -> Styles:
    """Predict the style of every clip: the mean over the windows that cover it."""
    model.eval()
    ttl = torch.zeros(len(pack), *TTL_SHAPE, device=device)
    dp = torch.zeros(len(pack), *DP_SHAPE, device=device)
    counts = torch.zeros(len(pack), 1, 1, device=device)
    for features, owners in evaluation_windows(pack, n_frames):
        owner = torch.tensor(owners, device=device)
        window_ttl, window_dp = model(features.to(device))
        ttl.index_add_(0, owner, window_ttl)
        dp.index_add_(0, owner, window_dp)
        counts.index_add_(0, owner, torch.ones(len(owners), 1, 1, device=device))
    return Styles((ttl / counts).cpu().numpy(), (dp / counts).cpu().numpy())
