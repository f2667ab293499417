"""Samples: one npz file per clip, in the folders train/, val/ and test/ of a data set.

Shapes: T audio samples. `audio` (T,) float32 in [-1, 1] or slightly beyond, `style_ttl` (50, 256)
and `style_dp` (8, 16) float32 in memory; the file has them as [1, 50, 256] and [1, 8, 16].
"""

import io
import math
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tune_encoder.data.voice_style import (
    DP_SHAPE,
    TTL_SHAPE,
    VoiceStyle,
    finite_problem,
    norm_problem,
)
from tune_encoder.errors import DataError, StyleNormError
from tune_encoder.system.files import check_regular, files_with_suffix
from tune_encoder.system.formats import count_noun

SPLITS = ("train", "val", "test")
MAX_MEMBER_BYTES = 512 * 2**20  # 1.5 hours at 24 kHz; a small zip file can claim any size
_CHUNK_BYTES = 2**20  # read at a time; most samples are smaller
_REQUIRED = ("audio", "style_ttl", "style_dp", "text", "lang")
_KNOWN = (*_REQUIRED, "sample_rate", "voice")
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_LENGTHS = {(1, 0): 2, (2, 0): 4}  # bytes of a header's length, which come before it
_LEAST_HALF, _LEAST_NORMAL_HALF = np.float32(2**-24), np.float32(2**-14)  # of float16
_END_SIGNATURE, _END_BYTES = b"PK\5\6", 22  # of a zip file's last record, without the comment
_COUNTED_ELSEWHERE = 0xFFFF  # of more members than the record can count
_STYLE_SHAPES = {"style_ttl": TTL_SHAPE, "style_dp": DP_SHAPE}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One clip and the style of its voice."""

    audio: Array
    style_ttl: Array
    style_dp: Array
    text: str
    lang: str
    sample_rate: int | None = None
    """Hz; None if the file has none, which is allowed."""
    voice: str | None = None
    """Name of the voice; None if the file has none."""


def find_samples(split_dir: Path) -> list[Path]:
    """Return the split's npz files in the order used everywhere."""
    return files_with_suffix(split_dir, ".npz")


def write_sample(path: Path, sample: Sample) -> None:
    """Write an npz file; equal samples give equal bytes."""
    with path.open("wb") as file:
        save_sample(file, sample, {}, half=False)


def save_sample(
    file: IO[bytes],
    sample: Sample,
    notes: Mapping[str, str | int | float | list[str]],
    *,
    half: bool,
) -> None:
    """Write a sample as npz; equal arguments give equal bytes.

    Args:
        file: Open for writing.
        sample: The clip.
        notes: What else is told of the clip, by names that no sample has; `read_sample` leaves
            it alone.
        half: Whether audio is float16, half as large, its rounding 73 dB below it.
    """
    extras: dict[str, Any] = {"sample_rate": sample.sample_rate, "voice": sample.voice, **notes}
    np.savez(
        file,
        audio=_as_half(sample.audio) if half else sample.audio.astype(np.float32),
        style_ttl=sample.style_ttl.reshape(1, *TTL_SHAPE).astype(np.float32),
        style_dp=sample.style_dp.reshape(1, *DP_SHAPE).astype(np.float32),
        text=np.array(sample.text),
        lang=np.array(sample.lang),
        **{name: value for name, value in extras.items() if value is not None},
    )


def _as_half(audio: Array) -> NDArray[np.float16]:
    """Convert to float16 as `astype` does, which takes 20 times as long where it underflows."""
    rounded = audio.copy()
    tiny = np.abs(audio) < _LEAST_NORMAL_HALF
    rounded[tiny] = np.rint(audio[tiny] / _LEAST_HALF) * _LEAST_HALF
    return rounded.astype(np.float16)


def copy_with_style(source: Path, target: Path, style: VoiceStyle) -> None:
    """Copy a readable npz file with another style; all other arrays stay as they are.

    Raises:
        DataError: if an array that no sample needs is damaged or claims too much.
    """
    styles = {"style_ttl.npy": style.ttl, "style_dp.npy": style.dp}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            if info.file_size > MAX_MEMBER_BYTES:
                raise DataError(f"{source}: {_too_large_message(info)}")
            if info.compress_type not in _COMPRESSIONS:
                raise DataError(f"{source}: {_compression_message(info.filename)}")
            copied = zipfile.ZipInfo(info.filename, info.date_time)
            copied.compress_type = info.compress_type
            with new.open(copied, "w") as file:
                if info.filename in styles:
                    npy.write_array(file, styles[info.filename][None])
                else:
                    _copy_member(source, old, info, file)


