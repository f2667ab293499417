"""Import: make a data set with train, val and test from recordings and styles."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tune_encoder.data.audio import to_voice
from tune_encoder.data.audio_file import read_recording
from tune_encoder.data.pairing import Clip, Pairing, join_names, normal_name, pair_recordings
from tune_encoder.data.quality import REMEDIES, measure_quality
from tune_encoder.data.samples import SPLITS, Sample, write_sample
from tune_encoder.data.splitting import (
    SplitRequest,
    Splitting,
    choose_splitting,
    count_clips,
    describe_folds,
    shared_voices_warning,
    single_voice_warning,
)
from tune_encoder.data.voice_style import VoiceStyle, check_same_version, read_voice_style
from tune_encoder.errors import DataError
from tune_encoder.system.files import atomic_folder, check_empty
from tune_encoder.system.formats import count_noun

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote, with its warnings."""

    counts: dict[str, int]
    """Number of samples of each split."""
    clips: dict[str, int]
    """Number of recordings of each voice, sorted by name."""
    left_out: list[str]
    """What could not be used, and why, each with its path; empty unless that was allowed."""
    warnings: list[str]
    faults: list[str]
    """Faults that recordings were written with, such as clipping."""
    validation: str
    """On what a search will score its configs, if that is not val."""

    @property
    def voices(self) -> list[str]:
        """Names of the voices, sorted."""
        return [*self.clips]


def import_voices(
    audio_dir: Path,
    styles_dir: Path,
    out: Path,
    sample_rate: int,
    seed: int,
    request: SplitRequest,
    skip_bad: bool = False,
) -> ImportReport:
    """Write a data set of all recordings that have a style; `out` is absent or complete.

    The splits have different voices where most voices have several clips. Otherwise each clip is
    cut by time and the splits share voices, with a warning.

    Args:
        audio_dir: Folder of recordings, see `data.pairing`.
        styles_dir: Folder of styles; may be the same folder.
        out: New or empty folder.
        sample_rate: Of the samples, in Hz.
        seed: Chooses the voices of val and test.
        request: What was asked of the splits.
        skip_bad: Whether recordings and styles that cannot be used are left out.

    Raises:
        ConfigError: if a voice to hold out has no recording, or all voices are held out.
        DataError: naming the folder, recording or style, and what to do.
        StorageError: if `out` cannot be written.
    """
    check_empty(out)
    folders = [audio_dir, *([request.test_dir] if request.test_dir is not None else [])]
    pairing = pair_recordings(folders, styles_dir)
    bad = _Bad(len(pairing.clips) + len(pairing.doubtful), skip_bad)
    bad.add(pairing.doubtful)
    styles = _read_styles(pairing, bad)
    clips = [clip for clip in pairing.clips if clip.voice in styles]
    held_out = [normal_name(name) for name in request.hold_out]
    asked = replace(request, hold_out=held_out)
    choose = partial(choose_splitting, request=asked, seed=seed)
    with atomic_folder(out) as folder:
        new_writer = partial(_Writer, folder, styles, sample_rate)
        writer = _write_usable(clips, choose, new_writer, bad)
        counts = {name: len(list((folder / name).iterdir())) for name in SPLITS}
        _check_splits(audio_dir, counts, writer.splitting)
    warnings = [
        *pairing.warnings,
        shared_voices_warning(writer.splitting),
        single_voice_warning(writer.voices, writer.splitting),
        _uncut_warning(writer.uncut, writer.splitting),
    ]
    return ImportReport(
        counts,
        dict(sorted(writer.clips.items())),
        [*bad.reasons.values()],
        [warning for warning in warnings if warning],
        _fault_warnings(writer.faults),
        describe_folds(writer.voices, writer.splitting),
    )


@dataclass(frozen=True)
class _Bad:
    """What cannot be used."""

    total: int
    """Number of recordings that have a style."""
    are_skipped: bool
    reasons: dict[Path, str] = field(default_factory=dict)

    def add(self, found: Mapping[Path, str]) -> None:
        """Leave files out.

        Raises:
            DataError: if that is not allowed.
        """
        self.reasons.update(found)
        if not found or self.are_skipped:
            return
        first, *others = self.reasons
        also = f", also {join_names([path.name for path in others])}" if others else ""
        raise DataError(
            f"{self.reasons[first]}; {len(self.reasons)} of {self.total} files cannot be used"
            f"{also}; import the others with --skip-bad"
        )

    def check_some_left(self, clips: Sequence[Clip]) -> None:
        """Raise a `DataError` if no clip can be used."""
        if not clips:
            first = next(iter(self.reasons.values()))
            raise DataError(f"none of {count_noun(self.total, 'recording')} can be used: {first}")


