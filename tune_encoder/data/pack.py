"""The pack: features and targets of a data set, computed once and shared by all trials.

A pack is a folder in the cache, named by a hash of its source (the data's fingerprint and the
front-end settings). Large arrays are float16 files, which processes memory-map instead of reading.

Shapes: N clips, V unique styles, F frames of all clips, M mel bands.
"""

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import FrontendSettings, SettingValue
from tune_encoder.data.checking import DataCheck, check_data, fingerprint, warning_messages
from tune_encoder.data.demo import cached_demo, demo_folder
from tune_encoder.data.pack_info import (
    PACK_FORMAT,
    PackIdentity,
    PackInfo,
    pack_folder,
    pack_identity,
)
from tune_encoder.data.samples import SPLITS, Sample, find_samples
from tune_encoder.data.scores import Styles, fit_ridge, mean_styles, score
from tune_encoder.data.style_statistics import Statistics, style_statistics
from tune_encoder.data.voice_style import TTL_SHAPE
from tune_encoder.errors import StorageError
from tune_encoder.system.files import atomic_folder

_BASIS_FILE = "ttl_basis.f16"  # in its own file, since a trial reads few of its rows
MAX_RIDGE_CLIPS = 2000  # enough for 160 predictors; more only costs memory

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

    def __len__(self) -> int:
        return len(self.voices)

    def clip(self, i: int) -> NDArray[np.float16]:
        """Return the frames (F_i, M) of one clip."""
        return self.features[self.starts[i] : self.starts[i + 1]]

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

    def clip(self, i: int) -> NDArray[np.float16]:
        for part in self.parts:
            if i < len(part):
                return part.clip(i)
            i -= len(part)
        raise IndexError(i)


@dataclass(frozen=True)
class PackedData:
    """A data set ready to train on."""

    train: Pack
    val: Pack
    test: Pack | None
    statistics: Statistics
    info: PackInfo
    """Fingerprint, front-end settings, counts, warnings, and the baselines of each split."""

    @property
    def identity(self) -> dict[str, SettingValue]:
        """What identifies these features: the data, its size, and the front-end settings."""
        counts = {f"{name}_clips": count for name, count in self.info["clips"].items()}
        return {"fingerprint": self.info["fingerprint"][:16], **counts, **self.info["frontend"]}

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Scores of *mean* and *ridge* on the validation split."""
        return self.info["baselines"]["val"]


def merge_train_and_val(data: PackedData) -> PackedData:
    """Return the data with the val clips added to train; statistics do not change."""
    train, val = data.train, data.val
    both = (train, val)
    unique_styles = (
        np.concatenate([getattr(pack.unique_styles, part) for pack in both])
        for part in ("ttl", "dp")
    )
    style_ids = np.concatenate([train.style_ids, val.style_ids + len(train.unique_styles.ttl)])
    voices = [*train.voices, *val.voices]
    joined = JoinedPack(
        train.features, train.starts, Styles(*unique_styles), style_ids, voices, both
    )
    clips = {**data.info["clips"], "train": len(joined)}
    return dataclasses.replace(data, train=joined, info={**data.info, "clips": clips})


def pack_data(data_dir: Path, settings: FrontendSettings) -> Path:
    """Return the folder of the data set's pack; if there is none, check the data and make it.

    Raises:
        DataError: naming the files that cannot be used.
    """
    if data_dir.resolve() == demo_folder().resolve():
        cached_demo()  # the cache may have been cleared since the search began
    if not all(find_samples(data_dir / name) for name in ("train", "val")):
        check_data(data_dir, settings.sample_rate).raise_errors(data_dir)
    identity = pack_identity(fingerprint(data_dir), settings)
    folder = pack_folder(identity["fingerprint"], settings)
    if not folder.exists():
        _write_pack(folder, data_dir, settings, identity)
    return folder


def pack_of_search(data_dir: Path, expected: str, settings: FrontendSettings) -> Path:
    """Return the pack of a search's data.

    Args:
        data_dir: The data set.
        expected: Its fingerprint when the search began.
        settings: Of the front end.

    Raises:
        DataError: if the data is missing or damaged.
        StorageError: if it has changed since the search began.
    """
    pack = pack_data(data_dir, settings)
    check_same_data(data_dir, expected, open_pack(pack).info["fingerprint"])
    return pack


def check_same_data(data_dir: Path, expected: str, found: str) -> None:
    """Raise a `StorageError` if the fingerprints of a search's data and of `data_dir` differ."""
    if found != expected:
        raise StorageError(
            f"{data_dir}: not the data that the search began with; restore it, start a new search, "
            "or continue with this data by `resume --accept-data-change`"
        )


