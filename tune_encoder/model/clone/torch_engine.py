"""The engine that uses torch."""

from dataclasses import dataclass
from pathlib import Path

from tune_encoder.config import TrainConfig
from tune_encoder.data.voice_style import Array, VoiceStyle
from tune_encoder.model.device import pick_device
from tune_encoder.model.encoder import Encoder
from tune_encoder.model.folder import load_model
from tune_encoder.model.prediction import predict_voice


@dataclass(frozen=True)
class TorchEngine:
    """A torch model on a device."""

    model: Encoder
    config: TrainConfig

    @property
    def name(self) -> str:
        """The runtime and device."""
        return f"torch on {self.model.mel_mean.device.type}"

    @property
    def sample_rate(self) -> int:
        """Sample rate of the input audio, in Hz."""
        return self.config.sample_rate

    def style(self, audio: Array) -> VoiceStyle:
        """Predict the style of (T,) audio."""
        return predict_voice(self.model, self.config, audio)


def open_torch(folder: Path, device: str) -> TorchEngine:
    """Load the weights onto a device, any value of the setting `device`."""
    where = pick_device(device)
    model, config = load_model(folder)
    return TorchEngine(model.to(where), config)
