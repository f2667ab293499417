"""What a recording is like, so that a person sees why a clone sounds as it does.

Shapes: T samples, C channels, K frequency bins.
"""

from dataclasses import dataclass

import numpy as np

from tune_encoder.data.audio import level_dbfs, remove_dc, silence_ratio
from tune_encoder.data.voice_style import Array

CLIPPED_FROM = 0.999  # of full scale; the loudest sample of a clean recording rarely comes so far
MAX_CLIPPED_RATIO = (
    1e-4  # of samples; fewer are peaks of a recording that was brought to full scale
)
BAND_ENERGY = 0.9999  # of all energy lies below the limit of the band
BLOCK = 2048  # samples of a spectrum: 22 Hz a bin at 44.1 kHz


@dataclass(frozen=True)
class Quality:
    """Measured on the recording as it is, before anything is cut or resampled."""

    sample_rate: int
    """In Hz."""
    seconds: float
    level_dbfs: float
    """RMS of the frames that hold sound."""
    clipped: float
    """Share of samples at full scale or beyond, of the worst channel."""
    silent: float
    """Share of frames 40 dB below the loudest."""
    band_hz: float
    """Below it lies 99.99 % of the energy."""

    def describe(self) -> str:
        """Say all of it in one line."""
        clipping = (
            f"{self.clipped:.2%} clipped" if self.clipped > MAX_CLIPPED_RATIO else "no clipping"
        )
        return (
            f"{self.seconds:.1f} s, {self.level_dbfs:.0f} dBFS, {clipping}, "
            f"{self.silent:.0%} silent, up to {self.band_hz / 1000:.1f} kHz"
        )


def measure_quality(channels: Array, mono: Array, sample_rate: int) -> Quality:
    """Measure a recording.

    Args:
        channels: (T, C) as read.
        mono: (T,) their mean.
        sample_rate: In Hz.
    """
    audio = remove_dc(mono)
    return Quality(
        sample_rate=sample_rate,
        seconds=len(channels) / sample_rate,
        level_dbfs=level_dbfs(audio, sample_rate),
        clipped=float((np.abs(channels) >= CLIPPED_FROM).mean(axis=0).max()),
        silent=silence_ratio(audio, sample_rate),
        band_hz=band_limit_hz(audio, sample_rate),
    )


def band_limit_hz(audio: Array, sample_rate: int) -> float:
    """Return the frequency below which 99.99 % of the energy lies."""
    window = np.hanning(BLOCK)  # without it a loud low tone would leak into every bin
    power = np.zeros(BLOCK // 2 + 1)
    for start in range(0, audio.size, BLOCK // 2):
        block = audio[start : start + BLOCK]
        block = np.pad(block, (0, BLOCK - block.size))
        power += np.square(np.abs(np.fft.rfft(block * window)))
    below = np.cumsum(power) / power.sum()
    return float(np.searchsorted(below, BAND_ENERGY) * sample_rate / BLOCK)
