"""Codecs: what mp3, Opus and a telephone leave of a recording.

Shapes: T audio samples.
"""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from tune_encoder.data.audio import resample
from tune_encoder.errors import DataError

RATE_HZ = 24_000  # at which is coded; Opus allows few, and mp3 has its low rates at low ones
TELEPHONE_RATE_HZ = 8_000
TELEPHONE_BAND_HZ = (300.0, 3400.0)
_CODINGS = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS")}
_LEVELS = {"mp3": (0.85, 0.95), "opus": (0.94, 1.0)}
"""Of libsndfile's compression: 40 to 16 kbit/s of mp3, 20 to 7 of Opus."""
CODECS = (*_CODINGS, "telephone")
FULL_SCALE = 0.5  # of the loudest sample when it is coded: nothing is clipped

Array = NDArray[np.float32]


def random_codec(audio: Array, sample_rate: int, rng: np.random.Generator) -> Array:
    """Return audio (T,) after one of `CODECS`, at a random rate."""
    name = CODECS[rng.integers(len(CODECS))]
    share = rng.random()  # drawn of a telephone too, so that what follows does not depend on it
    return through_codec(audio, sample_rate, name, share)


def through_codec(audio: Array, sample_rate: int, name: str, share: float = 1.0) -> Array:
    """Return audio (T,) after a codec, of the same length and at the same rate.

    Args:
        audio: Not silent.
        sample_rate: In Hz.
        name: One of `CODECS`.
        share: From 0, the best of its low rates, to 1, the lowest; a telephone has one.

    Raises:
        DataError: if this libsndfile lacks the codec.
    """
    gain = FULL_SCALE / np.abs(audio).max()
    if name == "telephone":
        decoded, rate = _telephone(audio * gain, sample_rate), TELEPHONE_RATE_HZ
    else:
        low, high = _LEVELS[name]
        level = low + share * (high - low)
        decoded, rate = _round_trip(resample(audio * gain, sample_rate, RATE_HZ), name, level)
    back = resample(decoded, rate, sample_rate)[: audio.size] / gain
    return np.pad(back, (0, audio.size - back.size)).astype(np.float32)


def _round_trip(audio: Array, name: str, level: float) -> tuple[Array, int]:
    container, coding = _CODINGS[name]
    constant = {"bitrate_mode": "CONSTANT"} if name == "mp3" else {}
    file = io.BytesIO()
    try:
        soundfile.write(
            file, audio, RATE_HZ, coding, format=container, compression_level=level, **constant
        )
        file.seek(0)
        decoded, rate = soundfile.read(file, dtype="float32")
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise DataError(
            f"{name}: this soundfile cannot code it ({str(error).strip()}); install soundfile 0.13 "
            "or newer with its own libsndfile, or set copy_codec_prob to 0"
        ) from error
    return np.asarray(decoded), rate


def _telephone(audio: Array, sample_rate: int) -> Array:
    """The band of a telephone line, in the eight bits of G.711's mu-law."""
    narrow = resample(_band(audio, sample_rate), sample_rate, TELEPHONE_RATE_HZ)
    file = io.BytesIO()
    soundfile.write(file, narrow, TELEPHONE_RATE_HZ, "ULAW", format="WAV")
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32")[0])


def _band(audio: Array, sample_rate: int) -> Array:
    from scipy.signal import butter, sosfiltfilt  # 0.5 s to load

    low, high = TELEPHONE_BAND_HZ
    filters = butter(
        4, (low, min(high, 0.49 * sample_rate)), "bandpass", fs=sample_rate, output="sos"
    )
    return np.asarray(sosfiltfilt(filters, audio), dtype=np.float32)
