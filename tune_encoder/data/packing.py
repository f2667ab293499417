"""Making a pack: features, targets, statistics and baselines of a data set, in one pass over it.

Shapes: N clips, V unique styles, F frames of all clips, M mel bands, W windows, S statistics.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tune_encoder.config import CopySettings, PackSettings
from tune_encoder.data.checking import DataCheck, check_data, fingerprint, warning_messages
from tune_encoder.data.demo import restore_demo
from tune_encoder.data.pack import (
    BASIS_FILES,
    COPIES_FILE,
    WINDOWS_FILE,
    memory_map,
    open_pack,
    open_split,
    split_versions,
)
from tune_encoder.data.pack_info import (
    PACK_FORMAT,
    SOUND_FOLDERS,
    PackIdentity,
    SearchedData,
    pack_folder,
    pack_identity,
)
from tune_encoder.data.samples import Sample, find_samples
from tune_encoder.data.score_words import kind_of_voices
from tune_encoder.data.scores import Styles, identities_of, known_voices
from tune_encoder.data.style_statistics import Statistics, mel_statistics, style_statistics
from tune_encoder.errors import StorageError
from tune_encoder.system.files import atomic_folder

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]


def pack_data(data_dir: Path, settings: PackSettings) -> Path:
    """Return the folder of the data set's pack; if there is none, check the data and make it.

    Raises:
        DataError: naming the files that cannot be used.
    """
    restore_demo(data_dir)
    if not all(find_samples(data_dir / name) for name in ("train", "val")):
        check_data(data_dir, settings.sample_rate).raise_errors(data_dir)
    identity = pack_identity(fingerprint(data_dir), settings)
    folder = pack_folder(identity["fingerprint"], settings)
    if not folder.exists():
        _write_pack(folder, data_dir, settings, identity)
    return folder


def pack_of_search(searched: SearchedData, settings: PackSettings) -> Path:
    """Return the pack of a search's data.

    Args:
        searched: The data when the search began.
        settings: Of the front end and the copies.

    Raises:
        DataError: if the data, or a folder of rooms or noise, is missing or damaged.
        StorageError: if either has changed since the search began.
    """
    pack = pack_data(searched.folder, settings)
    check_same_data(searched, open_pack(pack).info, settings)
    return pack


def check_same_data(searched: SearchedData, found: PackIdentity, settings: CopySettings) -> None:
    """Raise a `StorageError` if a pack is not of the data and the sounds that a search began with.

    Args:
        searched: The data when the search began.
        found: What identifies the pack.
        settings: Of its copies, which name the folders of rooms and noise.
    """
    if found["fingerprint"] != searched.fingerprint:
        raise _changed(f"{searched.folder}: not the data that the search began with", "it", "data")
    before, now = searched.copies or {}, found.get("copies", {})
    for name in before.keys() & now.keys() & SOUND_FOLDERS:
        if before[name] != now[name]:
            folder = f"{name} is {getattr(settings, name) or 'empty'}"
            what = "its audio files have not the names and sizes that the search began with"
            raise _changed(f"{folder}: {what}", "them", "folder")


def _changed(problem: str, before: str, now: str) -> StorageError:
    return StorageError(
        f"{problem}; restore {before}, start a new search, or continue with this {now} by "
        "`resume --accept-data-change`"
    )


class _ClipFeatures(NamedTuple):
    """The features of a clip and their statistics."""

    features: NDArray[np.float16]
    """(F, M)"""
    bands: Array
    """(2 M,) mean and standard deviation of each band."""


@dataclass
class _Split:
    """The part of a split kept in memory, while its features are on disk; see `Pack`."""

    lengths: list[int] = field(default_factory=list)
    voices: list[str] = field(default_factory=list)
    named: list[bool] = field(default_factory=list)
    bands: list[Array] = field(default_factory=list)
    style_ids: list[int] = field(default_factory=list)
    ttl: list[Array] = field(default_factory=list)
    """V unique styles, as `dp`."""
    dp: list[Array] = field(default_factory=list)
    numbers: dict[bytes, int] = field(default_factory=dict)
    """The index of each unique style, by its digest."""

    def add(self, name: str, sample: Sample, found: _ClipFeatures) -> None:
        """Add the clip of a file of this name."""
        self.lengths.append(len(found.features))
        self.voices.append(sample.voice or name)
        self.named.append(bool(sample.voice))
        self.bands.append(found.bands)
        digest = hashlib.sha256(sample.style_ttl.tobytes() + sample.style_dp.tobytes()).digest()
        number = self.numbers.setdefault(digest, len(self.numbers))
        self.style_ids.append(number)
        if number == len(self.ttl):
            self.ttl.append(sample.style_ttl)
            self.dp.append(sample.style_dp)

    @property
    def styles(self) -> Styles:
        """The unique styles, copied at each access."""
        return Styles(np.stack(self.ttl), np.stack(self.dp))


def _write_pack(
    folder: Path, data_dir: Path, settings: PackSettings, identity: PackIdentity
) -> None:
    check = DataCheck(data_dir, settings.sample_rate)
    # `replace`: another process may have been faster.
    with _one_thread_per_operation(), atomic_folder(folder, replace=True) as partial:
        splits = _write_splits(partial, check, settings)
        statistics = _write_statistics(partial, splits["train"])
        kinds = {name: _voice_kind(split, splits["train"]) for name, split in splits.items()}
        info = {
            "format": PACK_FORMAT,
            **identity,
            "warnings": warning_messages(check.report().problems),
            "clips": {name: len(split.voices) for name, split in splits.items()},
            "voices": {name: len(set(split.voices)) for name, split in splits.items()},
            "hours": {name: _hours(split, settings) for name, split in splits.items()},
            "voice_kinds": {name: kinds[name] for name in splits if name != "train"},
            "baselines": _write_baselines(partial, statistics, kinds, settings),
            "sizes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
        }
        (partial / "pack.json").write_text(json.dumps(info, indent=2), encoding="utf-8")


def _write_splits(folder: Path, check: DataCheck, settings: PackSettings) -> dict[str, _Split]:
    """Write all splits; raises a `DataError` that names the invalid files."""
    splits: dict[str, _Split] = {}
    make = _feature_extractor(settings)
    for name, path, sample, found in check.samples("packing", make):
        with (folder / f"{name}.f16").open("ab") as file:
            file.write(found.features.tobytes())
        splits.setdefault(name, _Split()).add(path.stem, sample, found)
    check.report().raise_errors(check.data_dir)
    if settings.augment_copies:
        _write_copies(folder, check.data_dir, settings)
    n_clips = sum(len(split.voices) for split in splits.values())
    for name, split in splits.items():
        _write_targets(folder, name, split, settings, n_clips)
    return splits


def _write_copies(folder: Path, data_dir: Path, settings: PackSettings) -> None:
    """Write the features of the copies of train, which are no clips of their own."""
    from tune_encoder.data.copies import copy_maker, write_copies  # loads scipy

    extract = _log_mel_of(settings)
    rate = settings.sample_rate
    maker = copy_maker(settings, rate)
    path = folder / COPIES_FILE
    write_copies(
        path, data_dir / "train", maker, lambda audio: extract(audio).T.contiguous().numpy(), rate
    )


def _feature_extractor(settings: PackSettings) -> Callable[[Sample], _ClipFeatures]:
    """Return the function that computes a clip's features, to call in several threads."""
    import torch  # here, because the driver needs no torch if the pack exists

    from tune_encoder.data.audio import resample

    extract = _log_mel_of(settings)

    def make(sample: Sample) -> _ClipFeatures:
        rate = sample.sample_rate or settings.sample_rate
        rounded = extract(resample(sample.audio, rate, settings.sample_rate))
        values = rounded.float()
        mean = values.mean(dim=1)
        deviation = (values - mean[:, None]).square().mean(dim=1).sqrt()  # torch.std is slower
        return _ClipFeatures(rounded.T.contiguous().numpy(), torch.cat([mean, deviation]).numpy())

    return make


