"""voices.npz: the styles of the training voices, beside a model, to tell which one a clone is near.

It holds `names` (V,), `style_ttl` (V, 50, 256) and `style_dp` (V, 8, 16), the styles in float16;
numpy reads it without unpickling anything.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.errors import StorageError
from tune_encoder.files import write_whole
from tune_encoder.manifest import load_listed

VOICES = "voices.npz"
MOST_VOICES = 1000  # 26 MB; of more, as many spread evenly over all

Array = NDArray[np.float32]


@dataclass(frozen=True)
class KnownVoices:
    """V voices and their styles."""

    names: list[str]
    """(V,)"""
    ttl: Array
    """(V, 50, 256)"""
    dp: Array
    """(V, 8, 16)"""


def known_voices(names: Sequence[str], ttl: Array, dp: Array) -> KnownVoices:
    """Return one style of each voice, of N clips that have the voices `names` (N,)."""
    first: dict[bytes, int] = {}
    for i, key in enumerate(style_keys(ttl)):
        first.setdefault(key, i)
    chosen = np.array(list(first.values()))
    if len(chosen) > MOST_VOICES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MOST_VOICES).round().astype(int)]
    return KnownVoices([names[i] for i in chosen], ttl[chosen], dp[chosen])


def style_keys(ttl: Array) -> list[bytes]:
    """Return a short name for each of the styles (N, 50, 256); equal styles have equal names."""
    return [hashlib.blake2b(style.tobytes(), digest_size=16).digest() for style in ttl]


def write_voices(folder: Path, voices: KnownVoices) -> None:
    """Write `voices.npz` into a model folder."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        names=np.array(voices.names, dtype=np.str_),
        style_ttl=voices.ttl.astype(np.float16),
        style_dp=voices.dp.astype(np.float16),
    )
    write_whole(folder / VOICES, content.getvalue())


def read_voices(folder: Path) -> KnownVoices | None:
    """Read the voices of a model folder, or return None where they are not kept.

    Raises:
        StorageError: if the file is damaged.
    """
    path = folder / VOICES
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(load_listed(path)), allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["names"]]
            styles = (arrays[name].astype(np.float32) for name in ("style_ttl", "style_dp"))
            return KnownVoices(names, *styles)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path}: damaged ({error}); export the model again") from error
