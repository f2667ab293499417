"""Pitch and level of speech over time.

Shapes: T audio samples, F frames of 10 ms, W samples of a window, L lags.

Source: A. de Cheveigné and H. Kawahara, YIN, a fundamental frequency estimator for speech and
music, 2002, sections II.C to II.E.
"""

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.audio import resample

FRAME_S = 0.01
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0  # of speaking voices
_RATE = 16000
_HOP = round(FRAME_S * _RATE)
_WINDOW = 512  # samples, 32 ms: two periods of the lowest voice
_MAX_LAG = int(_RATE / LOWEST_HZ) + 2
_MIN_LAG = int(_RATE / HIGHEST_HZ)
_VOICED_BELOW = 0.15  # of the normalised difference; the paper has 0.1 to 0.15
_QUIET_DB = -40.0  # relative to the loudest frame; below it nothing is voiced
_FLOOR_DBFS = -100.0
_BLOCK = 1000  # frames at a time; a recording of an hour as a whole would take gigabytes

Array = NDArray[np.float32]


def pitch_and_level(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """Return the pitch of each frame in Hz, NaN where it has none, and its RMS level in dBFS.

    Args:
        audio: Speech (T,).
        sample_rate: In Hz.

    Returns:
        Both of shape (F,).
    """
    sound = resample(audio, sample_rate, _RATE)
    length = _WINDOW + _MAX_LAG
    padded = np.pad(sound, (_WINDOW // 2, length))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[: sound.size : _HOP]
    blocks = [frames[start : start + _BLOCK] for start in range(0, len(frames), _BLOCK)]
    power = np.concatenate([np.square(block[:, :_WINDOW]).mean(axis=1) for block in blocks])
    level = np.maximum(10 * np.log10(np.maximum(power, 1e-20)), _FLOOR_DBFS)
    pitch = np.concatenate([_pitch(_normalised_difference(block)) for block in blocks])
    pitch[level < level.max() + _QUIET_DB] = np.nan
    return pitch.astype(np.float32), level.astype(np.float32)


def median_pitch_hz(pitch: Array) -> float | None:
    """Return the median of the frames that have a pitch; None if none has."""
    voiced = pitch[np.isfinite(pitch)]
    return float(np.median(voiced)) if voiced.size else None


def _normalised_difference(frames: Array) -> NDArray[np.float64]:
    """The cumulative mean normalised difference (F, L) of each lag; the paper's d'."""
    n_fft = 2048  # at least the length of a frame and a window, so that nothing wraps around
    window = np.fft.rfft(frames[:, :_WINDOW].astype(np.float64), n_fft)
    whole = np.fft.rfft(frames.astype(np.float64), n_fft)
    products = np.fft.irfft(window.conj() * whole, n_fft)[:, :_MAX_LAG]
    sums = np.cumsum(np.pad(np.square(frames, dtype=np.float64), ((0, 0), (1, 0))), axis=1)
    energy = sums[:, _WINDOW : _WINDOW + _MAX_LAG] - sums[:, :_MAX_LAG]
    difference = np.maximum(energy[:, :1] + energy - 2 * products, 0)
    lags = np.arange(1, _MAX_LAG)
    mean = np.cumsum(difference[:, 1:], axis=1) / lags
    normal = np.ones_like(difference)
    normal[:, 1:] = difference[:, 1:] / np.maximum(mean, 1e-12)
    return np.asarray(normal)


def _pitch(normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pitch (F,) at the first dip below the threshold, NaN where there is none."""
    inner = normal[:, _MIN_LAG:-1]
    is_dip = (inner <= normal[:, _MIN_LAG - 1 : -2]) & (inner < normal[:, _MIN_LAG + 1 :])
    found = is_dip & (inner < _VOICED_BELOW)
    lag = found.argmax(axis=1) + _MIN_LAG
    rows = np.arange(len(normal))
    before, at, after = (normal[rows, lag + step] for step in (-1, 0, 1))
    curve = before - 2 * at + after
    shift = np.divide(0.5 * (before - after), curve, out=np.zeros_like(at), where=curve > 0)
    return np.asarray(np.where(found.any(axis=1), _RATE / (lag + shift), np.nan))
