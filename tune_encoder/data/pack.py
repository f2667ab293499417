"""The pack: features and targets of a whole data set, made once, shared by every trial.

A pack is a folder in the cache, named by what it was made from (the data's fingerprint and the
front-end settings). What is large is float16 in files, which every process maps into memory instead
of reading.

Shapes: N clips, V different styles, F frames of all clips, M mel bands.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tune_encoder.config import FrontendSettings, cache_dir, to_mapping
from tune_encoder.data.checking import check_data, fingerprint, warnings_of
from tune_encoder.data.demo import cached_demo, demo_folder
from tune_encoder.data.samples import SPLITS, Sample, find_samples, read_sample
from tune_encoder.errors import StorageError
from tune_encoder.files import whole_folder
from tune_encoder.metrics import Styles, fit_ridge, mean_styles, score
from tune_encoder.statistics import Statistics, style_statistics
from tune_encoder.voice_style import TTL_SHAPE

PACK_FORMAT = 2
N_THREADS = max(1, os.cpu_count() or 1)  # torch's FFT and zip's checksum run outside the lock
_BASIS = "ttl_basis.f16"  # apart from the other statistics, since a trial reads few of its rows
RIDGE_CLIPS = 2000  # enough for 160 predictors; more would only cost memory

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Pack:
    """The clips of one split."""

    features: NDArray[np.float16]
    """(F, M) log-mel frames of all clips, one after another, mapped from disk."""
    starts: NDArray[np.int64]
    """(N + 1,) where each clip begins; the last entry is F."""
    known: Styles
    """The V different styles; `ttl` in float16, mapped from disk."""
    style: NDArray[np.int64]
    """(N,) which of them each clip has."""
    voices: list[str]
    """Voice of each clip; the file's name where the file names no voice."""

    def __len__(self) -> int:
        return len(self.voices)

    def clip(self, i: int) -> NDArray[np.float16]:
        """Frames (F_i, M) of one clip."""
        return self.features[self.starts[i] : self.starts[i + 1]]

    @property
    def styles(self) -> Styles:
        """Of every clip, in float32; read anew each time."""
        return Styles(self.known.ttl[self.style].astype(np.float32), self.known.dp[self.style])


@dataclass(frozen=True)
class JoinedPack(Pack):
    """The clips of several packs, one pack after another; `features` are those of the first."""

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
    info: dict[str, Any]
    """Fingerprint, front end, counts, warnings, and the baselines of each split."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these features from others: the data, its size, and the front end."""
        counts = {f"{name}_clips": count for name, count in self.info["clips"].items()}
        return {"fingerprint": self.info["fingerprint"][:16], **counts, **self.info["frontend"]}

    @property
    def baselines(self) -> dict[str, dict[str, float]]:
        """Scores of *mean* and *ridge* on the validation split."""
        baselines: dict[str, dict[str, float]] = self.info["baselines"]["val"]
        return baselines


def with_validation(data: PackedData) -> PackedData:
    """Return the data with the clips of val among those of train; statistics stay as they are."""
    train, val = data.train, data.val
    both = (train, val)
    known = (np.concatenate([getattr(pack.known, part) for pack in both]) for part in ("ttl", "dp"))
    style = np.concatenate([train.style, val.style + len(train.known.ttl)])
    voices = [*train.voices, *val.voices]
    joined = JoinedPack(train.features, train.starts, Styles(*known), style, voices, both)
    clips = {**data.info["clips"], "train": len(joined)}
    return dataclasses.replace(data, train=joined, info={**data.info, "clips": clips})


def pack_data(data_dir: Path, settings: FrontendSettings) -> Path:
    """Return the folder of the data set's pack, checking the data and making it if need be.

    Raises:
        DataError: naming the files that cannot be used.
    """
    if data_dir.resolve() == demo_folder().resolve():
        cached_demo()  # the cache may have been emptied since the search began
    if not all(find_samples(data_dir / name) for name in ("train", "val")):
        check_data(data_dir, settings.sample_rate).raise_errors(data_dir)
    identity = _identity(fingerprint(data_dir), settings)
    folder = pack_folder(identity["fingerprint"], settings)
    if not folder.exists():
        report = check_data(data_dir, settings.sample_rate)
        report.raise_errors(data_dir)
        _make(folder, data_dir, settings, {**identity, "warnings": warnings_of(report.problems)})
    return folder


