"""Import: make a data set with train, val and test from recordings and styles."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.audio import to_voice
from tune_encoder.data.audio_file import PieceReader, read_recording
from tune_encoder.data.pairing import Clip, Pairing, join_names, normal_name, pair_recordings
from tune_encoder.data.pauses import CutClips, cut_long_clips
from tune_encoder.data.quality import REMEDIES, measure_quality
from tune_encoder.data.samples import SPLITS, Sample, write_sample
from tune_encoder.data.splitting import (
    SplitRequest,
    Splitting,
    check_given_splits,
    choose_splitting,
    count_clips,
    describe_folds,
    given_splits_warning,
    shared_voices_warning,
    single_voice_warning,
)
from tune_encoder.data.voice_style import (
    VoiceStyle,
    check_same_version,
    read_voice_style,
    same_styles,
)
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.files import atomic_folder, check_empty
from tune_encoder.system.formats import count_noun

MAX_NAME_BYTES = 200  # of a voice: file systems take 255, and numbers and suffixes follow

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote, with its warnings."""

    counts: dict[str, int]
    """Number of samples of each split."""
    seconds: dict[str, float]
    """Their duration."""
    voices_of: dict[str, list[str]]
    """The voices of each split, sorted by name."""
    clips: dict[str, int]
    """Number of recordings, or pieces of long ones, of each voice, sorted by name."""
    cut: str
    """How many long recordings were cut into pieces; empty if there were none."""
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


def import_pairs(
    pairing: Pairing,
    out: Path,
    sample_rate: int,
    seed: int,
    request: SplitRequest,
    skip_bad: bool = False,
    is_dry_run: bool = False,
) -> ImportReport:
    """Write a data set of recordings and their styles; `out` is absent or complete.

    The splits have different voices where most voices have several clips. Otherwise each clip is
    cut by time and the splits share voices, with a warning. Long recordings are cut at pauses.

    Args:
        pairing: From `data.pairing` or `data.manifest`.
        out: New or empty folder.
        sample_rate: Of the samples, in Hz.
        seed: Chooses the voices of val and test.
        request: What was asked of the splits.
        skip_bad: Whether recordings and styles that cannot be used are left out.
        is_dry_run: Whether all is done but the writing.

    Raises:
        ConfigError: if a voice to hold out has no recording, or all voices are held out.
        DataError: naming the folder, recording or style, and what to do.
        StorageError: if `out` cannot be written.
    """
    check_empty(out)
    _check_one_way(pairing, request)
    bad = _Bad(len(pairing.clips) + len(pairing.doubtful), skip_bad)
    bad.add(pairing.doubtful)
    styles = _read_styles(pairing, bad)
    cut = cut_long_clips([clip for clip in pairing.clips if clip.voice in styles])
    bad.pieces = cut.counts
    held_out = [normal_name(name) for name in request.hold_out]
    asked = replace(request, hold_out=held_out)
    same = same_styles(styles)
    choose = partial(_choose, has_splits=pairing.has_splits, same=same, request=asked, seed=seed)
    with _folder(out, is_dry_run) as folder:
        new_writer = partial(_Writer, folder, styles, sample_rate)
        writer = _write_usable(cut.clips, choose, new_writer, bad)
        _check_splits(pairing.source, writer.counts, writer.splitting)
    same_voices = _same_voice_warnings(same, writer.splitting)
    return _report([*pairing.warnings, *same_voices], cut, bad, writer)


def _report(found: Sequence[str], cut: CutClips, bad: "_Bad", writer: "_Writer") -> ImportReport:
    warnings = [
        *found,
        shared_voices_warning(writer.splitting),
        given_splits_warning(writer.voices, writer.splitting),
        single_voice_warning(writer.voices, writer.splitting),
        _uncut_warning(writer.uncut, writer.splitting),
    ]
    return ImportReport(
        writer.counts,
        writer.seconds,
        {name: sorted(voices) for name, voices in writer.voices.items()},
        dict(sorted(writer.clips.items())),
        cut.describe(),
        [*bad.reasons.values()],
        [warning for warning in warnings if warning],
        _fault_warnings(writer.faults),
        describe_folds(writer.voices, writer.splitting),
    )


@contextmanager
def _folder(out: Path, is_dry_run: bool) -> Iterator[Path | None]:
    """Yield the folder to fill, or None if nothing is to be written."""
    if is_dry_run:
        yield None
        return
    with atomic_folder(out) as folder:
        yield folder


def pair_folders(audio_dir: Path, styles_dir: Path, request: SplitRequest) -> Pairing:
    """Pair the recordings of a folder, and of that of test, with styles; see `pair_recordings`."""
    folders = [audio_dir, *([request.test_dir] if request.test_dir is not None else [])]
    return pair_recordings(folders, styles_dir)


def _check_one_way(pairing: Pairing, request: SplitRequest) -> None:
    """Refuse options of the splits beside a manifest that has a column for them."""
    options = {"--split": request.how, "--hold-out": request.hold_out}
    given = [option for option, value in options.items() if value]
    if pairing.has_splits and given:
        raise ConfigError(
            f"{pairing.source}: its column split says the split of each clip; leave "
            f"{' and '.join(given)} away, or the column"
        )


