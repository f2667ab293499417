"""Audio files: which are read, what they hold, and whether they are whole.

Shapes: T audio samples, C channels.
"""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from tune_encoder.errors import DataError
from tune_encoder.system.files import check_regular
from tune_encoder.system.formats import count_noun, format_clock

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
class Span:
    """A piece of a long recording."""

    start: int
    """First sample, at the file's rate."""
    stop: int
    """The sample after the last."""
    sample_rate: int
    """In Hz."""
    index: int = 0
    """Among the pieces of the recording."""
    count: int = 1
    """Number of pieces of the recording."""
    is_truncated: bool = False
    """Whether the file ends here, before the length that it claims."""


def place_of(path: Path, span: Span | None) -> str:
    """Return what a message calls a recording or a piece of one."""
    return (
        str(path) if span is None else f"{path} from {format_clock(span.start / span.sample_rate)}"
    )


@dataclass(frozen=True)
class Recording:
    """An audio file, or a piece of it, as it was read."""

    path: Path
    channels: Array
    """(T, C), full scale at 1; a file of floats and a decoded MP3 may exceed it."""
    sample_rate: int
    """In Hz."""
    has_full_scale: bool = True
    """Whether samples beyond 1 were cut off when it was made; a file of floats keeps them."""
    is_truncated: bool = False
    """Whether the file ends before the length that it claims."""
    span: Span | None = None
    """Which piece it is; None if it is the whole."""

    @property
    def place(self) -> str:
        """What a message calls it."""
        return place_of(self.path, self.span)


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
    with _readable(path), soundfile.SoundFile(path) as file:
        check_sample_rate(path, file.samplerate)
        _check_duration(path, file.frames / file.samplerate)
        channels = file.read(dtype="float32", always_2d=True)
        truncated = ends_early(path, len(channels), file)
        recording = _recording(path, file, channels, truncated)
    _check_samples(recording)
    return recording


class PieceReader:
    """Reads pieces of recordings; those of one recording in a single pass if they are in order."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._open = ExitStack()
        self._file: soundfile.SoundFile | None = None

    def read(self, path: Path, span: Span) -> Recording:
        """Read a piece.

        Raises:
            DataError: naming the file, if it cannot be read, or the piece, if that is not finite.
        """
        with _readable(path):
            file = self._file_at(path, span.start)
            channels = file.read(span.stop - span.start, dtype="float32", always_2d=True)
            recording = _recording(path, file, channels, span.is_truncated, span)
        _check_samples(recording)
        return recording

    def close(self) -> None:
        """Close the last recording."""
        self._open.close()
        self._path = self._file = None

    def _file_at(self, path: Path, start: int) -> soundfile.SoundFile:
        """Open a recording, if another is, and read on to a sample."""
        if self._file is None or path != self._path or self._file.tell() > start:
            self.close()
            self._file = self._open.enter_context(open_stream(path))
            self._path = path
        while (left := start - self._file.tell()) > 0:
            if not len(self._file.read(min(left, self._file.samplerate))):
                break  # it has become shorter
        return self._file


def _recording(
    path: Path,
    file: soundfile.SoundFile,
    channels: Array,
    truncated: bool,
    span: Span | None = None,
) -> Recording:
    keeps_all = file.subtype in ("FLOAT", "DOUBLE")
    return Recording(path, channels, file.samplerate, not keeps_all, truncated, span)


def _check_samples(recording: Recording) -> None:
    channels, place = recording.channels, recording.place
    if channels.size == 0:
        raise DataError(f"{place}: has no samples; record it again or remove it")
    bad = int((~np.isfinite(channels)).sum())
    if bad:
        samples = f"{count_noun(bad, 'sample')} {'is' if bad == 1 else 'are'}"
        raise DataError(f"{place}: {samples} NaN or infinite; export it again or remove it")


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from its beginning to its end.

    Otherwise soundfile moves to where it is after each read, at which the decoder of an MP3 forgets
    what came before: it prints complaints, and the next samples are wrong.
    """

    def seekable(self) -> bool:
        """Return that it is not."""
        return False


@contextmanager
def open_stream(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file of a usual sample rate, to read it by blocks.

    Raises:
        DataError: naming the file, if it cannot be read, then or within the block.
    """
    with _readable(path), _Stream(path) as file:
        check_sample_rate(path, file.samplerate)
        yield file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one line why a file is not readable."""
    try:
        yield
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: not readable as audio ({reason}); {_remedy(path)}") from error


def ends_early(path: Path, n_samples: int, file: soundfile.SoundFile) -> bool:
    """Whether fewer samples could be read of a file than it claims to have."""
    return n_samples < (1 - _MISSING_FRACTION) * file.frames or _lacks_its_end(path)


def _lacks_its_end(path: Path) -> bool:
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


def check_sample_rate(path: Path, sample_rate: int) -> None:
    """Raise a `DataError` if a file's rate, in Hz, can only be that of a damaged header."""
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise DataError(
            f"{path}: its sample rate is {sample_rate} Hz; it must be from {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz, so export it again"
        )


def _check_duration(path: Path, seconds: float) -> None:
    if seconds > MAX_DURATION_S:
        raise DataError(
            f"{path}: lasts {seconds / 60:.0f} minutes; at most "
            f"{MAX_DURATION_S / 60:.0f} are allowed, so cut it into clips"
        )


def _remedy(path: Path) -> str:
    if path.suffix.lower() in CONVERT_SUFFIXES:
        return f"convert it: {ffmpeg_command([path])}"
    return "export it again as WAV"


def ffmpeg_command(paths: Sequence[Path], folder: Path | None = None) -> str:
    """Return the command that converts recordings to WAV, each beside itself.

    Args:
        paths: At least one.
        folder: What several of them lie in.
    """
    if len(paths) == 1 or folder is None:
        path = paths[0]
        return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.wav')))}"
    suffixes = sorted({path.suffix.lower() for path in paths})
    names = " -o ".join(f"-iname '*{suffix}'" for suffix in suffixes)
    if len(suffixes) > 1:
        names = rf"\( {names} \)"
    convert = """sh -c 'ffmpeg -i "$1" "${1%.*}.wav"' _ {}"""
    return rf"find {shlex.quote(str(folder))} {names} -exec {convert} \;"