def _copy_member(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: IO[bytes]
) -> None:
    try:
        with archive.open(info) as content:
            shutil.copyfileobj(content, target)
    except OSError:  # of the disk that it is written to
        raise
    except Exception as error:  # see `_read_members`
        raise DataError(_unreadable_message(path, error)) from error


def read_sample(path: Path) -> Sample:
    """Read and validate one npz file; nothing is unpickled, and claimed sizes are limited.

    Raises:
        DataError: naming the file, what is wrong with it, and what is expected; a `StyleNormError`
            if nothing is wrong but that rows of its style are not of norm 1.
    """
    sample = read_any_norm(path)
    for name in _STYLE_SHAPES:
        if problem := norm_problem(name, getattr(sample, name)):
            raise StyleNormError(f"{path}: {problem}")
    return sample


def read_any_norm(path: Path) -> Sample:
    """Read and validate one npz file as `read_sample` does, but for the norms of its style's rows.

    Raises:
        DataError: naming the file, what is wrong with it, and what is expected.
    """
    check_regular(path, "an npz sample")
    members = _read_members(path)
    for name in _REQUIRED:
        if name not in members:
            raise DataError(f"{path}: has no {name!r}; it needs {', '.join(_REQUIRED)}")
    return Sample(
        audio=_check_audio(path, members["audio"]),
        style_ttl=_check_style(path, "style_ttl", members["style_ttl"]),
        style_dp=_check_style(path, "style_dp", members["style_dp"]),
        text=_check_text(path, "text", members["text"]),
        lang=_check_text(path, "lang", members["lang"]),
        sample_rate=_check_sample_rate(path, members.get("sample_rate")),
        voice=_check_text(path, "voice", members["voice"]) if "voice" in members else None,
    )


def member_checksums(path: Path) -> list[tuple[str, int, int]]:
    """Return (name, CRC-32, bytes) of each array, from the zip directory only.

    It takes 0.1 ms per file, so a data set's fingerprint can be computed before every search.
    """
    check_regular(path, "an npz sample")
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted((info.filename, info.CRC, info.file_size) for info in archive.infolist())
    except Exception as error:  # see `_read_members`
        raise DataError(_unreadable_message(path, error)) from error


def claimed_bytes(path: Path) -> int:
    """Return how much memory the arrays of a sample claim; 0 if it cannot be read."""
    try:
        members = member_checksums(path)
    except DataError:
        return 0  # reading it will say why
    known = {f"{name}.npy" for name in _KNOWN}
    return sum(min(size, MAX_MEMBER_BYTES) for name, _, size in members if name in known)


def _read_members(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read_member(path, archive, name) for name in _member_names(archive)}
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:
        # On damaged bytes zipfile and numpy raise ten unrelated types (zlib.error, TokenError,
        # NotImplementedError...); whichever it is, the file is damaged.
        raise DataError(_unreadable_message(path, error)) from error


def _unreadable_message(path: Path, error: Exception) -> str:
    return f"{path}: not a readable npz file ({type(error).__name__}: {error}); make it again"


def _member_names(archive: zipfile.ZipFile) -> list[str]:
    names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
    for name in _KNOWN:
        if names.count(name) > 1:
            raise DataError(f"holds {name!r} twice; save each array once")
    _check_count(archive)
    for info in archive.infolist():
        if info.filename.removesuffix(".npy") not in _KNOWN:
            # Opening compares its name with the one beside its content: a damaged name would
            # otherwise be a sample without its rate or its voice.
            archive.open(info).close()
    return [name for name in _KNOWN if name in names]  # other members may be many and large


def _check_count(archive: zipfile.ZipFile) -> None:
    """Compare the number of members with that at the end of the file, which zipfile does not read.

    Where a damaged length in the table of contents swallows the next entry, a sample would
    otherwise be read without its voice.
    """
    assert archive.fp is not None
    archive.fp.seek(-_END_BYTES - len(archive.comment), os.SEEK_END)
    end = archive.fp.read(_END_BYTES)
    count = int.from_bytes(end[10:12], "little")
    if end.startswith(_END_SIGNATURE) and count not in (
        len(archive.infolist()),
        _COUNTED_ELSEWHERE,
    ):
        raise DataError(f"lists {len(archive.infolist())} of {count} arrays; make it again")


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    info = archive.getinfo(f"{name}.npy")
    claimed = info.file_size
    if info.compress_type not in _COMPRESSIONS:  # others decompress all before they are limited
        raise DataError(_compression_message(name))
    if claimed > MAX_MEMBER_BYTES:
        raise DataError(_too_large_message(info))
    with archive.open(info) as file:
        return _to_array(name, _read_exactly(file, claimed))


