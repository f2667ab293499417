"""Folds of whole voices: views of a data set in which every voice is held out once.

What a fold trains with, such as means and principal components, is computed from the voices that
it trains on; nothing of the held-out voices is in it.

Shapes: N clips of train and val, V voices, K folds.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import SettingValue
from tune_encoder.data.pack import Pack, PackedData, merge_train_and_val, open_pack
from tune_encoder.data.pack_info import PackInfo
from tune_encoder.data.score_words import KNOWN, NEW
from tune_encoder.data.scores import Styles, identities_of
from tune_encoder.data.style_statistics import Statistics, mel_statistics, style_statistics
from tune_encoder.errors import DataError
from tune_encoder.system.formats import count_noun

FEW_VOICES = 40  # with fewer, a val split has too few voices to choose by
MAX_DEFAULT_FOLDS = 10  # more folds cost more than they add
MIN_TRAINED = 2  # voices; with one there is no variance between voices to learn


@dataclass(frozen=True)
class FoldedData:
    """A data set in K folds: val of each is the voices that its train lacks."""

    folds: tuple[PackedData, ...]
    identity: dict[str, SettingValue]
    """What identifies the data and the folds, as in `PackedData`."""

    def __len__(self) -> int:
        return len(self.folds)


@lru_cache(maxsize=1)  # a worker trains many trials on the same folds
def open_folds(pack: Path, count: int) -> FoldedData:
    """Memory-map a pack and divide it; see `make_folds`."""
    return make_folds(open_pack(pack), count)


def make_folds(data: PackedData, count: int) -> FoldedData:
    """Divide the voices of train and val into folds; equal data and counts give equal folds.

    Args:
        data: The data set; its test split is in no fold.
        count: K, from 2 to the number of voices, which is leaving one voice out.

    Raises:
        DataError: if there are too few voices.
    """
    check_folds(data, count)
    joined = merge_train_and_val(data).train
    voice_ids = voices_of_clips(data)
    n_voices = int(voice_ids.max()) + 1
    fold_of_voice = np.empty(n_voices, dtype=np.int64)
    # Shuffled, since neighbours in a sorted list of names are often alike.
    fold_of_voice[np.random.default_rng(0).permutation(n_voices)] = np.arange(n_voices) % count
    fold_of_clip = fold_of_voice[voice_ids]
    folds = tuple(_fold(data, joined, fold_of_clip != number) for number in range(count))
    return FoldedData(folds, {**data.identity, "folds": count})


def _fold(data: PackedData, joined: Pack, trained: NDArray[np.bool_]) -> PackedData:
    """The fold that trains on the clips of a mask (N,) and is scored on the others."""
    train, val = (subset_pack(joined, np.flatnonzero(mask)) for mask in (trained, ~trained))
    return _with_splits(data, train, val, None, {"val": NEW})


def all_voices(data: PackedData, kind: str = NEW) -> PackedData:
    """Return the data with the val clips added to train, and the statistics of both.

    Args:
        data: Any data set.
        kind: The voices that what is trained on it is for, as val had them or the folds: val says
            so, though its voices are those of train now and its scores mean nothing.
    """
    merged = merge_train_and_val(data)
    kinds = {**merged.info["voice_kinds"], "val": kind}
    hours = data.info["hours"]
    both = {**hours, "train": round(hours["train"] + hours["val"], 4)}
    data = replace(data, info={**data.info, "hours": both})
    return _with_splits(data, merged.train, data.val, data.test, kinds)


def _with_splits(
    data: PackedData, train: Pack, val: Pack, test: Pack | None, kinds: dict[str, str]
) -> PackedData:
    """The data with other splits, the statistics of the new train, and the kinds of voices."""
    packs = {"train": train, "val": val, "test": test}
    splits = {name: pack for name, pack in packs.items() if pack is not None}
    info: PackInfo = {
        **data.info,
        "clips": {name: len(pack) for name, pack in splits.items()},
        "voices": {name: len(set(pack.voices)) for name, pack in splits.items()},
        "voice_kinds": kinds,
    }
    return PackedData(train, val, test, pack_statistics(train), info)


def pack_statistics(pack: Pack) -> Statistics:
    """Compute the statistics of the clips of a pack, as those of a data set's train."""
    styles = pack.unique_styles
    fields: dict[str, Any] = {
        **mel_statistics(pack.bands, pack.lengths),
        **style_statistics(styles.ttl, styles.dp, np.bincount(pack.style_ids)),
    }
    return Statistics(**fields)


