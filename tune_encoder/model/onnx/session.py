"""ONNX files of an encoder, loaded without torch.

audio_encoder.onnx   from log-mel features to the style of one window; rows not normalised
voice_encoder.onnx   from a recording to its style, rows of norm 1, as `clone` writes

Each also as `*.int8.onnx` if requested. The sample rate, the front-end settings and the window
length are in the file's metadata.

Shapes: B batch, M mel bands, F frames, T audio samples.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tune_encoder.data.voice_style import DP_SHAPE, TTL_SHAPE, Array
from tune_encoder.errors import StorageError
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.manifest import load_verified

AUDIO_ENCODER, VOICE_ENCODER = "audio_encoder.onnx", "voice_encoder.onnx"
ONNX_FORMAT = 1
OUTPUTS = ("style_ttl", "style_dp")
INSTALL_COMMAND = "pip install 'tune-encoder[onnx]'"
_ERRORS_ONLY = 3  # log severity of onnxruntime


@dataclass(frozen=True)
class OnnxSession:
    """A loaded ONNX file."""

    runtime: Any
    """An `onnxruntime.InferenceSession`."""
    metadata: dict[str, str]
    name: str
    """Of the file, for error messages."""

    @property
    def sample_rate(self) -> int:
        """Sample rate of the encoder's audio, in Hz."""
        return int(self.metadata["sample_rate"])

    def run(self, values: Array) -> tuple[Array, Array]:
        """Compute `style_ttl` (B, 1, 50, 256) and `style_dp` (B, 1, 8, 16).

        Args:
            values: (B, M, F) features for the audio encoder, (B, T) audio for the voice encoder.
        """
        given = np.ascontiguousarray(values, dtype=np.float32)
        with refuse_damage(lambda why: _unusable(self.name, why)):
            ttl, dp = self.runtime.run(OUTPUTS, {self.runtime.get_inputs()[0].name: given})
            B = len(given)
            if (ttl.shape, dp.shape) != ((B, 1, *TTL_SHAPE), (B, 1, *DP_SHAPE)):
                raise ValueError(f"its outputs are {ttl.shape} and {dp.shape}")
        return ttl, dp


def int8_name(name: str) -> str:
    """Return the name of the quantised version of a file."""
    return name.removesuffix(".onnx") + ".int8.onnx"


def open_onnx(path: Path) -> OnnxSession:
    """Verify and load one of the files, to run on the CPU.

    Raises:
        StorageError: if the file is missing, damaged or foreign, or onnxruntime is not installed.
    """
    content = load_verified(path)
    session = load_onnx(content, str(path))
    found = session.metadata.get("tune_encoder_onnx", "none")
    if found != str(ONNX_FORMAT):
        raise StorageError(
            f"{path}: its format is {found}, this program reads {ONNX_FORMAT}; export it again"
        )
    with refuse_damage(lambda why: _unusable(str(path), why)):
        if session.sample_rate < 1:
            raise ValueError(f"its sample rate is {session.sample_rate}")
    return session


def load_onnx(content: bytes, name: str) -> OnnxSession:
    """Load a file's content; `name` is for error messages."""
    try:
        import onnxruntime
    except ImportError as error:
        raise StorageError(
            f"{name}: needs onnxruntime; install it with `{INSTALL_COMMAND}`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = 1  # more threads spin while they wait: twice as slow on one core
    with refuse_damage(lambda why: _unusable(name, why)):
        runtime = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        return OnnxSession(runtime, dict(runtime.get_modelmeta().custom_metadata_map), name)


def _unusable(name: str, why: str) -> StorageError:
    return StorageError(
        f"{name}: onnxruntime cannot load it ({why}); export it again, or update onnxruntime"
    )
