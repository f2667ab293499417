"""The style of one recording, as torch computes it.

Shapes: T audio samples, W windows of a crop's length, M mel bands, F frames.
"""

from typing import Any

import torch
from numpy.typing import NDArray

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import crop_frames, to_features, windows
from tune_encoder.frontend import log_mel
from tune_encoder.models import Encoder
from tune_encoder.voice_style import Array, VoiceStyle


@torch.no_grad()
def predict_voice(model: Encoder, config: TrainConfig, audio: Array) -> VoiceStyle:
    """Predict a style, rows at norm 1: the mean over windows that cover the recording.

    Args:
        model: An encoder in evaluation mode, on any device.
        config: The settings it was trained with.
        audio: (T,) float32 at `config.sample_rate`, as `audio.load_voice` makes it.
    """
    mel = log_mel(torch.from_numpy(audio), config).T.to(torch.float16).numpy()  # as in the pack
    features = to_features(windows(mel, crop_frames(config)))  # (W, M, F)
    ttl, dp = model(features.to(model.mel_mean.device))
    return VoiceStyle(_mean(ttl), _mean(dp)).normalized()


def _mean(styles: torch.Tensor) -> NDArray[Any]:
    return styles.mean(dim=0).cpu().numpy()
