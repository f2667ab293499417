"""Baselines: the mean voice, and closed-form regressions fitted to the training windows.

*ridge* is a linear regression on the mean and deviation of each band, *statistics* a kernel
regression on all of `data.window_statistics`; see `data.closed_form`.

Shapes: N clips, M mel bands, F frames, W windows, S statistics.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tune_encoder.config import FrontendSettings, RunSettings
from tune_encoder.data.batches import crop, evaluation_windows, to_features
from tune_encoder.data.closed_form import (
    KERNEL,
    LINEAR,
    ClosedForm,
    StyleComponents,
    fit_closed_form,
)
from tune_encoder.data.crops import n_frames_of
from tune_encoder.data.pack import Pack, PackedData
from tune_encoder.data.score_words import KNOWN
from tune_encoder.data.scores import KnownVoices, Styles, mean_styles, score
from tune_encoder.data.style_statistics import Statistics
from tune_encoder.data.window_statistics import N_BAND_MOMENTS, window_statistics

MAX_WINDOWS = 3000  # to fit on; more cost time and memory, and hardly help
MAX_WINDOWS_PER_CLIP = 98
# Where a clip gives that many windows, clips are few, and recordings to come may be shorter than a
# window: on ten real voices, windows of several lengths raise the skill on pieces of 1.2 s from
# 0.74 to 0.82. Each is repeated until it is as long as a window, as a short recording is.
LENGTHS = (1.0, 0.75, 0.6, 0.5, 0.375, 0.25, 0.1875)  # of a window
MIN_WINDOWS_FOR_LENGTHS = 2 * len(LENGTHS)  # per clip
PARTS_OF_A_CLIP = 3  # held out in turn where the voices of val are those of train
CLOSED_FORM_FILE = "closed_form.npz"  # in a pack
_PLAIN_FIELDS = ("center", "scale", "landmarks", "weights", "bias", "skill")

Array = NDArray[np.float32]


def window_frames(settings: FrontendSettings) -> int:
    """Return the frames of a window: those of a training crop of the default length."""
    n_samples = round(RunSettings().crop_seconds * settings.sample_rate)
    return n_frames_of(n_samples, settings.hop_length)


def spread_windows(
    clips: Sequence[Sequence[NDArray[np.float16]]], n_clips: int, n_frames: int
) -> tuple[Array, NDArray[np.int64]]:
    """Return statistics (W, S) of windows spread over each clip (F, M), and their clips (W,).

    A clip with copies has no more windows than without: they are of its versions in turn.

    Args:
        clips: Of one split, each with its copies.
        n_clips: The number of clips in all splits, which share `MAX_WINDOWS`.
        n_frames: Of a window.
    """
    count = min(MAX_WINDOWS_PER_CLIP, max(1, MAX_WINDOWS // n_clips))
    chosen = np.arange(len(clips))
    if len(clips) > MAX_WINDOWS:
        chosen = np.sort(np.random.default_rng(0).permutation(len(clips))[:MAX_WINDOWS])
    positions = (np.arange(count) + 0.5) / count
    lengths = np.resize(LENGTHS if count >= MIN_WINDOWS_FOR_LENGTHS else (1.0,), count)
    sizes = np.maximum(1, np.rint(lengths * n_frames)).astype(int).tolist()

    def make(i: int) -> torch.Tensor:
        versions = itertools.cycle(clips[i])
        parts = [crop(next(versions), *each) for each in zip(positions, sizes, strict=True)]
        return window_statistics(to_features([crop(part, 0.0, n_frames) for part in parts]))

    windows = [make(i) for i in chosen.tolist()]  # not in threads, which wait for each other
    return torch.cat(windows).numpy(), np.repeat(chosen, count)


def fit_ridge(train: Pack, statistics: Statistics, voice_kind: str) -> ClosedForm:
    """Fit the *ridge* baseline."""
    width = N_BAND_MOMENTS * len(statistics.mel_mean)
    return _fit(train, statistics, voice_kind, width, LINEAR)


def fit_statistics(train: Pack, statistics: Statistics, voice_kind: str) -> ClosedForm:
    """Fit the *statistics* baseline, which is the encoder of that type too.

    Args:
        train: The training clips.
        statistics: Of these clips.
        voice_kind: Whether it will be asked for `KNOWN` or other voices; see `PackedData`.
    """
    # A linear regression on them is worse on new voices (by 0.01 to 0.03 for 480 and 2,000 demo
    # voices and ten real ones) and on later recordings of known ones (0.67 beside 0.81).
    return _fit(train, statistics, voice_kind, train.windows.shape[1], KERNEL)


def _fit(train: Pack, statistics: Statistics, voice_kind: str, width: int, kind: str) -> ClosedForm:
    is_known = voice_kind == KNOWN
    rows = np.arange(len(train.windows)) if is_known else _whole_windows(train.window_clips)
    style_ids = train.style_ids[train.window_clips[rows]]
    groups = _parts_of_clips(train.window_clips) if is_known else style_ids
    windows = np.asarray(train.windows[rows, :width])
    return fit_closed_form(windows, train.unique_styles, style_ids, groups, statistics, kind=kind)


def _whole_windows(clips: NDArray[np.int64]) -> NDArray[np.int64]:
    """The windows that are not shortened: of new voices the others tell nothing more."""
    within, counts = _numbered(clips)
    return np.flatnonzero((counts < MIN_WINDOWS_FOR_LENGTHS) | (within % len(LENGTHS) == 0))


def _parts_of_clips(clips: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the parts of clips that are held out together, where voices cannot be."""
    within, counts = _numbered(clips)
    return clips * PARTS_OF_A_CLIP + within * PARTS_OF_A_CLIP // counts


