"""The pack: features and targets of a data set, computed once and shared by all trials.

A pack is a folder in the cache, named by a hash of its source (the data's fingerprint and the
front-end settings). Large arrays are float16 files, which processes memory-map instead of reading.

Shapes: N clips, V unique styles, F frames of all clips, M mel bands, K copies of a clip.
"""

import dataclasses
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import SettingValue
from tune_encoder.data.pack_info import PACK_FORMAT, PackInfo
from tune_encoder.data.samples import SPLITS
from tune_encoder.data.score_words import kind_of_voices
from tune_encoder.data.scores import KnownVoices, Styles, identities_of, known_voices
from tune_encoder.data.style_statistics import Statistics
from tune_encoder.data.voice_style import TTL_SHAPE
from tune_encoder.errors import StorageError
from tune_encoder.system.damage import parse_json
from tune_encoder.system.shortage import shortage

# Each in its own file, since a trial reads few of its rows.
BASIS_FILES = {"ttl_basis": "ttl_basis.f16", "joint_basis": "joint_basis.f16"}
WINDOWS_FILE = "{split}_windows.f32"
COPIES_FILE = "train_copies.f16"

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Pack:
    """The clips of one split."""

    features: NDArray[np.float16]
    """(F, M) log-mel frames of all clips, concatenated, memory-mapped."""
    starts: NDArray[np.int64]
    """(N + 1,) first frame of each clip; the last entry is F."""
    unique_styles: Styles
    """The V unique styles; `ttl` in float16, memory-mapped."""
    style_ids: NDArray[np.int64]
    """(N,) index of each clip's style among them."""
    voices: list[str]
    """Voice of each clip; the file's name where the sample has no voice."""
    named: NDArray[np.bool_]
    """(N,) whether the sample of a clip has a voice."""
    bands: Array
    """(N, 2 M) mean and standard deviation of each band, per clip."""
    windows: Array
    """(W, S) `data.window_statistics` of windows spread over the clips, memory-mapped."""
    window_clips: NDArray[np.int64]
    """(W,) index of each window's clip, in increasing order."""
    copies: NDArray[np.float16]
    """(K F, M) frames of the K copies of each clip, clip by clip, memory-mapped; or (0, M)."""

    def __len__(self) -> int:
        return len(self.voices)

    def clip(self, i: int) -> NDArray[np.float16]:
        """Return the frames (F_i, M) of one clip."""
        return self.features[self.starts[i] : self.starts[i + 1]]

    def versions(self, i: int) -> list[NDArray[np.float16]]:
        """Return the frames (F_i, M) of one clip, then those of its copies."""
        return split_versions(
            self.features, self.copies, int(self.starts[i]), int(self.starts[i + 1])
        )

    @property
    def has_copies(self) -> bool:
        """Whether any clip has copies."""
        return len(self.copies) > 0

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) number of frames of each clip."""
        return np.diff(self.starts)

    @property
    def styles(self) -> Styles:
        """The style of every clip, in float32; read from disk at each access."""
        return Styles(
            self.unique_styles.ttl[self.style_ids].astype(np.float32),
            self.unique_styles.dp[self.style_ids],
        )


@dataclass(frozen=True)
class JoinedPack(Pack):
    """The concatenated clips of several packs; `features` are those of the first."""

    parts: tuple[Pack, ...]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.concatenate([part.lengths for part in self.parts])

    def clip(self, i: int) -> NDArray[np.float16]:
        for part in self.parts:
            if i < len(part):
                return part.clip(i)
            i -= len(part)
        raise IndexError(i)

    def versions(self, i: int) -> list[NDArray[np.float16]]:
        for part in self.parts:
            if i < len(part):
                return part.versions(i)
            i -= len(part)
        raise IndexError(i)


def split_versions(
    features: NDArray[np.float16], copies: NDArray[np.float16], start: int, end: int
) -> list[NDArray[np.float16]]:
    """Return a clip and its copies: frames `start` to `end`, see `Pack.features` and `copies`."""
    count = len(copies) // max(1, len(features))
    of_copies = np.split(copies[count * start : count * end], count) if count else []
    return [features[start:end], *of_copies]


@dataclass(frozen=True)
class PackedData:
    """A data set ready to train on."""

    train: Pack
    val: Pack
    test: Pack | None
    statistics: Statistics
    info: PackInfo
    """Fingerprint, front-end settings, counts, warnings, and the baselines of each split."""
    folder: Path | None = None
    """Where the closed form that was fitted to the whole training split is stored."""

    @property
    def identity(self) -> dict[str, SettingValue]:
        """What identifies these features: the data, its size, the front end and the copies."""
        counts = {f"{name}_clips": count for name, count in self.info["clips"].items()}
        made = {**self.info["frontend"], **self.info.get("copies", {})}
        return {"fingerprint": self.info["fingerprint"][:16], **counts, **made}

    def split(self, name: str) -> Pack:
        """Return val or test, which must be there."""
        split = {"val": self.val, "test": self.test}[name]
        assert split is not None
        return split

    def voice_kind(self, split: str) -> str:
        """Whether the voices of a split are `KNOWN`, `NEW` or `MIXED` to one trained on train."""
        return self.info["voice_kinds"][split]

    @cached_property
    def known_voices(self) -> KnownVoices:
        """The training styles among which retrieval searches too."""
        return known_voices(self.train.unique_styles, self.statistics)

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Scores of *mean*, *ridge* and *statistics* on the validation split."""
        return self.info["baselines"]["val"]


