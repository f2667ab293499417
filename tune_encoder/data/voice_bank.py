"""Known voices to compare a style with: those of a model's training set, or presets.

Shapes: V voices; a flattened style has 12,928 numbers.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.scores import Styles
from tune_encoder.data.voice_style import (
    DP_SHAPE,
    TTL_SHAPE,
    Array,
    VoiceStyle,
    read_voice_style,
    unit_rows,
)
from tune_encoder.errors import DataError, StorageError
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.files import files_with_suffix
from tune_encoder.system.manifest import load_verified, save_with_hash

VOICES = "voices.npz"
LEAST_UNIT = 1e-6  # distance of voices; less is rounding, of rows of norm 1


@dataclass(frozen=True)
class VoiceBank:
    """Named voices with their styles."""

    names: list[str]
    styles: Styles
    """`ttl` (V, 50, 256) and `dp` (V, 8, 16), rows of norm 1."""

    @cached_property
    def unit(self) -> float | None:
        """RMS distance between two voices; None if there is one, or all are of one style."""
        usual = _root_mean_square_distance(self.styles.flatten())
        return usual if usual > LEAST_UNIT else None

    def nearest(self, style: VoiceStyle) -> tuple[str, float | None]:
        """Return the name of the nearest voice and the distance to it.

        The distance is Euclidean over the flattened style, in units of `unit`: 0 is that voice, 1
        is as far as another voice. Without a unit it is None.
        """
        return self.nearest_few(style, 1)[0]

    def nearest_few(self, style: VoiceStyle, count: int) -> list[tuple[str, float | None]]:
        """Return at most `count` voices with their distances, the nearest first; see `nearest`."""
        distances = np.linalg.norm(self.styles.flatten() - _flat(style), axis=1)
        order = np.argsort(distances, kind="stable")[:count].tolist()
        return [(self.names[i], self.unit and float(distances[i] / self.unit)) for i in order]

    def spread(self, styles: Sequence[VoiceStyle]) -> float | None:
        """Return the RMS distance between two of at least two styles, in the same units, if any."""
        among = _root_mean_square_distance(np.concatenate([_flat(style) for style in styles]))
        return self.unit and among / self.unit

    def distances(self, styles: Sequence[VoiceStyle]) -> NDArray[np.float64] | None:
        """Return the distances (N, N) of N styles from each other, in the same units, if any."""
        if self.unit is None:
            return None
        rows = np.concatenate([_flat(style) for style in styles]).astype(np.float64)
        return np.stack([np.linalg.norm(rows - row, axis=1) for row in rows]) / self.unit


def _flat(style: VoiceStyle) -> Array:
    """A style as one row, (1, 12928)."""
    return Styles(style.ttl[None], style.dp[None]).flatten()


def _root_mean_square_distance(known: Array) -> float:
    """RMS distance of two different rows: the root of twice the variance, summed over columns."""
    if len(known) == 1:
        return 0.0
    return float(np.sqrt(2 * known.var(axis=0, ddof=1, dtype=np.float64).sum()))


def bank_of_clips(voices: Sequence[str], styles: Styles) -> VoiceBank:
    """Return the bank of a split's voices, each with the mean style of its clips.

    Args:
        voices: Voice of each clip, as in `Pack.voices`.
        styles: Their styles, as in `Pack.styles`.
    """
    names, owner = np.unique(np.array(voices), return_inverse=True)
    counts = np.bincount(owner)[:, None, None]
    parts = []
    for clips in (styles.ttl, styles.dp):
        sums = np.zeros((len(names), *clips.shape[1:]))
        np.add.at(sums, owner, clips)
        parts.append(unit_rows(sums / counts))
    return VoiceBank([str(name) for name in names], Styles(*parts))


def write_bank(folder: Path, bank: VoiceBank, epoch: int) -> None:
    """Write `voices.npz` into a model's folder, listed in its manifest.

    Half precision moves a style by a thousandth of the distance between two voices.

    Args:
        folder: The model's folder.
        bank: At least one voice.
        epoch: Number of finished epochs, recorded in the manifest.
    """
    content = io.BytesIO()
    halves = {part: getattr(bank.styles, part).astype(np.float16) for part in ("ttl", "dp")}
    np.savez(content, names=np.array(bank.names), **halves)
    save_with_hash(folder / VOICES, content.getvalue(), epoch)


def read_bank(folder: Path) -> VoiceBank | None:
    """Read a model's `voices.npz`; None if it has none.

    Raises:
        StorageError: if it is damaged.
    """
    path = folder / VOICES
    if not path.exists():
        return None
    content = io.BytesIO(load_verified(path))
    with refuse_damage(lambda why: _not_a_bank(path, why)):
        with np.load(content, allow_pickle=False) as file:
            names = [str(name) for name in file["names"].tolist()]
            ttl, dp = (unit_rows(file[part].astype(np.float32)) for part in ("ttl", "dp"))
        if (
            not names
            or ttl.shape != (len(names), *TTL_SHAPE)
            or dp.shape != (len(names), *DP_SHAPE)
        ):
            raise ValueError(f"{len(names)} names, ttl {ttl.shape}, dp {dp.shape}")
        return VoiceBank(names, Styles(ttl, dp))


def _not_a_bank(path: Path, why: str) -> StorageError:
    return StorageError(f"{path}: not a valid voice bank ({why}); remove it")


def read_styles(folder: Path) -> dict[Path, VoiceStyle]:
    """Read every style JSON of a folder.

    Raises:
        DataError: if the folder has none, or naming the file that is not a style.
    """
    styles = {path: read_voice_style(path) for path in files_with_suffix(folder, ".json")}
    if not styles:
        raise DataError(f"{folder}: has no style JSON; name a folder of styles, such as F1.json")
    return styles


def bank_of_presets(presets: dict[Path, VoiceStyle]) -> VoiceBank:
    """Return the bank of presets, named by their files."""
    ttl, dp = (np.stack([getattr(s, part) for s in presets.values()]) for part in ("ttl", "dp"))
    return VoiceBank([path.stem for path in presets], Styles(ttl, dp))


def find_styles(folder: Path) -> dict[Path, VoiceStyle]:
    """Read the styles in a folder, ignoring other files."""
    found = {}
    for path in files_with_suffix(folder, ".json"):
        try:
            found[path] = read_voice_style(path)
        except DataError:
            continue  # some other JSON file
    return found
