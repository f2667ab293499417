"""Import: make a data set with train, val and test from recordings and styles.

A recording belongs to the style whose name its file name starts with, up to a separator:
`anna.json` matches `anna.wav`, `anna_01.wav` and `anna-2.flac`, but not `annabel.wav`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tune_encoder.data.audio import (
    AUDIO_SUFFIXES,
    CONVERT_SUFFIXES,
    ffmpeg_command,
    load_voice,
)
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

MAX_NAMES = 5  # in one warning; more would push the other warnings off the screen

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote, with its warnings."""

    counts: dict[str, int]
    """Number of samples of each split."""
    voices: list[str]
    """Names of the voices, sorted."""
    warnings: list[str]
    validation: str
    """On what a search will score its configs, if that is not val."""


@dataclass(frozen=True)
class _Clip:
    path: Path
    voice: str
    number: int
    """Index of the clip among those of its voice, from 0."""
    is_test: bool
    """Whether it lies in the folder that makes test."""


def import_voices(
    audio_dir: Path,
    styles_dir: Path,
    out: Path,
    sample_rate: int,
    seed: int,
    request: SplitRequest,
) -> ImportReport:
    """Write a data set of all recordings that have a style; `out` is absent or complete.

    The splits have different voices where most voices have several clips. Otherwise each clip is
    cut by time and the splits share voices, with a warning.

    Args:
        audio_dir: Folder with NAME*.wav, .flac, .ogg or .mp3.
        styles_dir: Folder with NAME.json; may be the same folder.
        out: New or empty folder.
        sample_rate: Of the samples, in Hz.
        seed: Chooses the voices of val and test.
        request: What was asked of the splits.

    Raises:
        ConfigError: if a voice to hold out has no recording, or all voices are held out.
        DataError: naming the folder, recording or style, and what to do.
        StorageError: if `out` cannot be written.
    """
    check_empty(out)
    folders = [audio_dir, *([request.test_dir] if request.test_dir is not None else [])]
    clips, warnings = _pair_recordings(folders, styles_dir)
    styles = _read_styles(styles_dir, clips)
    own = count_clips(clip.voice for clip in clips if not clip.is_test)
    splitting = choose_splitting(own, request, seed)
    with atomic_folder(out) as partial:
        for split in SPLITS:
            (partial / split).mkdir()
        writer = _Writer(partial, styles, sample_rate)
        uncut = _write_clips(clips, splitting, writer)
        counts = {name: len(list((partial / name).iterdir())) for name in SPLITS}
        _check_splits(audio_dir, counts, splitting)
    warnings += [
        shared_voices_warning(splitting),
        single_voice_warning(writer.voices, splitting),
        _uncut_warning(uncut, splitting),
    ]
    kept = [warning for warning in warnings if warning]
    return ImportReport(counts, sorted(styles), kept, describe_folds(writer.voices, splitting))


# --- pairing -------------------------------------------------------------------------------------


def _pair_recordings(folders: list[Path], styles_dir: Path) -> tuple[list[_Clip], list[str]]:
    """Return the clips that have a style, and warnings about skipped files.

    Args:
        folders: The folder of recordings, and that of test if it has one.
        styles_dir: The folder of styles.
    """
    names = {path.stem for path in _files(styles_dir) if path.suffix == ".json"}
    files = [path for folder in folders for path in _files(folder)]
    recordings = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    voice_of = {path: voice_name(path.stem, names) for path in recordings}
    for folder in folders:
        own = [path for path in recordings if path.parent == folder]
        if not any(voice_of[path] for path in own):
            raise DataError(
                f"{folder}: of {count_noun(len(own), 'recording')} none matches any of "
                f"{count_noun(len(names), 'style')} in {styles_dir}; name them NAME.wav or "
                "NAME_01.wav for NAME.json"
            )
    return _number_clips(voice_of, folders[1:]), _skipped_warnings(files, voice_of, names)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the files")
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def voice_name(stem: str, names: Iterable[str]) -> str | None:
    """Return the longest of `names` that is the stem or its start before a separator."""
    matching = [
        name
        for name in names
        if stem == name or (stem.startswith(name) and not stem[len(name)].isalnum())
    ]
    return max(matching, key=len, default=None)