def _numbered(clips: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each window its number within its clip, and how many windows the clip has."""
    _, starts, counts = np.unique(clips, return_index=True, return_counts=True)
    return np.arange(len(clips)) - np.repeat(starts, counts), np.repeat(counts, counts)


def closed_form(data: PackedData) -> ClosedForm:
    """Return *statistics* fitted to the training split, read from the pack if that is possible."""
    if data.folder is not None:
        return read_closed_form(data.folder / CLOSED_FORM_FILE)
    return fit_statistics(data.train, data.statistics, data.voice_kind("val"))


def write_closed_form(path: Path, fitted: ClosedForm) -> None:
    """Write a fitted regression as an npz file."""
    np.savez(
        path,
        ttl_mean=fitted.ttl.mean,
        ttl_basis=fitted.ttl.basis,
        dp_mean=fitted.dp.mean,
        dp_basis=fitted.dp.basis,
        allow_pickle=False,
        **{name: np.asarray(getattr(fitted, name)) for name in _PLAIN_FIELDS},
    )


def read_closed_form(path: Path) -> ClosedForm:
    """Read a fitted regression."""
    with np.load(path) as arrays:
        ttl, dp = (
            StyleComponents(arrays[f"{style}_mean"], arrays[f"{style}_basis"])
            for style in ("ttl", "dp")
        )
        plain = {name: arrays[name] for name in _PLAIN_FIELDS}
    return ClosedForm(ttl=ttl, dp=dp, **plain)


def baseline_scores(
    fitted: dict[str, ClosedForm],
    statistics: Statistics,
    known: KnownVoices,
    pack: Pack,
    n_frames: int,
) -> dict[str, dict[str, float]]:
    """Score the mean voice and fitted regressions, by name, on the clips of a split.

    As for an encoder, a clip's prediction is the mean over the windows that cover it.
    """
    target = pack.styles
    batches = list(evaluation_windows(pack, n_frames))
    windows = torch.cat([window_statistics(features) for features, _ in batches]).numpy()
    owners = np.concatenate([owner for _, owner in batches])
    predicted = {"mean": mean_styles(statistics, len(pack))} | {
        name: _mean_per_clip(each.predict(windows), owners) for name, each in fitted.items()
    }
    return {name: score(each, target, statistics, known) for name, each in predicted.items()}


def _mean_per_clip(styles: Styles, owners: NDArray[np.int64]) -> Styles:
    """The mean over the windows of each clip, which lie side by side."""
    _, starts, counts = np.unique(owners, return_index=True, return_counts=True)
    ttl, dp = (
        (np.add.reduceat(each, starts, axis=0) / counts[:, None, None]).astype(np.float32)
        for each in (styles.ttl, styles.dp)
    )
    return Styles(ttl, dp)
