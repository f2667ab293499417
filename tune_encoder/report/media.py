"""Pictures and sounds of a page, as data URLs.

Shapes: T audio samples, F frames, M mel bands.
"""

import base64
import io

import matplotlib
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from tune_encoder.data.audio import resample

MP3_RATE_HZ = (
    24000  # of the audio; MP3 at this rate plays in every browser, Opus not on every iPhone
)
_PALETTE = "magma"


def spectrogram(frames: NDArray[np.floating]) -> str:
    """Return log-mel frames (F, M) as a PNG data URL, low bands at the bottom."""
    levels = frames.astype(np.float32).T[::-1]
    low, high = np.percentile(levels, (2, 100))
    scaled = np.clip((levels - low) / max(float(high - low), 1e-6), 0, 1)
    picture = Image.fromarray(np.round(255 * scaled).astype(np.uint8), mode="P")
    colors = matplotlib.colormaps[_PALETTE](np.arange(256), bytes=True)[:, :3]
    picture.putpalette(colors.tobytes())
    return _data_url("image/png", _to_png(picture))


def mp3(audio: NDArray[np.float32], sample_rate: int) -> str:
    """Return audio (T,) as an MP3 data URL at `MP3_RATE_HZ`."""
    sound = resample(audio, sample_rate, MP3_RATE_HZ)
    return _data_url("audio/mpeg", _encoded(sound, MP3_RATE_HZ, "MP3"))


def flac(audio: NDArray[np.float32], sample_rate: int) -> str:
    """Return audio (T,) as a FLAC data URL, as it is but for 16 bits."""
    return _data_url("audio/flac", _encoded(audio, sample_rate, "FLAC"))


def _encoded(audio: NDArray[np.float32], sample_rate: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1, 1), sample_rate, format=kind)
    return buffer.getvalue()


def _to_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