def _number_clips(voice_of: Mapping[Path, str | None], test_folders: Sequence[Path]) -> list[_Clip]:
    n_clips: Counter[str] = Counter()
    clips = []
    for path, voice in voice_of.items():
        if voice is not None:
            clips.append(_Clip(path, voice, n_clips[voice], path.parent in test_folders))
            n_clips[voice] += 1
    return clips


def _skipped_warnings(
    files: list[Path], voice_of: Mapping[Path, str | None], names: set[str]
) -> list[str]:
    without_style = [path.name for path, voice in voice_of.items() if voice is None]
    unused = sorted(f"{name}.json" for name in names - set(voice_of.values()))
    unsupported = [path for path in files if path.suffix.lower() in CONVERT_SUFFIXES]
    warnings = []
    if without_style:
        warnings.append(
            f"skipped {count_noun(len(without_style), 'recording')} without a style: "
            f"{_join_names(without_style)}; name them NAME.wav or NAME_01.wav for NAME.json"
        )
    if unused:
        styles = count_noun(len(unused), "style")
        warnings.append(f"skipped {styles} without a recording: {_join_names(unused)}")
    if unsupported:
        warnings.append(
            f"skipped {count_noun(len(unsupported), 'recording')} other than WAV, FLAC, OGG or "
            f"MP3: {_join_names([path.name for path in unsupported])}; convert them: "
            f"{ffmpeg_command(unsupported[0])}"
        )
    return warnings


def _join_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _read_styles(styles_dir: Path, clips: list[_Clip]) -> dict[str, VoiceStyle]:
    voices = sorted({clip.voice for clip in clips})
    styles = {styles_dir / f"{voice}.json": voice for voice in voices}
    read = {path: read_voice_style(path) for path in styles}
    check_same_version(read)
    return {styles[path]: style for path, style in read.items()}


# --- writing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    folder: Path
    styles: dict[str, VoiceStyle]
    sample_rate: int
    voices: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in SPLITS})
    """What was written, by split."""

    def write(self, clip: _Clip, split: str, audio: Array) -> None:
        self.voices[split].add(clip.voice)
        style = self.styles[clip.voice]
        sample = Sample(
            audio, style.ttl, style.dp, "", "na", sample_rate=self.sample_rate, voice=clip.voice
        )
        write_sample(self.folder / split / f"{clip.voice}_{clip.number:04d}.npz", sample)


def _write_clips(clips: list[_Clip], splitting: Splitting, writer: _Writer) -> list[str]:
    """Write all clips; return the names of those that could not be cut."""
    problems: dict[str, str] = {}
    uncut = []
    for clip in tqdm(clips, desc="import", disable=None, ncols=80):
        try:
            parts = _load_parts(clip, splitting, writer.sample_rate)
        except DataError as error:
            problems[clip.path.name] = str(error)
            continue
        if [*parts] == ["train"] and clip.voice not in splitting.split_of:
            uncut.append(clip.path.name)
        for split, part in parts.items():
            writer.write(clip, split, part)
    _raise_problems(problems)
    return uncut


def _load_parts(clip: _Clip, splitting: Splitting, sample_rate: int) -> dict[str, Array]:
    audio = load_voice(clip.path, sample_rate)
    return {"test": audio} if clip.is_test else splitting.parts(clip.voice, audio, sample_rate)


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
        f"left {count_noun(len(uncut), 'clip')} uncut, in train only: {_join_names(uncut)}; "
        f"a clip needs {splitting.least_s:g} s without a long pause"
    )


def _raise_problems(problems: dict[str, str]) -> None:
    """Raise the first problem and name the other files that have one."""
    if problems:
        first, *others = problems
        more = f"; {len(others)} more cannot be used: {_join_names(others)}" if others else ""
        raise DataError(problems[first] + more)
