"""Audio quality of a recording, which explains the quality of a clone.

Shapes: T samples, C channels, K frequency bins.
"""

from dataclasses import dataclass

import numpy as np

from tune_encoder.data.audio import level_dbfs, remove_dc, silence_ratio
from tune_encoder.data.voice_style import Array

CLIPPED_FROM = 0.999  # of full scale; clean recordings rarely reach it
MAX_CLIPPED_RATIO = 1e-4  # of samples; fewer are peaks of a normalised recording
BAND_ENERGY = 0.9999  # fraction of all energy that is below the band limit
BLOCK = 2048  # samples per spectrum: 22 Hz per bin at 44.1 kHz


@dataclass(frozen=True)
class Quality:
    """Measured on the original recording, before trimming and resampling."""

    sample_rate: int
    """In Hz."""
    seconds: float
    level_dbfs: float
    """RMS level of the active frames."""
    clipped: float
    """Fraction of samples at or beyond full scale, in the worst channel."""
    silent: float
    """Fraction of frames at least 40 dB below the loudest."""
    band_hz: float
    """Frequency below which 99.99 % of the energy is."""

    def describe(self) -> str:
        """Describe the quality in one line."""
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
        mono: (T,), their mean.
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
    """Return the frequency below which 99.99 % of the energy is."""
    window = np.hanning(BLOCK)  # without a window a loud low tone would leak into every bin
    power = np.zeros(BLOCK // 2 + 1)
    for start in range(0, audio.size, BLOCK // 2):
        block = audio[start : start + BLOCK]
        block = np.pad(block, (0, BLOCK - block.size))
        power += np.square(np.abs(np.fft.rfft(block * window)))
    below = np.cumsum(power) / power.sum()
    return float(np.searchsorted(below, BAND_ENERGY) * sample_rate / BLOCK)