def _compression_message(name: str) -> str:
    return f"{name} is compressed as numpy never does; save it with numpy.savez"


def _too_large_message(info: zipfile.ZipInfo) -> str:
    claimed, name = info.file_size, info.filename.removesuffix(".npy")
    return f"{name} claims {claimed / 1e6:.0f} MB; the limit is {MAX_MEMBER_BYTES / 1e6:.0f} MB"


def _read_exactly(file: IO[bytes], size: int) -> bytearray:
    """Read `size` bytes, or fewer if there are no more.

    `archive.read` would decompress beyond what is claimed, and `file.read` needs twice the memory.
    """
    content, end = bytearray(size), 0
    with memoryview(content) as view:
        while end < size and (count := file.readinto(view[end : end + _CHUNK_BYTES])):  # type: ignore[attr-defined]
            end += count
    del content[end:]
    return content


def _to_array(name: str, content: bytearray) -> NDArray[np.generic]:
    """Read as `numpy.lib.format.read_array` does, which is slower and parses each header twice.

    The array is a view of the content.
    """
    version = npy.read_magic(io.BytesIO(content[: npy.MAGIC_LEN]))
    if version not in _HEADERS:
        raise DataError(f"{name} is in format {version} of npy; save it with numpy.savez")
    n_bytes = _LENGTHS[version]
    start = npy.MAGIC_LEN + n_bytes
    start += int.from_bytes(content[npy.MAGIC_LEN : start], "little")
    shape, is_fortran, dtype = _header(version, bytes(content[npy.MAGIC_LEN : start]))
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects, which could run code; save plain arrays")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size + start != len(content):
        raise DataError(f"{name} has shape {shape} but {len(content)} bytes; make it again")
    order: Literal["F", "C"] = "F" if is_fortran else "C"
    return np.ndarray(shape, dtype, content, start, order=order)


@lru_cache(maxsize=256)
def _header(version: tuple[int, int], header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse a header, which numpy does by a Python parser; most files have the same ones."""
    return _HEADERS[version](io.BytesIO(header))


def _check_audio(path: Path, audio: NDArray[np.generic]) -> Array:
    if audio.ndim != 1:
        raise DataError(f"{path}: audio has shape {audio.shape}; it must be (T,), one channel")
    if audio.size == 0:
        raise DataError(f"{path}: audio is empty; remove the file or make it again")
    if not np.issubdtype(audio.dtype, np.floating):
        raise DataError(f"{path}: audio is {audio.dtype}; save it as float32 from -1 to 1")
    audio = _as_float32(audio)
    bad = ~np.isfinite(audio)
    if bad.any():
        raise DataError(
            f"{path}: audio has {count_noun(bad.sum(), 'NaN or infinite value')}, the first at "
            f"{int(bad.argmax())}; remove or repair the clip"
        )
    if not audio.any():
        raise DataError(f"{path}: audio is all zero; remove the file")
    return audio


def _check_style(path: Path, name: str, style: NDArray[np.generic]) -> Array:
    rows, width = shape = _STYLE_SHAPES[name]
    if style.shape not in (shape, (1, *shape)):
        raise DataError(f"{path}: {name} has shape {style.shape}; it must be [1, {rows}, {width}]")
    if not np.issubdtype(style.dtype, np.floating):
        raise DataError(f"{path}: {name} is {style.dtype}; save it as float32")
    style = _as_float32(style.reshape(shape))
    if problem := finite_problem(name, style):
        raise DataError(f"{path}: {problem}")
    return style


def _as_float32(array: NDArray[np.generic]) -> Array:
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are then rejected
        return array.astype(np.float32, copy=False)


def _check_text(path: Path, name: str, text: NDArray[np.generic]) -> str:
    if text.size != 1:
        raise DataError(f"{path}: {name} has shape {text.shape}; save one string")
    try:
        return str(text.item())
    except (ValueError, SystemError) as error:  # a code point beyond Unicode
        raise DataError(f"{path}: {name} is not valid text ({error}); save it again") from error


def _check_sample_rate(path: Path, rate: NDArray[np.generic] | None) -> int | None:
    if rate is None:
        return None
    if rate.size != 1 or rate.dtype.kind not in "iuf" or not 4000 <= rate.item() <= 384000:
        shown = np.array2string(rate) if rate.size <= 5 else f"of shape {rate.shape}"
        raise DataError(f"{path}: sample_rate is {shown}; it must be from 4000 to 384000 Hz")
    return int(rate.item())