def _read_styles(pairing: Pairing, bad: _Bad) -> dict[str, VoiceStyle]:
    """Read the styles of the voices that have clips."""
    counts = count_clips(clip.voice for clip in pairing.clips)
    styles: dict[str, VoiceStyle] = {}
    problems: dict[Path, str] = {}
    for voice, path in pairing.styles.items():
        try:
            styles[voice] = read_voice_style(path)
        except DataError as error:
            problems[path] = f"{error} (for {count_noun(counts[voice], 'recording')})"
    bad.add(problems)
    if styles:
        check_same_version({pairing.styles[voice]: style for voice, style in styles.items()})
    return styles


# --- writing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """Writes clips, and notes what it wrote."""

    folder: Path
    styles: dict[str, VoiceStyle]
    sample_rate: int
    splitting: Splitting
    voices: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in SPLITS})
    """Voices of each split."""
    clips: Counter[str] = field(default_factory=Counter)
    """Number of recordings of each voice."""
    uncut: list[str] = field(default_factory=list)
    """Recordings that were to be cut and could not be."""
    faults: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in REMEDIES})
    """The recordings with each fault, and how much of it they have."""

    def __post_init__(self) -> None:
        for name in SPLITS:
            shutil.rmtree(self.folder / name, ignore_errors=True)  # of a writer before this one
            (self.folder / name).mkdir()

    def write_all(self, clips: Sequence[Clip]) -> dict[Path, str]:
        """Write clips; return why those that cannot be used cannot."""
        problems = {}
        for clip in tqdm(clips, desc="import", disable=None, ncols=80):
            try:
                self._write(clip)
            except DataError as error:
                problems[clip.path] = str(error)
        return problems

    def _write(self, clip: Clip) -> None:
        recording = read_recording(clip.path)
        audio = to_voice(recording, self.sample_rate)
        parts = {"test": audio}
        if not clip.is_test:
            parts = self.splitting.parts(clip.voice, audio, self.sample_rate)
        if [*parts] == ["train"] and clip.voice not in self.splitting.split_of:
            self.uncut.append(clip.path.name)
        for split, part in parts.items():
            self._write_sample(clip, split, part)
        for kind, measured in measure_quality(recording).faults().items():
            self.faults[kind].append(f"{clip.path.name} ({measured})")
        self.clips[clip.voice] += 1

    def _write_sample(self, clip: Clip, split: str, audio: Array) -> None:
        self.voices[split].add(clip.voice)
        style = self.styles[clip.voice]
        sample = Sample(
            audio, style.ttl, style.dp, "", "na", sample_rate=self.sample_rate, voice=clip.voice
        )
        write_sample(self.folder / split / f"{clip.voice}_{clip.number:04d}.npz", sample)


def _write_usable(
    clips: Sequence[Clip],
    choose: Callable[[Mapping[str, int]], Splitting],
    new_writer: Callable[[Splitting], _Writer],
    bad: _Bad,
) -> _Writer:
    """Write all clips that can be used; where some cannot, the splits are chosen again."""
    while True:
        bad.check_some_left(clips)
        writer = new_writer(choose(count_clips(clip.voice for clip in clips if not clip.is_test)))
        problems = writer.write_all(clips)
        bad.add(problems)
        if not problems:
            return writer
        clips = [clip for clip in clips if clip.path not in problems]


def _check_splits(audio_dir: Path, counts: Mapping[str, int], splitting: Splitting) -> None:
    if not all(counts.values()):
        parts = "train, val and test" if splitting.has_test else "train and val"
        raise DataError(
            f"{audio_dir}: no clip is long enough to be cut into {parts}; use clips of "
            f"{splitting.least_s:g} s or more, or several clips of each of {len(SPLITS)} voices"
        )


def _uncut_warning(uncut: list[str], splitting: Splitting) -> str:
    if not uncut:
        return ""
    return (
        f"left {count_noun(len(uncut), 'clip')} uncut, in train only: {join_names(uncut)}; "
        f"a clip needs {splitting.least_s:g} s without a long pause"
    )


def _fault_warnings(faults: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{count_noun(len(names), 'recording')} {'is' if len(names) == 1 else 'are'} {kind}: "
        f"{join_names(names)}; {REMEDIES[kind]}"
        for kind, names in faults.items()
        if names
    ]