def pack_folder(fingerprint: str, settings: FrontendSettings) -> Path:
    """Return where the pack of data with this fingerprint lies, once it is made."""
    identity = _identity(fingerprint, settings)
    key = hashlib.sha256(json.dumps([PACK_FORMAT, identity]).encode()).hexdigest()[:16]
    return cache_dir() / "packs" / key


def _identity(fingerprint: str, settings: FrontendSettings) -> dict[str, Any]:
    return {"fingerprint": fingerprint, "frontend": _frontend(settings)}


def open_pack(folder: Path) -> PackedData:
    """Map a pack into memory.

    Raises:
        StorageError: if it is missing, of another format, or cut short.
    """
    try:
        info = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
        if info["format"] != PACK_FORMAT:
            raise StorageError(f"{folder}: pack format {info['format']}; remove the folder")
        for name, size in info["sizes"].items():
            if (folder / name).stat().st_size != size:
                raise StorageError(f"{folder / name}: cut short; remove {folder} to make it anew")
        packs = {name: _open_split(folder, name) for name in SPLITS if name in info["clips"]}
        with np.load(folder / "statistics.npz") as arrays:
            fields: dict[str, Any] = dict(arrays)
        fields["ttl_basis"] = _mapped(folder / _BASIS, fields["ttl_mean"].size)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise StorageError(f"{folder}: not a usable pack ({error}); remove the folder") from error
    for name in ("ttl_variance", "dp_variance"):
        fields[name] = float(fields[name])
    return PackedData(packs["train"], packs["val"], packs.get("test"), Statistics(**fields), info)


def _open_split(folder: Path, name: str) -> Pack:
    with np.load(folder / f"{name}.npz") as arrays:
        starts, style, dp = arrays["starts"], arrays["style"], arrays["dp"]
        voices = [str(voice) for voice in arrays["voices"]]
        n_mels = int(arrays["n_mels"])
    known = Styles(_mapped(folder / f"{name}_ttl.f16", *TTL_SHAPE), dp)
    return Pack(_mapped(folder / f"{name}.f16", n_mels), starts, known, style, voices)


def _mapped(path: Path, *shape: int) -> Any:
    """Map a file of arrays of this shape.

    Copy-on-write: the pages are shared, and torch does not warn of a read-only array.
    """
    return np.memmap(path, dtype=np.float16, mode="c").reshape(-1, *shape)


def _frontend(settings: FrontendSettings) -> dict[str, Any]:
    names = to_mapping(FrontendSettings())
    return {name: getattr(settings, name) for name in names}


# --- making ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Split:
    """What is kept in memory of a split while its features go to disk."""

    lengths: list[int]
    styles: Styles
    voices: list[str]
    band_statistics: Array
    """(N, 2 M) mean and deviation of each band, per clip."""


def _make(
    folder: Path, data_dir: Path, settings: FrontendSettings, identity: dict[str, Any]
) -> None:
    paths = {name: find_samples(data_dir / name) for name in SPLITS}
    with whole_folder(folder, replace=True) as partial:  # another process may have been faster
        splits = {
            name: _write_split(partial, name, found, settings)
            for name, found in paths.items()
            if found
        }
        statistics = _write_statistics(partial, splits["train"], settings.n_mels)
        info = {
            "format": PACK_FORMAT,
            **identity,
            "clips": {name: len(split.voices) for name, split in splits.items()},
            "voices": {name: len(set(split.voices)) for name, split in splits.items()},
            "hours": {name: _hours(split, settings) for name, split in splits.items()},
            "baselines": _baselines(splits, statistics),
            "sizes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
        }
        (partial / "pack.json").write_text(json.dumps(info, indent=2), encoding="utf-8")