def merge_train_and_val(data: PackedData) -> PackedData:
    """Return the data with the val clips added to train; statistics do not change."""
    train, val = data.train, data.val
    both = (train, val)
    unique_styles, style_ids = _merge_styles(train, val)
    joined = JoinedPack(
        features=train.features,
        starts=train.starts,
        unique_styles=unique_styles,
        style_ids=style_ids,
        voices=[*train.voices, *val.voices],
        named=np.concatenate([train.named, val.named]),
        bands=np.concatenate([train.bands, val.bands]),
        windows=np.concatenate([train.windows, val.windows]),
        window_clips=np.concatenate([train.window_clips, val.window_clips + len(train)]),
        copies=train.copies,
        parts=both,
    )
    clips = {**data.info["clips"], "train": len(joined)}
    kinds = data.info["voice_kinds"]
    if data.test is not None:
        known, test = (identities_of(each.unique_styles) for each in (joined, data.test))
        kinds = {**kinds, "test": kind_of_voices(known, test)}
    info: PackInfo = {**data.info, "clips": clips, "voice_kinds": kinds}
    return dataclasses.replace(data, train=joined, info=info, folder=None)


def _merge_styles(first: Pack, second: Pack) -> tuple[Styles, NDArray[np.int64]]:
    """The unique styles of two packs, and the index (N,) of each clip's style among them.

    A style of both is there once: a voice that is left out must not be known under another index.
    """
    ttl, dp = (
        np.concatenate([getattr(pack.unique_styles, part) for pack in (first, second)])
        for part in ("ttl", "dp")
    )
    numbers: dict[bytes, int] = {}
    keys = identities_of(Styles(ttl, dp))
    merged = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    kept = np.unique(merged, return_index=True)[1]
    style_ids = np.concatenate([first.style_ids, second.style_ids + len(first.unique_styles.ttl)])
    return Styles(ttl[kept], dp[kept]), merged[style_ids]


def open_pack(folder: Path) -> PackedData:
    """Memory-map a pack.

    Raises:
        StorageError: if it is missing, truncated or of another format.
    """
    try:
        info = parse_json((folder / "pack.json").read_text(encoding="utf-8"))
        if info["format"] != PACK_FORMAT:
            raise StorageError(
                f"{folder}: unsupported pack format {info['format']}; remove the folder"
            )
        for name, size in info["sizes"].items():
            if (folder / name).stat().st_size != size:
                raise StorageError(f"{folder / name}: truncated; remove {folder} to make it again")
        packs = {name: open_split(folder, name) for name in SPLITS if name in info["clips"]}
        with np.load(folder / "statistics.npz") as arrays:
            fields: dict[str, Any] = dict(arrays)
        width = {"ttl_basis": fields["ttl_mean"].size}
        width["joint_basis"] = width["ttl_basis"] + fields["dp_mean"].size
        for name, file in BASIS_FILES.items():
            fields[name] = memory_map(folder / file, width[name])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        problem = shortage(str(error)) or f"not a usable pack ({error}); remove the folder"
        raise StorageError(f"{folder}: {problem}") from error
    for name in ("ttl_variance", "dp_variance"):
        fields[name] = float(fields[name])
    return PackedData(
        packs["train"], packs["val"], packs.get("test"), Statistics(**fields), info, folder
    )


def open_split(folder: Path, name: str) -> Pack:
    """Memory-map one split of a pack."""
    with np.load(folder / f"{name}.npz") as arrays:
        fields: dict[str, Any] = dict(arrays)
    copies = folder / COPIES_FILE
    n_mels, voices = int(fields.pop("n_mels")), [str(voice) for voice in fields.pop("voices")]
    return Pack(
        features=memory_map(folder / f"{name}.f16", n_mels),
        unique_styles=Styles(memory_map(folder / f"{name}_ttl.f16", *TTL_SHAPE), fields.pop("dp")),
        style_ids=fields.pop("style"),
        voices=voices,
        copies=memory_map(copies, n_mels)
        if name == "train" and copies.exists()
        else np.empty((0, n_mels), np.float16),
        windows=_open_windows(folder / WINDOWS_FILE.format(split=name), fields["window_clips"]),
        **fields,
    )


def _open_windows(path: Path, clips: NDArray[np.int64]) -> Array:
    return np.memmap(path, dtype=np.float32, mode="r").reshape(len(clips), -1)


def memory_map(path: Path, *shape: int) -> Any:
    """Memory-map a float16 file of arrays of this shape.

    Copy-on-write: pages are shared, and torch does not warn about a read-only array.
    """
    return np.memmap(path, dtype=np.float16, mode="c").reshape(-1, *shape)
