"""What computes a style: onnxruntime or torch, whichever the folder and the machine have."""

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from tune_encoder.data.voice_style import Array, VoiceStyle
from tune_encoder.errors import StorageError
from tune_encoder.model.onnx.session import INSTALL_COMMAND, VOICE_ENCODER, OnnxSession, open_onnx


class Engine(Protocol):
    """A model that is ready."""

    @property
    def name(self) -> str:
        """What computes."""

    @property
    def sample_rate(self) -> int:
        """Of the audio it takes, in Hz."""

    def style(self, audio: Array) -> VoiceStyle:
        """Predict the style of (T,) audio as `audio.load_voice` makes it; rows have norm 1."""


class OnnxEngine:
    """`voice_encoder.onnx` on onnxruntime."""

    def __init__(self, session: OnnxSession) -> None:
        self.name = "onnxruntime"
        self.sample_rate = session.sample_rate
        self._session = session

    def style(self, audio: Array) -> VoiceStyle:
        ttl, dp = self._session.run(audio[None])
        return VoiceStyle(ttl[0, 0], dp[0, 0])


def open_engine(folder: Path, device: str | None = None) -> Engine:
    """Open an exported model: its ONNX file where onnxruntime is there, else its weights.

    Args:
        folder: The model.
        device: Where torch is to compute; None leaves the choice of the engine.

    Raises:
        StorageError: if there is no model, it is damaged, or nothing installed can run it.
        ConfigError: if the machine has no such device.
    """
    path = folder / VOICE_ENCODER
    if device is None and path.is_file() and find_spec("onnxruntime"):
        return OnnxEngine(open_onnx(path))
    if find_spec("torch"):
        from tune_encoder.model.clone.torch_engine import open_torch

        return open_torch(folder, device or "cpu")
    if device is not None:
        raise StorageError(f"--device {device} needs torch, which is not installed; leave it out")
    if path.is_file():
        raise StorageError(
            f"{path}: needs onnxruntime or torch; install one with `{INSTALL_COMMAND}`"
        )
    raise StorageError(
        f"{folder}: has no {VOICE_ENCODER}, and torch is not installed here; export the model "
        "where it was trained with `tune-encoder export NAME --formats torch,onnx`"
    )
