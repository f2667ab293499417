"""Audio files: which are read, what they hold, and whether they are whole.

Shapes: T audio samples, C channels.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from tune_encoder.errors import DataError
from tune_encoder.system.files import check_regular

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".aifc")
CONVERT_SUFFIXES = (".m4a", ".aac", ".mp4", ".webm", ".wma", ".opus", ".amr", ".aiff", ".aif")
"""Formats that libsndfile cannot read, or not in every build; ffmpeg converts them to WAV."""
_NEEDS = {".mp3": ("MP3", "MPEG_LAYER_III"), ".opus": ("OGG", "OPUS")}  # format, and its coding

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4000, 384000  # Hz; outside it the header is damaged
MAX_DURATION_S = 3600.0  # an hour at 48 kHz stereo is 1.4 GB in memory; a header can claim more

_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"FORM": "big"}
_UNKNOWN_FROM = 0x7FFF0000  # bytes; a program that writes into a pipe claims about 2 or 4 GB, or 0
_LAST_PAGE_BYTES = 65307  # the longest page of an Ogg stream
_FLAGS, _END_OF_STREAM = 5, 4  # where a page has its flags, and the one of the last page
_MISSING_FRACTION = 0.02  # of an MP3, whose length is known to a frame or two at each end

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """An audio file as it was read."""

    path: Path
    channels: Array
    """(T, C), full scale at 1; a file of floats and a decoded MP3 may exceed it."""
    sample_rate: int
    """In Hz."""
    has_full_scale: bool = True
    """Whether samples beyond 1 were cut off when it was made; a file of floats keeps them."""
    is_truncated: bool = False
    """Whether the file ends before the length that it claims."""


def readable_suffixes() -> tuple[str, ...]:
    """Return the suffixes, in lower case, of the formats that this libsndfile reads."""
    return tuple(suffix for suffix in AUDIO_SUFFIXES if _is_readable(suffix))


def _is_readable(suffix: str) -> bool:
    container, coding = _NEEDS.get(suffix, ("WAV", "PCM_16"))
    is_known = container in soundfile.available_formats()
    return is_known and coding in soundfile.available_subtypes(container)


def read_recording(path: Path) -> Recording:
    """Read an audio file.

    Raises:
        DataError: naming the file, if it cannot be read or is empty or not finite.
    """
    check_regular(path, "a recording")
    recording = _decode(path)
    channels = recording.channels
    if channels.size == 0:
        raise DataError(f"{path}: has no samples; record it again or remove it")
    bad = int((~np.isfinite(channels)).sum())
    if bad:
        raise DataError(f"{path}: {bad} samples are NaN or infinite; export it again or remove it")
    return recording


def _decode(path: Path) -> Recording:
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(path, file.samplerate, file.frames)
            channels = file.read(dtype="float32", always_2d=True)
            is_short = len(channels) < (1 - _MISSING_FRACTION) * file.frames
            keeps_all = file.subtype in ("FLOAT", "DOUBLE")
            truncated = is_short or _ends_early(path)
            return Recording(path, channels, file.samplerate, not keeps_all, truncated)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: not readable as audio ({reason}); {_remedy(path)}") from error


def _ends_early(path: Path) -> bool:
    """Whether a WAV or AIFF is shorter than its header says, or an Ogg stream has no last page.

    libsndfile reads what is there, without a word.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        kind, claimed = file.read(4), file.read(4)
        if order := _BYTE_ORDERS.get(kind):
            return size < 8 + int.from_bytes(claimed, order) < _UNKNOWN_FROM
        if kind != b"OggS":
            return False
        file.seek(max(0, size - _LAST_PAGE_BYTES))
        tail = file.read()
    flags = tail.rfind(b"OggS") + _FLAGS
    return flags < len(tail) and not tail[flags] & _END_OF_STREAM


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


def ffmpeg_command(path: Path) -> str:
    """Return the command that converts the recording to WAV, beside it."""
    return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.wav')))}"
