"""Clone: a recording in, a Supertonic voice style out."""

from datetime import datetime, timezone
from pathlib import Path

import torch

from tune_encoder.audio import load_voice
from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import crop_frames, to_features, windows
from tune_encoder.frontend import log_mel
from tune_encoder.model_folder import load_model
from tune_encoder.models import Encoder
from tune_encoder.voice_style import VoiceStyle, write_voice_style


def clone(model_dir: Path, recording: Path, out: Path) -> VoiceStyle:
    """Write the voice style of a recording as JSON.

    Args:
        model_dir: An exported model.
        recording: A file soundfile reads, at least a second long.
        out: The JSON to write.

    Raises:
        StorageError: if the model cannot be used.
        DataError: if the recording cannot be used.
    """
    model, config = load_model(model_dir)
    style = predict_style(model, config, recording)
    metadata = {
        "source_file": recording.name,
        "target_sample_rate": config.sample_rate,
        "extracted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_voice_style(out, style, metadata)
    return style


@torch.no_grad()
def predict_style(model: Encoder, config: TrainConfig, recording: Path) -> VoiceStyle:
    """Predict a style, rows at norm 1: the mean over windows that cover the recording."""
    audio = torch.from_numpy(load_voice(recording, config.sample_rate))
    mel = log_mel(audio, config).T.to(torch.float16).numpy()  # as the pack rounds it
    ttl, dp = model(to_features(windows(mel, crop_frames(config))))
    return VoiceStyle(ttl.mean(dim=0).numpy(), dp.mean(dim=0).numpy()).normalized()