@dataclass
class _Bad:
    """What cannot be used."""

    total: int
    """Number of recordings that have a style."""
    are_skipped: bool
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a file, a piece of one or a row of a manifest cannot be used."""
    pieces: Mapping[Path, int] = field(default_factory=dict)
    """Number of pieces of each long recording, which are used or not one by one."""

    def add(self, found: Mapping[str, str]) -> None:
        """Leave files out.

        Raises:
            DataError: if that is not allowed.
        """
        self.reasons.update(found)
        if not found or self.are_skipped:
            return
        first, *others = self.reasons
        also = f", also {join_names([Path(place).name for place in others])}" if others else ""
        total = self.total - len(self.pieces) + sum(self.pieces.values())
        what = "files and pieces of files" if self.pieces else "files"
        raise DataError(
            f"{self.reasons[first]}; {len(self.reasons)} of {total} {what} cannot be used"
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
    problems: dict[str, str] = {}
    for voice, path in pairing.styles.items():
        try:
            _check_length(voice)
            styles[voice] = read_voice_style(path)
        except DataError as error:
            problems[str(path)] = f"{error} (for {count_noun(counts[voice], 'recording')})"
    bad.add(problems)
    if styles:
        check_same_version({pairing.styles[voice]: style for voice, style in styles.items()})
    return styles


def _check_length(voice: str) -> None:
    """Raise a `DataError` if no sample could be named by a voice."""
    if (length := len(os.fsencode(voice))) > MAX_NAME_BYTES:
        raise DataError(
            f"{voice[:40]!r}...: a voice's name has {length} bytes, but its samples are named by "
            f"it; give it at most {MAX_NAME_BYTES}"
        )


# --- writing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    """Writes clips, and notes what it wrote."""

    folder: Path | None
    """None if nothing is to be written."""
    styles: dict[str, VoiceStyle]
    sample_rate: int
    splitting: Splitting
    voices: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in SPLITS})
    """Voices of each split."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    """Number of samples of each split."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0.0))
    """Duration of each split."""
    clips: Counter[str] = field(default_factory=Counter)
    """Number of recordings of each voice."""
    uncut: list[str] = field(default_factory=list)
    """Recordings that were to be cut and could not be."""
    reader: PieceReader = field(default_factory=PieceReader)
    faults: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in REMEDIES})
    """The recordings with each fault, and how much of it they have."""

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        for name in SPLITS:
            shutil.rmtree(self.folder / name, ignore_errors=True)  # of a writer before this one
            (self.folder / name).mkdir()

    def write_all(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Write clips; return why those that cannot be used cannot."""
        problems = {}
        for clip in progress_bar(clips, description="import"):
            try:
                self._write(clip)
            except DataError as error:
                problems[clip.place] = str(error)
        self.reader.close()
        return problems

    def _write(self, clip: Clip) -> None:
        if clip.span is None:
            recording = read_recording(clip.path)
        else:
            recording = self.reader.read(clip.path, clip.span)
        audio = to_voice(recording, self.sample_rate)
        name = Path(clip.place).name
        parts = {clip.split: audio}
        if not clip.split:
            parts = self.splitting.parts(clip.voice, audio, self.sample_rate, clip.span)
            is_whole = clip.voice in self.splitting.split_of or clip.span is not None
            if [*parts] == ["train"] and not is_whole:
                self.uncut.append(name)
        for split, part in parts.items():
            self._write_sample(clip, split, part)
        for kind, measured in measure_quality(recording).faults().items():
            self.faults[kind].append(f"{name} ({measured})")
        self.clips[clip.voice] += 1

    def _write_sample(self, clip: Clip, split: str, audio: Array) -> None:
        self.voices[split].add(clip.voice)
        self.counts[split] += 1
        self.seconds[split] += audio.size / self.sample_rate
        if self.folder is None:
            return
        style, rate, voice = self.styles[clip.voice], self.sample_rate, clip.voice
        sample = Sample(
            audio, style.ttl, style.dp, clip.text, clip.lang, sample_rate=rate, voice=voice
        )
        write_sample(self.folder / split / f"{voice}_{clip.number:04d}.npz", sample)


def _write_usable(
    clips: Sequence[Clip],
    choose: Callable[[Sequence[Clip]], Splitting],
    new_writer: Callable[[Splitting], _Writer],
    bad: _Bad,
) -> _Writer:
    """Write all clips that can be used; where some cannot, the splits are chosen again."""
    while True:
        bad.check_some_left(clips)
        writer = new_writer(choose(clips))
        problems = writer.write_all(clips)
        bad.add(problems)
        if not problems:
            return writer
        clips = [clip for clip in clips if clip.place not in problems]


def _choose(
    clips: Sequence[Clip],
    has_splits: bool,
    same: Sequence[Sequence[str]],
    request: SplitRequest,
    seed: int,
) -> Splitting:
    """Choose the splits; voices whose styles are the same are split as one."""
    if has_splits:
        return Splitting({}, is_given=True)
    first_of = {name: names[0] for names in same for name in names}
    voices = [clip.voice for clip in clips if not clip.split]
    clips_of = count_clips(first_of.get(voice, voice) for voice in voices)
    held_out = dict.fromkeys(first_of.get(name, name) for name in request.hold_out)
    chosen = choose_splitting(clips_of, replace(request, hold_out=[*held_out]), seed)
    split_of = {
        voice: chosen.split_of[first]
        for voice in voices
        if (first := first_of.get(voice, voice)) in chosen.split_of
    }
    return replace(chosen, split_of=split_of)


def _same_voice_warnings(same: Sequence[Sequence[str]], splitting: Splitting) -> list[str]:
    what = "; a split may get a voice that another one knows" if splitting.is_given else ""
    what = what or " and are split as one voice"
    return [
        f"{join_names(names)} have the same style{what}; give its clips one name" for names in same
    ]


def _check_splits(source: Path, counts: Mapping[str, int], splitting: Splitting) -> None:
    if splitting.is_given:
        check_given_splits(source, counts)
    elif not all(counts.values()):
        parts = "train, val and test" if splitting.has_test else "train and val"
        raise DataError(
            f"{source}: no clip is long enough to be cut into {parts}; use clips of "
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
