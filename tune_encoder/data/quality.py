"""Audio quality of a recording, which explains the quality of what is learned from it.

Shapes: T samples, C channels, F frames, K frequency bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.audio import (
    channels_cancel,
    downmix,
    level_dbfs,
    remove_dc,
    silence_ratio,
)
from tune_encoder.data.audio_file import Recording

CLIPPED_FROM = 0.999  # of full scale; clean recordings rarely reach it
CLIPPED_RUN = 3  # equal samples at the peak; of a peak that was not cut off hardly two are equal
MAX_CLIPPED_RATIO = 1e-4  # of samples; fewer are peaks of a normalised recording
BAND_ENERGY = 0.9999  # fraction of all energy that is below the band limit
TELEPHONE_HZ = 4200.0  # a telephone ends at 3.4 kHz, the least sample rate in use at 4 kHz
NOISY_DB = 8.0  # a quiet room has 30 dB or more; clean speech without any pause can read as 9
NOISE_PERCENT = 5  # of frames, in which a bin holds noise alone: between words and harmonics
QUIETEST_NOISE = 1e-20  # power; keeps the level against digital silence finite
BLOCK = 2048  # samples per spectrum: 22 Hz per bin at 44.1 kHz
MAX_BLOCKS = 4000  # 90 s at 44.1 kHz; more of a longer recording would say nothing new

Array = NDArray[np.float32]

REMEDIES = {
    "clipped": "record at a lower level",
    "as narrow as a telephone's": "record with a microphone, at 16 kHz or more",
    "noisy": "record in a quieter room",
    "truncated": "copy it again from where it came",
    "of channels that cancel": "only the loudest is used; one is wired or exported inverted",
}
"""What to do about each fault of a recording, which is such as its key says."""


@dataclass(frozen=True)
class Quality:
    """Measured on the original recording, before trimming and resampling."""

    sample_rate: int
    """In Hz."""
    seconds: float
    level_dbfs: float
    """RMS level of the active frames."""
    clipped: float
    """Fraction of samples that were cut off at the loudest possible, in the worst channel."""
    silent: float
    """Fraction of frames at least 40 dB below the loudest."""
    band_hz: float
    """Frequency below which 99.99 % of the energy is."""
    snr_db: float
    """Level against that of the steady noise."""
    is_truncated: bool
    """Whether the file ends early."""
    cancels: bool
    """Whether its channels cancel."""

    def describe(self) -> str:
        """Describe the quality in one line."""
        clipping = f"{self.clipped:.2%} clipped" if "clipped" in self.faults() else "no clipping"
        return (
            f"{self.seconds:.1f} s, {self.level_dbfs:.0f} dBFS, {clipping}, "
            f"{self.silent:.0%} silent, up to {self.band_hz / 1000:.1f} kHz"
        )

    def faults(self) -> dict[str, str]:
        """Return what makes it less useful, each a key of `REMEDIES`, with what was measured."""
        found = {
            "clipped": (self.clipped > MAX_CLIPPED_RATIO, f"{self.clipped:.2%} of its samples"),
            "as narrow as a telephone's": (
                self.band_hz < TELEPHONE_HZ,
                f"up to {self.band_hz / 1000:.1f} kHz",
            ),
            "noisy": (self.snr_db < NOISY_DB, f"{max(self.snr_db, 0):.0f} dB above its noise"),
            "truncated": (self.is_truncated, f"{self.seconds:.1f} s are left"),
            "of channels that cancel": (self.cancels, "as if one were inverted"),
        }
        return {kind: measured for kind, (is_found, measured) in found.items() if is_found}


def measure_quality(recording: Recording) -> Quality:
    """Measure a recording.

    Raises:
        DataError: if it is silent.
    """
    audio, rate = remove_dc(downmix(recording)), recording.sample_rate
    power = power_spectra(audio)
    return Quality(
        sample_rate=rate,
        seconds=len(recording.channels) / rate,
        level_dbfs=level_dbfs(audio, rate),
        clipped=clipped_ratio(recording),
        silent=silence_ratio(audio, rate),
        band_hz=band_limit_hz(power, rate),
        snr_db=signal_to_noise_db(power),
        is_truncated=recording.is_truncated,
        cancels=channels_cancel(recording.channels),
    )


def clipped_ratio(recording: Recording) -> float:
    """Return the fraction of samples that were cut off, in the worst channel.

    They are at full scale; or, in a file that has none, in runs of samples that equal the peak.
    """
    ratios = (_clipped(channel, recording.has_full_scale) for channel in recording.channels.T)
    return float(max(ratios))


def _clipped(channel: Array, has_full_scale: bool) -> float:
    if has_full_scale:
        return float((np.abs(channel) >= CLIPPED_FROM).mean())
    return sum(_in_runs(channel == peak) for peak in (channel.max(), channel.min())) / channel.size


def _in_runs(at_peak: NDArray[np.bool_]) -> int:
    """Count the values in runs of at least `CLIPPED_RUN`."""
    edges = np.flatnonzero(np.diff(at_peak, prepend=False, append=False))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= CLIPPED_RUN].sum())


def power_spectra(audio: Array) -> Array:
    """Return the power (F, K) of blocks of `BLOCK` samples, spread over the recording."""
    window = np.hanning(BLOCK).astype(np.float32)  # without it a loud low tone leaks into every bin
    padded = np.pad(audio, (0, BLOCK))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, BLOCK)
    step = max(BLOCK // 2, audio.size // MAX_BLOCKS)
    spectra = np.fft.rfft(blocks[: audio.size : step] * window)
    return np.asarray(np.square(np.abs(spectra)), dtype=np.float32)


def band_limit_hz(power: Array, sample_rate: int) -> float:
    """Return the frequency below which 99.99 % of the energy is.

    Args:
        power: (F, K) from `power_spectra`.
        sample_rate: In Hz.
    """
    below = np.cumsum(power.sum(axis=0, dtype=np.float64))
    return float(np.searchsorted(below / below[-1], BAND_ENERGY) * sample_rate / BLOCK)


def signal_to_noise_db(power: Array) -> float:
    """Return the level against that of the steady noise, in dB.

    The noise is what the quietest frames have, or the quietest frames of each bin if that is less,
    as in R. Martin, Noise Power Spectral Density Estimation Based on Optimal Smoothing and Minimum
    Statistics, 2001: speech without a pause has gaps between its harmonics. The power of noise in
    a bin has an exponential distribution, which gives its mean from that quantile.

    Args:
        power: (F, K) from `power_spectra`.
    """
    quietest = np.percentile(power.sum(axis=1), NOISE_PERCENT)
    by_bin = np.percentile(power, NOISE_PERCENT, axis=0).sum() / -np.log(1 - NOISE_PERCENT / 100)
    noise = max(min(float(quietest), float(by_bin)), QUIETEST_NOISE)
    return float(10 * np.log10(power.sum(axis=1).mean() / noise))