@dataclass(frozen=True)
class SubsetPack(Pack):
    """Some clips of a pack, whose features are not copied; arrays of frames are the pack's."""

    base: Pack
    rows: NDArray[np.int64]
    """Indexes of the clips in the pack."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.base.lengths[self.rows]

    def clip(self, i: int) -> NDArray[np.float16]:
        return self.base.clip(int(self.rows[i]))

    def versions(self, i: int) -> list[NDArray[np.float16]]:
        return self.base.versions(int(self.rows[i]))


def subset_pack(pack: Pack, rows: NDArray[np.int64]) -> SubsetPack:
    """Return a view of some clips, with their own styles only.

    Args:
        pack: Any pack.
        rows: Indexes of the clips, in increasing order.
    """
    used, style_ids = np.unique(pack.style_ids[rows], return_inverse=True)
    windows = np.flatnonzero(np.isin(pack.window_clips, rows))
    return SubsetPack(
        features=pack.features,
        starts=pack.starts,
        unique_styles=Styles(pack.unique_styles.ttl[used], pack.unique_styles.dp[used]),
        style_ids=style_ids,
        voices=[pack.voices[i] for i in rows],
        named=pack.named[rows],
        bands=pack.bands[rows],
        windows=pack.windows[windows],
        window_clips=np.searchsorted(rows, pack.window_clips[windows]),
        copies=pack.copies,
        base=pack,
        rows=rows,
    )


def check_folds(data: PackedData, count: int) -> None:
    """Raise a `DataError` if the voices of train and val are too few for so many folds."""
    n_voices = count_voices(data)
    have = f"train and val have {count_noun(n_voices, 'voice')}; voices of one style count once"
    if count > n_voices:
        raise DataError(
            f"{have}: they cannot be divided into {count} folds; give at most {n_voices} "
            "(validation.voices, or --folds)"
        )
    if (trained := _fewest_trained(n_voices, count)) < MIN_TRAINED:
        raise DataError(
            f"{have}: in one of {count} folds an encoder would be trained on "
            f"{count_noun(trained, 'voice')}, and it needs {MIN_TRAINED}; add voices, or use the "
            "val split (validation.voices: 1)"
        )


def default_folds(data: PackedData) -> int:
    """Return how many folds a search of this data has if nobody says; 1 is the val split.

    Few voices are left out one after another, or in ten folds: a val split of few voices depends
    on which they are. But if val has only voices of train, the search is of known voices.
    """
    return 1 if data.voice_kind("val") == KNOWN else count_default_folds(count_voices(data))


def count_default_folds(n_voices: int) -> int:
    """Return that number for voices of which val has some that train lacks."""
    count = min(MAX_DEFAULT_FOLDS, n_voices)
    too_few = _fewest_trained(n_voices, count) < MIN_TRAINED
    return 1 if n_voices >= FEW_VOICES or too_few else count


def _fewest_trained(n_voices: int, count: int) -> int:
    """Fewest voices that any fold trains on."""
    return max(0, n_voices - -(-n_voices // count))


def count_voices(data: PackedData) -> int:
    """Return the number of different voices of train and val together."""
    return int(voices_of_clips(data).max()) + 1


def voices_of_clips(data: PackedData) -> NDArray[np.int64]:
    """Return the number of the voice of each clip of train, then val: (N,), counted from 0.

    Clips belong to one voice if they have its name or its style. Files without a voice's name are
    thus told apart by their styles, and a style under two names is never on both sides of a fold.
    """
    joined = merge_train_and_val(data).train
    # Without a voice the name is that of the file, and files of train and val often share names.
    names = [
        name if is_named else i
        for i, (name, is_named) in enumerate(zip(joined.voices, joined.named, strict=True))
    ]
    styles = identities_of(joined.unique_styles)
    return _connected(names, [styles[i] for i in joined.style_ids])


def _connected(*keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number N items, those that share any key alike, in the order in which they appear."""
    n = len(keys[0])
    root = list(range(n))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for each in keys:
        first: dict[Hashable, int] = {}
        for i, key in enumerate(each):
            root[find(i)] = find(first.setdefault(key, i))
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(find(i), len(numbers)) for i in range(n)])
