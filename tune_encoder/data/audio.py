"""Recordings: read audio files, and convert them to the encoder's sample rate and level.

Shapes: T audio samples, C channels, F frames of 20 ms.
Audio is (T,) float32, mono, full scale at 1; a decoded MP3 may slightly exceed it. Levels are RMS
in dBFS, 0 dBFS being an RMS of 1, so a full-scale sine has -3 dBFS.
"""

import shlex
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tune_encoder.errors import DataError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
CONVERT_SUFFIXES = (".m4a", ".aac", ".mp4", ".webm", ".wma", ".opus", ".amr", ".aiff", ".aif")
"""Formats that libsndfile cannot read, or not in every build; ffmpeg converts them to WAV."""

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4000, 384000  # Hz; outside it the header is damaged
MIN_DURATION_S = 1.0  # speaker encoders get less reliable below 2 s and fail below 1 s
MAX_DURATION_S = 3600.0  # an hour at 48 kHz stereo is 1.4 GB in memory; a header can claim more
SILENT_PEAK = 1e-4  # -80 dBFS: below it a 16-bit recording is only quantisation noise
FRAME_S = 0.02  # shorter than a syllable, longer than two periods of a low voice
SILENCE_DB = (
    -40.0
)  # relative to the loudest frame; breath and room noise are below, soft consonants above
SILENCE_MARGIN_S = 0.08  # plosives begin with silence; with this margin no onset is cut off
TARGET_DBFS = -26.0  # the level of Supertonic's own speech, -26 to -28

Array = NDArray[np.float32]


def load_voice(path: Path, sample_rate: int) -> Array:
    """Read a recording as mono speech at -26 dBFS, resampled, without DC and silent ends.

    Raises:
        DataError: naming the file, what is wrong with it, and what to do.
    """
    return to_voice(path, *read_audio(path), sample_rate)


def to_voice(path: Path, recorded: Array, recorded_rate: int, sample_rate: int) -> Array:
    """Convert the output of `read_audio` for `path` to that of `load_voice`.

    Raises:
        DataError: if less than a second of it is sound.
    """
    # DC is removed first: its steps at both ends would ring in the resampler.
    audio = resample(remove_dc(recorded), recorded_rate, sample_rate)
    if is_silent(audio):
        raise DataError(
            _silent_message(path)
        )  # only DC, or nothing below the new Nyquist frequency
    audio = trim_silence(audio, sample_rate)
    if audio.size < MIN_DURATION_S * sample_rate:
        raise DataError(
            f"{path}: {audio.size / sample_rate:.2f} s of sound; at least {MIN_DURATION_S:g} s is "
            "needed, so record more or remove the file"
        )
    return normalize_loudness(audio, sample_rate)


def read_audio(path: Path) -> tuple[Array, int]:
    """Return a recording as mono, the mean of its channels, and its sample rate in Hz.

    Raises:
        DataError: naming the file, if it cannot be read or is empty, not finite or silent.
    """
    channels, sample_rate = read_channels(path)
    return downmix(path, channels), sample_rate


def downmix(path: Path, channels: Array) -> Array:
    """Return the mean of the channels (T, C) that were read from `path`.

    Raises:
        DataError: if the mean is silent.
    """
    audio = np.asarray(channels.mean(axis=1), dtype=np.float32)
    if is_silent(audio):
        raise DataError(_silent_message(path))
    return audio


def read_channels(path: Path) -> tuple[Array, int]:
    """Return the samples as (T, C) and the sample rate in Hz.

    Raises:
        DataError: naming the file, if it cannot be read or is empty or not finite.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a recording")
    channels, sample_rate = _decode(path)
    if channels.size == 0:
        raise DataError(f"{path}: has no samples; record it again or remove it")
    bad = int((~np.isfinite(channels)).sum())
    if bad:
        raise DataError(f"{path}: {bad} samples are NaN or infinite; export it again or remove it")
    return channels, sample_rate


def _decode(path: Path) -> tuple[Array, int]:
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(path, file.samplerate, file.frames)
            return file.read(dtype="float32", always_2d=True), file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: not readable as audio ({reason}); {_remedy(path)}") from error


def _check_header(path: Path, sample_rate: int, n_samples: int) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise DataError(
            f"{path}: its sample rate is {sample_rate} Hz; it must be from {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz, so export it again"
        )
    if n_samples > MAX_DURATION_S * sample_rate:
        raise DataError(
            f"{path}: lasts {n_samples / sample_rate / 60:.0f} minutes; at most "
            f"{MAX_DURATION_S / 60:.0f} are allowed, so cut it into clips"
        )


def _remedy(path: Path) -> str:
    if path.suffix.lower() in CONVERT_SUFFIXES:
        return f"convert it: {ffmpeg_command(path)}"
    return "export it again as WAV"


def _silent_message(path: Path) -> str:
    return f"{path}: is silent, below -80 dBFS throughout; record it again or remove it"


def ffmpeg_command(path: Path) -> str:
    """Return the command that converts the recording to WAV, beside it."""
    return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.wav')))}"


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
    frame, kept = _frame_length(sample_rate), round(SILENCE_MARGIN_S * sample_rate)
    start, end = active[0] * frame - kept, (active[-1] + 1) * frame + kept
    return audio[max(start, 0) : end]


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
    starts = np.arange(0, audio.size, _frame_length(sample_rate))
    energy = np.add.reduceat(np.square(audio, dtype=np.float64), starts)
    return np.asarray(np.sqrt(energy / np.diff(starts, append=audio.size)))


def _frame_length(sample_rate: int) -> int:
    return round(FRAME_S * sample_rate)