def _log_mel_of(settings: PackSettings) -> "Callable[[Array], Tensor]":
    """Return the function that computes the features (M, F) of audio, in float16."""
    import torch

    from tune_encoder.data.log_mel import log_mel

    return lambda audio: log_mel(torch.from_numpy(audio), settings).to(torch.float16)


@contextmanager
def _one_thread_per_operation() -> Iterator[None]:
    """Let torch and numpy compute each operation on one thread.

    Several clips at once are faster than one on all threads. And threads of numpy's matrix products
    wait for each other without rest: beside busy cores two take ten times as long as one.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def _write_targets(
    folder: Path, name: str, split: _Split, settings: PackSettings, n_clips: int
) -> None:
    from tune_encoder.data.baselines import spread_windows, window_frames  # imports torch

    styles = split.styles
    _write_float16(folder / f"{name}_ttl.f16", styles.ttl)
    starts = np.cumsum([0, *split.lengths], dtype=np.int64)
    features = memory_map(folder / f"{name}.f16", settings.n_mels)
    path = folder / COPIES_FILE
    copies = (
        memory_map(path, settings.n_mels) if name == "train" and path.exists() else features[:0]
    )
    clips = [
        split_versions(features, copies, *ends) for ends in itertools.pairwise(starts.tolist())
    ]
    windows, window_clips = spread_windows(clips, n_clips, window_frames(settings))
    windows.tofile(folder / WINDOWS_FILE.format(split=name))
    np.savez(
        folder / f"{name}.npz",
        starts=starts,
        style=np.array(split.style_ids),
        dp=styles.dp,  # small, and float16 would lose differences between voices
        voices=np.array(split.voices),
        named=np.array(split.named),
        bands=np.stack(split.bands),
        window_clips=window_clips,
        n_mels=settings.n_mels,
    )


def _write_float16(path: Path, array: Array) -> None:
    """Write float16; it moves a style_ttl by a thousandth of the distance between voices."""
    import torch  # many times faster than numpy here

    torch.from_numpy(np.ascontiguousarray(array)).to(torch.float16).numpy().tofile(path)


def _write_statistics(folder: Path, train: _Split) -> Statistics:
    styles = train.styles
    fields: dict[str, Any] = {
        **mel_statistics(np.stack(train.bands), train.lengths),
        **style_statistics(styles.ttl, styles.dp, np.bincount(train.style_ids)),
    }
    arrays_to_save = {name: value for name, value in fields.items() if name not in BASIS_FILES}
    np.savez(folder / "statistics.npz", **arrays_to_save)
    for name, file in BASIS_FILES.items():
        _write_float16(folder / file, fields[name])
    return Statistics(**fields)


def _voice_kind(split: _Split, train: _Split) -> str:
    """Whether the voices of a split are those of train, judged by their styles."""
    return kind_of_voices(identities_of(train.styles), identities_of(split.styles))


def _write_baselines(
    folder: Path, statistics: Statistics, kinds: dict[str, str], settings: PackSettings
) -> dict[str, dict[str, dict[str, float]]]:
    """Fit the baselines, write the closed form that is an encoder too, and return all scores."""
    from tune_encoder.data import baselines  # imports torch

    train = open_split(folder, "train")
    fitted = {
        "ridge": baselines.fit_ridge(train, statistics, kinds["val"]),
        "statistics": baselines.fit_statistics(train, statistics, kinds["val"]),
    }
    baselines.write_closed_form(folder / baselines.CLOSED_FORM_FILE, fitted["statistics"])
    n_frames = baselines.window_frames(settings)
    known = known_voices(train.unique_styles, statistics)
    splits = {name: open_split(folder, name) for name in kinds if name != "train"}
    return {
        name: baselines.baseline_scores(fitted, statistics, known, split, n_frames)
        for name, split in splits.items()
    }


def _hours(split: _Split, settings: PackSettings) -> float:
    return round(sum(split.lengths) * settings.hop_length / settings.sample_rate / 3600, 4)
