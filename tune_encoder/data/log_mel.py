"""Log-mel features: packing, training, evaluation and cloning all use `log_mel`.

Shapes: T audio samples, F frames, M mel bands, K = n_fft // 2 + 1 frequency bins.
"""

from functools import lru_cache

import torch
from torch import Tensor

from tune_encoder.config import FrontendSettings
from tune_encoder.data.mel import (
    MIN_RMS,
    POWER_FLOOR,
    TARGET_RMS,
    band_centers_hz,
    triangular_filters,
)


def log_mel(audio: Tensor, settings: FrontendSettings) -> Tensor:
    """Return the natural log of mel power, after removing the clip's DC and normalising its level.

    Args:
        audio: (..., T) float32 at `settings.sample_rate`, T at least 1.
        settings: Window, hop length and mel bands, and whether DC is removed.

    Returns:
        (..., M, F) float32 with F = 1 + T // hop_length, centred on multiples of the hop.
    """
    if settings.remove_dc:
        audio = audio - audio.mean(dim=-1, keepdim=True)
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
    """Return `mel.triangular_filters` as a tensor, (M, K)."""
    return torch.from_numpy(triangular_filters(sample_rate, n_fft, n_mels))


def mel_centers(sample_rate: int, n_mels: int) -> Tensor:
    """Return the centre of each mel band in Hz, (M,)."""
    return torch.from_numpy(band_centers_hz(sample_rate, n_mels))
