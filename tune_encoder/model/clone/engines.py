"""Inference engines: onnxruntime or torch, depending on the model's files and what is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from tune_encoder.data.voice_style import Array, VoiceStyle
from tune_encoder.errors import StorageError
from tune_encoder.model.onnx.session import INSTALL_COMMAND, VOICE_ENCODER, OnnxSession, open_onnx


class Engine(Protocol):
    """A loaded model that predicts styles."""

    @property
    def name(self) -> str:
        """The runtime and device."""

    @property
    def sample_rate(self) -> int:
        """Sample rate of the input audio, in Hz."""

    def style(self, audio: Array) -> VoiceStyle:
        """Predict the style of (T,) audio from `data.audio.load_voice`; rows have norm 1."""


class OnnxEngine:
    """`voice_encoder.onnx`, run by onnxruntime."""

    def __init__(self, session: OnnxSession) -> None:
        self.name = "onnxruntime"
        self.sample_rate = session.sample_rate
        self._session = session

    def style(self, audio: Array) -> VoiceStyle:
        ttl, dp = self._session.run(audio[None])
        return VoiceStyle(ttl[0, 0], dp[0, 0])


def open_engine(folder: Path, device: str | None = None) -> Engine:
    """Load an exported model: its ONNX file if onnxruntime is installed, else its weights.

    Args:
        folder: The model.
        device: Torch's device; None chooses the engine automatically.

    Raises:
        StorageError: if the model is missing or damaged, or no installed runtime can run it.
        ConfigError: if the machine has no such device.
    """
    path = folder / VOICE_ENCODER
    if device is None and path.is_file() and find_spec("onnxruntime"):
        return OnnxEngine(open_onnx(path))
    if find_spec("torch"):
        from tune_encoder.model.clone.torch_engine import open_torch

        return open_torch(folder, device or "cpu")
    if device is not None:
        raise StorageError(f"--device {device} needs torch, which is not installed; omit it")
    if path.is_file():
        raise StorageError(
            f"{path}: needs onnxruntime or torch; install one with `{INSTALL_COMMAND}`"
        )
    raise StorageError(
        f"{folder}: has no {VOICE_ENCODER}, and torch is not installed here; export the model "
        "where it was trained with `tune-encoder export NAME --formats torch,onnx`"
    )
