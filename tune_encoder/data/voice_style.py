"""Supertonic voice styles: two arrays, and their JSON file.

Shapes: `ttl` (50, 256) timbre, `dp` (8, 16) rhythm; every row has L2 norm 1. In the JSON they
are nested, [1][50][256] and [1][8][16]: Supertonic's Rust, Go, Swift, Java and C++ loaders read no
other form.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.errors import DataError, StorageError
from tune_encoder.system.files import atomic_write, check_regular
from tune_encoder.system.formats import count_noun

TTL_SHAPE = (50, 256)
DP_SHAPE = (8, 16)
MIN_ROW_NORM, MAX_ROW_NORM = 0.9, 1.2  # styles found by inversion reach 0.97 to 1.18
SAME_VERSION_COSINE = 0.5  # of flattened ttl: 0.75 to 1 within a version, -0.02 to 0.02 across
SAME_VOICE_DISTANCE = 0.01  # RMS over rows: rounding to 4 digits is below, presets differ by 0.26
_SHAPES = {"style_ttl": TTL_SHAPE, "style_dp": DP_SHAPE}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class VoiceStyle:
    """The style of one voice, for Supertonic."""

    ttl: Array
    dp: Array

    def normalized(self) -> "VoiceStyle":
        """Return the style with rows of norm 1."""
        return VoiceStyle(unit_rows(self.ttl), unit_rows(self.dp))

    def digest(self) -> str:
        """Return a SHA-256 of its numbers."""
        return hashlib.sha256(self.ttl.tobytes() + self.dp.tobytes()).hexdigest()


def unit_rows(style: NDArray[np.floating]) -> Array:
    """Scale each row (last axis) to L2 norm 1."""
    with np.errstate(over="ignore"):  # in float32 above 1e19
        norms = np.linalg.norm(style, axis=-1, keepdims=True)
    if not np.isfinite(norms).all():
        norms = np.linalg.norm(style.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(style / norms, dtype=np.float32)


def style_problem(name: str, style: NDArray[np.floating]) -> str | None:
    """Return why the array is not a valid style, or None if it is."""
    return finite_problem(name, style) or norm_problem(name, style)


def finite_problem(name: str, style: NDArray[np.floating]) -> str | None:
    """Return how many values are not finite, or None if all are."""
    if np.isfinite(style).all():
        return None
    return f"{name} has {count_noun((~np.isfinite(style)).sum(), 'NaN or infinite value')}"


def norm_problem(name: str, style: NDArray[np.floating]) -> str | None:
    """Return which row of a finite style is farthest from norm 1, or None if all are near it."""
    norms = np.linalg.norm(style.astype(np.float64), axis=-1)  # float32 overflows above 1e19
    worst = int(np.abs(norms - 1).argmax())
    if not MIN_ROW_NORM <= norms[worst] <= MAX_ROW_NORM:
        return (
            f"{name} row {worst} has norm {norms[worst]:.3g}; Supertonic styles have rows of "
            f"norm 1 ({MIN_ROW_NORM} to {MAX_ROW_NORM} is accepted)"
        )
    return None


def read_voice_style(path: Path) -> VoiceStyle:
    """Read a style JSON, its data nested, or flat with `dims` or `shape`; rows get norm 1.

    Raises:
        DataError: naming the file and what is wrong.
    """
    check_regular(path, "a style JSON")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a readable style JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a style; it must have style_ttl and style_dp")
    ttl, dp = (_read_part(path, content, name) for name in _SHAPES)
    return VoiceStyle(ttl, dp).normalized()


def _read_part(path: Path, content: dict[str, object], name: str) -> Array:
    part = content.get(name)
    if not isinstance(part, dict) or "data" not in part:
        raise DataError(f"{path}: has no {name} with data; it must have style_ttl and style_dp")
    shape = (1, *_SHAPES[name])
    dims = part.get("dims", part.get("shape"))
    if dims not in (None, list(shape)):
        raise DataError(f"{path}: {name} has dims {dims}; they must be {list(shape)}")
    try:
        style = np.array(part["data"], dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}: {name} has values that are not numbers ({error})") from error
    if style.size != np.prod(shape):
        raise DataError(f"{path}: {name} has {style.size} numbers; {np.prod(shape)} are needed")
    flat = () if dims is None else ((style.size,),)  # nothing would say how to fold it
    if style.shape not in (shape, shape[1:], *flat):
        raise DataError(
            f"{path}: {name} is nested as {list(style.shape)}; it must be {list(shape)}, or flat "
            "with dims"
        )
    style = style.reshape(_SHAPES[name])
    if problem := style_problem(name, style):
        raise DataError(f"{path}: {problem}")
    return style.astype(np.float32)


def check_same_version(styles: Mapping[Path, VoiceStyle]) -> None:
    """Check that all styles are of the same Supertonic version; the versions' styles are unrelated.

    Args:
        styles: Each style and the file it came from; at least one.

    Raises:
        DataError: naming two files of different versions.
    """
    (first, reference), *others = styles.items()
    for path, style in others:
        cosine = float((reference.ttl * style.ttl).sum() / len(style.ttl))  # rows have norm 1
        if cosine < SAME_VERSION_COSINE:
            raise DataError(
                f"{path} and {first} are of different Supertonic versions (cosine {cosine:.2f}; "
                "within a version it is above 0.7); use styles of one version only"
            )


def same_styles(styles: Mapping[str, VoiceStyle]) -> list[list[str]]:
    """Return the names of each group of at least two voices whose timbre is the same.

    Args:
        styles: The style of each voice.
    """
    names = [*styles]
    rows = np.reshape([styles[name].ttl for name in names], (len(names), -1)) / TTL_SHAPE[0] ** 0.5
    groups: list[list[str]] = []
    left = np.ones(len(names), dtype=bool)
    for number in range(len(names)):
        if not left[number]:
            continue
        same = left & (np.linalg.norm(rows - rows[number], axis=1) < SAME_VOICE_DISTANCE)
        left &= ~same
        if same.sum() > 1:
            groups.append([names[index] for index in np.flatnonzero(same)])
    return groups


def write_voice_style(path: Path, style: VoiceStyle, metadata: dict[str, object]) -> None:
    """Write the JSON that every Supertonic loader reads; `path` is absent, old, or complete.

    Raises:
        StorageError: if the file cannot be written.
    """
    normal = style.normalized()
    content = {
        "style_ttl": _to_json(normal.ttl),
        "style_dp": _to_json(normal.dp),
        "metadata": metadata,
    }
    try:
        atomic_write(path, json.dumps(content, allow_nan=False).encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def _to_json(style: Array) -> dict[str, object]:
    return {"data": [style.tolist()], "dims": [1, *style.shape], "type": "float32"}
