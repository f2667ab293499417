"""Log-mel features: packing, training, evaluation and cloning all use `log_mel`.

Shapes: T audio samples, F frames, M mel bands, K = n_fft // 2 + 1 frequency bins.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tune_encoder.config import FrontendSettings

TARGET_RMS = 10 ** (-26 / 20)  # of every clip; Supertonic's output has -26 dBFS
POWER_FLOOR = 1e-8  # 65 dB below the mean band at TARGET_RMS; its log is precise in float16
MIN_RMS = 1e-6  # -120 dBFS; a quieter clip is not amplified further


def log_mel(audio: Tensor, settings: FrontendSettings) -> Tensor:
    """Return the natural log of mel power, after normalising the clip's level.

    Args:
        audio: (..., T) float32 at `settings.sample_rate`, T at least 1.
        settings: Window, hop length and mel bands.

    Returns:
        (..., M, F) float32 with F = 1 + T // hop_length, centred on multiples of the hop.
    """
    window = torch.hann_window(settings.n_fft, dtype=audio.dtype, device=audio.device)
    spectrum = torch.stft(
        normalize_level(audio),
        settings.n_fft,
        settings.hop_length,
        window=window,
        pad_mode="constant",  # a clip shorter than half a window cannot be reflect-padded
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()  # (..., K, F)
    filters = mel_filters(settings.sample_rate, settings.n_fft, settings.n_mels).to(audio.device)
    return log_bands(power, filters)


def normalize_level(audio: Tensor) -> Tensor:
    """Scale clips (..., T) to an RMS of `TARGET_RMS`."""
    rms = audio.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=MIN_RMS)
    return audio * (TARGET_RMS / rms)


def log_bands(power: Tensor, filters: Tensor) -> Tensor:
    """Apply mel filters (M, K) to power (..., K, F), and take the natural log."""
    return (filters @ power).clamp(min=POWER_FLOOR).log()


@lru_cache(maxsize=8)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
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
    return torch.from_numpy(triangles.astype(np.float32))


def mel_centers(sample_rate: int, n_mels: int) -> Tensor:
    """Return the centre of each mel band in Hz, (M,)."""
    return torch.from_numpy(_mel_edges(sample_rate, n_mels)[1:-1].astype(np.float32))


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
