"""The mel scale, and log-mel features without torch, for a clone that needs none.

Shapes: T audio samples, F frames, M mel bands, K = n_fft // 2 + 1 frequency bins.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TARGET_RMS = 10 ** (-26 / 20)  # of every clip; Supertonic's output has -26 dBFS
POWER_FLOOR = 1e-8  # 65 dB below the mean band at TARGET_RMS; its log is precise in float16
MIN_RMS = 1e-6  # -120 dBFS; a quieter clip is not amplified further

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MelSettings:
    """The numbers of `config.FrontendSettings`, without the settings' other meanings."""

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int


def plain_log_mel(audio: Array, settings: MelSettings) -> Array:
    """Compute what `data.log_mel.log_mel` does of one clip (T,), in numpy; returns (F, M)."""
    audio = audio - audio.mean(dtype=np.float64).astype(np.float32)
    rms = max(float(np.sqrt(np.square(audio, dtype=np.float64).mean())), MIN_RMS)
    n_fft = settings.n_fft
    levelled = np.pad(audio * np.float32(TARGET_RMS / rms), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(levelled, n_fft)[:: settings.hop_length]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi / n_fft * np.arange(n_fft))  # periodic, like torch's
    power = np.square(np.abs(np.fft.rfft(frames * hann.astype(np.float32))))  # (F, K)
    filters = triangular_filters(settings.sample_rate, n_fft, settings.n_mels)
    return np.asarray(np.log(np.maximum(power @ filters.T, POWER_FLOOR)), dtype=np.float32)


@lru_cache(maxsize=8)
def triangular_filters(sample_rate: int, n_fft: int, n_mels: int) -> Array:
    """Triangular filters on Slaney's mel scale, each of unit area per Hz.

    Returns:
        Weights of shape (M, K).

    Source: M. Slaney, Auditory Toolbox, Interval Technical Report 1998-010.
    """
    bins_hz = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    edges_hz = _mel_edges(sample_rate, n_mels)
    lower, centre, upper = (edges_hz[i : i + n_mels, None] for i in range(3))
    rising = (bins_hz - lower) / (centre - lower)
    falling = (upper - bins_hz) / (upper - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
    return np.asarray(triangles, dtype=np.float32)


def band_centers_hz(sample_rate: int, n_mels: int) -> Array:
    """Return the centre of each mel band in Hz, (M,)."""
    return np.asarray(_mel_edges(sample_rate, n_mels)[1:-1], dtype=np.float32)


def _mel_edges(sample_rate: int, n_mels: int) -> NDArray[np.float64]:
    """Edges of the triangles in Hz, (M + 2,)."""
    return _mel_to_hz(np.linspace(0, _hz_to_mel(sample_rate / 2), n_mels + 2))


# Slaney's scale: linear to 1 kHz at 15 mel, then 27 mel for each factor of 6.4.
_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ, _LOG_FROM_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_FROM_HZ:
        return hz / _HZ_PER_MEL
    return float(_LOG_FROM_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL))
    return np.where(mel < _LOG_FROM_MEL, mel * _HZ_PER_MEL, above)