def open_pack(folder: Path) -> PackedData:
    """Memory-map a pack.

    Raises:
        StorageError: if it is missing, truncated or of another format.
    """
    try:
        info = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        if info["format"] != PACK_FORMAT:
            raise StorageError(
                f"{folder}: unsupported pack format {info['format']}; remove the folder"
            )
        for name, size in info["sizes"].items():
            if (folder / name).stat().st_size != size:
                raise StorageError(f"{folder / name}: truncated; remove {folder} to make it again")
        packs = {name: _open_split(folder, name) for name in SPLITS if name in info["clips"]}
        with np.load(folder / "statistics.npz") as arrays:
            fields: dict[str, Any] = dict(arrays)
        fields["ttl_basis"] = _memmap(folder / _BASIS_FILE, fields["ttl_mean"].size)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise StorageError(f"{folder}: not a usable pack ({error}); remove the folder") from error
    for name in ("ttl_variance", "dp_variance"):
        fields[name] = float(fields[name])
    return PackedData(packs["train"], packs["val"], packs.get("test"), Statistics(**fields), info)


def _open_split(folder: Path, name: str) -> Pack:
    with np.load(folder / f"{name}.npz") as arrays:
        starts, style_ids, dp = arrays["starts"], arrays["style"], arrays["dp"]
        voices = [str(voice) for voice in arrays["voices"]]
        n_mels = int(arrays["n_mels"])
    unique_styles = Styles(_memmap(folder / f"{name}_ttl.f16", *TTL_SHAPE), dp)
    return Pack(_memmap(folder / f"{name}.f16", n_mels), starts, unique_styles, style_ids, voices)


def _memmap(path: Path, *shape: int) -> Any:
    """Memory-map a file of arrays of this shape.

    Copy-on-write: pages are shared, and torch does not warn about a read-only array.
    """
    return np.memmap(path, dtype=np.float16, mode="c").reshape(-1, *shape)


# --- making ------------------------------------------------------------------------------------


class _ClipFeatures(NamedTuple):
    """The features of a clip and their statistics."""

    features: NDArray[np.float16]
    """(F, M)"""
    bands: Array
    """(2 M,) mean and standard deviation of each band."""


@dataclass(frozen=True)
class _Split:
    """The part of a split kept in memory, while its features are on disk."""

    lengths: list[int]
    styles: Styles
    voices: list[str]
    band_statistics: Array
    """(N, 2 M) mean and standard deviation of each band, per clip."""


class _PackedClip(NamedTuple):
    """The part of a clip kept in memory."""

    length: int
    ttl: Array
    dp: Array
    voice: str
    bands: Array


def _merge_clips(clips: list[_PackedClip]) -> _Split:
    lengths, ttl, dp, voices, bands = zip(*clips, strict=True)
    return _Split(list(lengths), Styles(np.stack(ttl), np.stack(dp)), list(voices), np.stack(bands))


def _write_pack(
    folder: Path, data_dir: Path, settings: FrontendSettings, identity: PackIdentity
) -> None:
    check = DataCheck(data_dir, settings.sample_rate)
    with atomic_folder(folder, replace=True) as partial:  # another process may have been faster
        splits = _write_splits(partial, check, settings)
        statistics = _write_statistics(partial, splits["train"], settings.n_mels)
        info = {
            "format": PACK_FORMAT,
            **identity,
            "warnings": warning_messages(check.report().problems),
            "clips": {name: len(split.voices) for name, split in splits.items()},
            "voices": {name: len(set(split.voices)) for name, split in splits.items()},
            "hours": {name: _hours(split, settings) for name, split in splits.items()},
            "baselines": _baselines(splits, statistics),
            "sizes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
        }
        (partial / "pack.json").write_text(json.dumps(info, indent=2), encoding="utf-8")


def _write_splits(folder: Path, check: DataCheck, settings: FrontendSettings) -> dict[str, _Split]:
    """Write all splits; raises a `DataError` that names the invalid files."""
    read: dict[str, list[_PackedClip]] = {}
    with _feature_extractor(settings) as make:
        for name, path, sample, (features, bands) in check.samples("packing", make):
            with (folder / f"{name}.f16").open("ab") as file:
                file.write(features.tobytes())
            voice = sample.voice or path.stem
            clip = _PackedClip(len(features), sample.style_ttl, sample.style_dp, voice, bands)
            read.setdefault(name, []).append(clip)
    check.report().raise_errors(check.data_dir)
    # `pop` frees each split's clips once merged, so at most one split is in memory twice.
    splits = {name: _merge_clips(read.pop(name)) for name in list(read)}
    for name, split in splits.items():
        _write_styles(folder, name, split, settings.n_mels)
    return splits


