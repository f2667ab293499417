"""Recordings as the encoder hears them: mono, at its sample rate and level.

Shapes: T audio samples, C channels, F frames of 20 ms.
Audio is (T,) float32, mono, full scale at 1; a decoded MP3 may slightly exceed it. Levels are RMS
in dBFS, 0 dBFS being an RMS of 1, so a full-scale sine has -3 dBFS.
"""

from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from tune_encoder.data.audio_file import Recording, read_recording
from tune_encoder.errors import DataError

MIN_DURATION_S = 1.0  # speaker encoders get less reliable below 2 s and fail below 1 s
SILENT_PEAK = 1e-4  # -80 dBFS: below it a 16-bit recording is only quantisation noise
FRAME_S = 0.02  # shorter than a syllable, longer than two periods of a low voice
SILENCE_DB = (
    -40.0
)  # relative to the loudest frame; breath and room noise are below, soft consonants above
SILENCE_MARGIN_S = 0.08  # plosives begin with silence; with this margin no onset is cut off
CANCELLED_DB = -20.0  # of the channels' energy together; unrelated channels keep 0 dB of it
TARGET_DBFS = -26.0  # the level of Supertonic's own speech, -26 to -28

Array = NDArray[np.float32]


def load_voice(path: Path, sample_rate: int) -> Array:
    """Read a recording as mono speech at -26 dBFS, resampled, without DC and silent ends.

    Raises:
        DataError: naming the file, what is wrong with it, and what to do.
    """
    return to_voice(read_recording(path), sample_rate)


def to_voice(recording: Recording, sample_rate: int) -> Array:
    """Convert a recording to mono speech; see `load_voice`.

    Raises:
        DataError: if less than a second of it is sound.
    """
    # DC is removed first: its steps at both ends would ring in the resampler.
    audio = resample(remove_dc(downmix(recording)), recording.sample_rate, sample_rate)
    if is_silent(audio):  # only DC, or nothing below the new Nyquist frequency
        raise DataError(_silent_message(recording.place))
    audio = trim_silence(audio, sample_rate)
    if audio.size < MIN_DURATION_S * sample_rate:
        raise DataError(
            f"{recording.place}: {audio.size / sample_rate:.2f} s of sound; at least "
            f"{MIN_DURATION_S:g} s is needed, so record more or remove the file"
        )
    return normalize_loudness(audio, sample_rate)


def downmix(recording: Recording) -> Array:
    """Return the mean (T,) of the channels, or the loudest one if they cancel.

    Raises:
        DataError: if that is silent.
    """
    channels = recording.channels
    products = _products(channels)
    if _cancel(products):
        audio = channels[:, int(products.diagonal().argmax())]
    else:
        audio = np.asarray(channels.mean(axis=1), dtype=np.float32)
    if is_silent(audio):
        raise DataError(_silent_message(recording.place))
    return audio


def channels_cancel(channels: Array) -> bool:
    """Whether the mean of the channels (T, C) lacks what they have, as if one were inverted.

    The mean of unrelated channels has 1/C of their energy each, and so has that of channels of
    which only one has sound; of opposite channels nothing remains.
    """
    return _cancel(_products(channels))


def _products(channels: Array) -> Array:
    """Sums of the products of each two channels without their DC, (C, C)."""
    sound = channels - channels.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.asarray(sound.T @ sound)


def _cancel(products: Array) -> bool:
    return bool(products.sum() < 10 ** (CANCELLED_DB / 10) * products.trace())


def _silent_message(place: str) -> str:
    return f"{place}: is silent, below -80 dBFS throughout; record it again or remove it"


def is_silent(audio: Array) -> bool:
    """Whether no sample reaches `SILENT_PEAK`."""
    return bool(np.abs(audio).max() < SILENT_PEAK)


def remove_dc(audio: Array) -> Array:
    """Subtract the mean, a sound card's offset, which would hide silence."""
    return np.asarray(audio - audio.mean(dtype=np.float64), dtype=np.float32)


def resample(audio: Array, source_rate: int, target_rate: int) -> Array:
    """Convert between sample rates in Hz, without aliasing."""
    if source_rate == target_rate:
        return audio
    return np.asarray(soxr.resample(audio, source_rate, target_rate, quality="HQ"))


def trim_silence(audio: Array, sample_rate: int) -> Array:
    """Trim frames 40 dB below the loudest from both ends, keeping a margin of 80 ms."""
    active = np.flatnonzero(_active_frames(_frame_rms(audio, sample_rate)))
    frame, kept = frame_length(sample_rate), round(SILENCE_MARGIN_S * sample_rate)
    start, end = active[0] * frame - kept, (active[-1] + 1) * frame + kept
    return audio[max(start, 0) : end]


def outer_silence_s(audio: Array, sample_rate: int) -> float:
    """Return the seconds of a clip before and after its sound, its DC aside.

    Without a copy of the clip, which may be as long as an npz file can hold.
    """
    length = frame_length(sample_rate)
    if audio.size < length:
        return 0.0
    frames = audio[: audio.size // length * length].reshape(-1, length)
    mean = float(audio.mean(dtype=np.float64))
    power = np.einsum("ft,ft->f", frames, frames) / length - 2 * mean * frames.mean(axis=1)
    rms = np.sqrt(np.maximum(power.astype(np.float64) + mean**2, 0))
    active = np.flatnonzero(_active_frames(rms))
    return float(len(rms) - 1 - (active[-1] - active[0])) * FRAME_S


def normalize_loudness(audio: Array, sample_rate: int) -> Array:
    """Scale to -26 dBFS."""
    gain = 10 ** ((TARGET_DBFS - level_dbfs(audio, sample_rate)) / 20)
    return np.asarray(audio * gain, dtype=np.float32)


def level_dbfs(audio: Array, sample_rate: int) -> float:
    """Return the RMS level of the active frames; pauses do not count."""
    rms = _frame_rms(audio, sample_rate)
    return float(10 * np.log10(np.square(rms[_active_frames(rms)]).mean()))


def silence_ratio(audio: Array, sample_rate: int) -> float:
    """Return the fraction of frames at least 40 dB below the loudest."""
    return float(1 - _active_frames(_frame_rms(audio, sample_rate)).mean())


def _active_frames(rms: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(rms >= rms.max() * 10 ** (SILENCE_DB / 20))


def _frame_rms(audio: Array, sample_rate: int) -> NDArray[np.float64]:
    """Return the RMS of each frame, (F,); the last may be shorter than the others."""
    starts = np.arange(0, audio.size, frame_length(sample_rate))
    energy = np.add.reduceat(np.square(audio, dtype=np.float64), starts)
    return np.asarray(np.sqrt(energy / np.diff(starts, append=audio.size)))


def frame_length(sample_rate: int) -> int:
    """Return the samples of a frame."""
    return round(FRAME_S * sample_rate)