def _write_split(folder: Path, name: str, paths: list[Path], settings: FrontendSettings) -> _Split:
    lengths, ttl, dp, voices, bands = [], [], [], [], []
    with (folder / f"{name}.f16").open("wb") as file:
        clips = _features_of(paths, settings)
        bar = tqdm(clips, f"packing {name}", len(paths), unit="clip", ncols=80, disable=None)
        for path, (sample, features) in zip(paths, bar, strict=True):
            file.write(features.tobytes())
            lengths.append(len(features))
            ttl.append(sample.style_ttl)
            dp.append(sample.style_dp)
            voices.append(sample.voice or path.stem)
            exact = features.astype(np.float32)
            bands.append(np.concatenate([exact.mean(axis=0), exact.std(axis=0)]))
    split = _Split(lengths, Styles(np.stack(ttl), np.stack(dp)), voices, np.stack(bands))
    style, first = _different(split.styles)
    _write_halves(folder / f"{name}_ttl.f16", split.styles.ttl[first])
    np.savez(
        folder / f"{name}.npz",
        starts=np.cumsum([0, *lengths], dtype=np.int64),
        style=style,
        dp=split.styles.dp[first],  # small, and of half precision it would lose what tells voices
        voices=np.array(voices),
        n_mels=settings.n_mels,
    )
    return split


def _different(styles: Styles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the different styles; returns (N,) which each clip has, and (V,) a clip of each."""
    numbers: dict[bytes, int] = {}
    digests = (hashlib.sha256(row).digest() for row in styles.joined())
    style = np.array([numbers.setdefault(digest, len(numbers)) for digest in digests])
    return style, np.unique(style, return_index=True)[1]


def _write_halves(path: Path, array: Array) -> None:
    """Write float16, which moves a style_ttl by a thousandth of the distance between voices."""
    import torch  # many times as fast as numpy here

    torch.from_numpy(np.ascontiguousarray(array)).to(torch.float16).numpy().tofile(path)


def _features_of(
    paths: list[Path], settings: FrontendSettings
) -> Iterator[tuple[Sample, NDArray[np.float16]]]:
    """Samples with their features (F_i, M), in order, computed by a few threads."""
    import torch  # here, because a search that finds its pack needs no torch in the driver

    from tune_encoder.audio import resample
    from tune_encoder.frontend import log_mel

    def features(path: Path) -> tuple[Sample, NDArray[np.float16]]:
        sample = read_sample(path)
        rate = sample.sample_rate or settings.sample_rate
        audio = resample(sample.audio, rate, settings.sample_rate)
        mel = log_mel(torch.from_numpy(audio), settings)
        return sample, mel.T.contiguous().to(torch.float16).numpy()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one clip a thread is faster than one clip on all
    try:
        with ThreadPoolExecutor(N_THREADS) as pool:
            yield from pool.map(features, paths)
    finally:
        torch.set_num_threads(threads)


def _write_statistics(folder: Path, train: _Split, n_mels: int) -> Statistics:
    weights = np.array(train.lengths, dtype=np.float64)[:, None] / sum(train.lengths)
    means, deviations = train.band_statistics[:, :n_mels], train.band_statistics[:, n_mels:]
    mel_mean = (weights * means).sum(axis=0)
    mel_square = (weights * (np.square(means) + np.square(deviations))).sum(axis=0)
    fields: dict[str, Any] = {
        "mel_mean": mel_mean.astype(np.float32),
        # Of a band that never changes, such as one above the recordings' Nyquist frequency, the
        # difference may be a rounding error below 0.
        "mel_std": np.sqrt(np.maximum(mel_square - np.square(mel_mean), 0)).astype(np.float32),
        **style_statistics(train.styles.ttl, train.styles.dp),
    }
    kept = {name: value for name, value in fields.items() if name != "ttl_basis"}
    np.savez(folder / "statistics.npz", **kept)
    _write_halves(folder / _BASIS, fields["ttl_basis"])
    return Statistics(**fields)


def _baselines(
    splits: dict[str, _Split], statistics: Statistics
) -> dict[str, dict[str, dict[str, float]]]:
    train = splits["train"]
    chosen = np.random.default_rng(0).permutation(len(train.voices))[:RIDGE_CLIPS]
    styles = Styles(train.styles.ttl[chosen], train.styles.dp[chosen])
    ridge = fit_ridge(train.band_statistics[chosen], styles)
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