@contextmanager
def _feature_extractor(settings: FrontendSettings) -> Iterator[Callable[[Sample], _ClipFeatures]]:
    """Yield the function that computes a clip's features, to call in several threads."""
    import torch  # here, because the driver needs no torch if the pack exists

    from tune_encoder.data.audio import resample
    from tune_encoder.data.log_mel import log_mel

    def make(sample: Sample) -> _ClipFeatures:
        rate = sample.sample_rate or settings.sample_rate
        audio = resample(sample.audio, rate, settings.sample_rate)
        mel = log_mel(torch.from_numpy(audio), settings)
        features = mel.T.contiguous().to(torch.float16)
        deviation, mean = torch.std_mean(features.float(), dim=0, correction=0)
        return _ClipFeatures(features.numpy(), torch.cat([mean, deviation]).numpy())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one clip per thread is faster than one clip on all threads
    try:
        yield make
    finally:
        torch.set_num_threads(threads)


def _write_styles(folder: Path, name: str, split: _Split, n_mels: int) -> None:
    style_ids, first = _deduplicate(split.styles)
    _write_float16(folder / f"{name}_ttl.f16", split.styles.ttl[first])
    np.savez(
        folder / f"{name}.npz",
        starts=np.cumsum([0, *split.lengths], dtype=np.int64),
        style=style_ids,
        dp=split.styles.dp[first],  # small, and float16 would lose differences between voices
        voices=np.array(split.voices),
        n_mels=n_mels,
    )


def _deduplicate(styles: Styles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the unique styles; return (N,) the style of each clip, (V,) a clip per style."""
    numbers: dict[bytes, int] = {}
    digests = (hashlib.sha256(row).digest() for row in styles.flatten())
    style_ids = np.array([numbers.setdefault(digest, len(numbers)) for digest in digests])
    return style_ids, np.unique(style_ids, return_index=True)[1]


def _write_float16(path: Path, array: Array) -> None:
    """Write float16; it moves a style_ttl by a thousandth of the distance between voices."""
    import torch  # many times faster than numpy here

    torch.from_numpy(np.ascontiguousarray(array)).to(torch.float16).numpy().tofile(path)


def _write_statistics(folder: Path, train: _Split, n_mels: int) -> Statistics:
    weights = np.array(train.lengths, dtype=np.float64)[:, None] / sum(train.lengths)
    means, deviations = train.band_statistics[:, :n_mels], train.band_statistics[:, n_mels:]
    mel_mean = (weights * means).sum(axis=0)
    mel_square = (weights * (np.square(means) + np.square(deviations))).sum(axis=0)
    fields: dict[str, Any] = {
        "mel_mean": mel_mean.astype(np.float32),
        # In a constant band, such as one above the recordings' Nyquist frequency, the difference
        # may be slightly below 0 by rounding.
        "mel_std": np.sqrt(np.maximum(mel_square - np.square(mel_mean), 0)).astype(np.float32),
        **style_statistics(train.styles.ttl, train.styles.dp),
    }
    arrays_to_save = {name: value for name, value in fields.items() if name != "ttl_basis"}
    np.savez(folder / "statistics.npz", **arrays_to_save)
    _write_float16(folder / _BASIS_FILE, fields["ttl_basis"])
    return Statistics(**fields)


def _baselines(
    splits: dict[str, _Split], statistics: Statistics
) -> dict[str, dict[str, dict[str, float]]]:
    train = splits["train"]
    rows = np.random.default_rng(0).permutation(len(train.voices))[:MAX_RIDGE_CLIPS]
    styles = Styles(train.styles.ttl[rows], train.styles.dp[rows])
    ridge = fit_ridge(train.band_statistics[rows], styles)
    return {
        name: {
            "mean": score(mean_styles(statistics, len(split.voices)), split.styles, statistics),
            "ridge": score(ridge.predict(split.band_statistics), split.styles, statistics),
        }
        for name, split in splits.items()
        if name != "train"
    }


def _hours(split: _Split, settings: FrontendSettings) -> float:
    return round(sum(split.lengths) * settings.hop_length / settings.sample_rate / 3600, 4)
