"""Import: make a data set with train, val and test from recordings and styles.

A recording belongs to the style whose name its file name starts with, up to a separator:
`anna.json` matches `anna.wav`, `anna_01.wav` and `anna-2.flac`, but not `annabel.wav`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tune_encoder.data.audio import (
    AUDIO_SUFFIXES,
    CONVERT_SUFFIXES,
    ffmpeg_command,
    is_silent,
    load_voice,
)
from tune_encoder.data.samples import SPLITS, Sample, write_sample
from tune_encoder.data.voice_style import VoiceStyle, check_same_version, read_voice_style
from tune_encoder.errors import DataError
from tune_encoder.system.files import atomic_folder, check_empty
from tune_encoder.system.formats import count_noun

MIN_VOICES = 3  # one for each split
HELD_OUT_FRACTION = 0.1  # of the voices, for val and again for test
VAL_START, TEST_START = 0.7, 0.85  # fractions at which a clip is cut where splits share voices
MIN_PART_S = 1.0  # a shorter part says little about a voice
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


@dataclass(frozen=True)
class _Clip:
    path: Path
    voice: str
    number: int
    """Index of the clip among those of its voice, from 0."""


def import_voices(
    audio_dir: Path, styles_dir: Path, out: Path, sample_rate: int, seed: int
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

    Raises:
        DataError: naming the folder, recording or style, and what to do.
        StorageError: if `out` cannot be written.
    """
    check_empty(out)
    clips, warnings = _pair_recordings(audio_dir, styles_dir)
    styles = _read_styles(styles_dir, clips)
    split_of, reason = _choose_splits(clips, seed)
    with atomic_folder(out) as partial:
        for split in SPLITS:
            (partial / split).mkdir()
        writer = _Writer(partial, styles, sample_rate)
        uncut = _write_clips(clips, split_of, writer)
        counts = {split: len(list((partial / split).iterdir())) for split in SPLITS}
        _check_splits(audio_dir, counts)
    return ImportReport(counts, sorted(styles), [*warnings, *_split_warnings(reason, uncut)])


# --- pairing -------------------------------------------------------------------------------------


def _pair_recordings(audio_dir: Path, styles_dir: Path) -> tuple[list[_Clip], list[str]]:
    """Return the clips that have a style, and warnings about skipped files."""
    files = _files(audio_dir)
    recordings = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    names = {path.stem for path in _files(styles_dir) if path.suffix == ".json"}
    voice_of = {path: voice_name(path.stem, names) for path in recordings}
    if not any(voice_of.values()):
        raise DataError(
            f"{audio_dir}: of {count_noun(len(recordings), 'recording')} none matches any of "
            f"{count_noun(len(names), 'style')} in {styles_dir}; name them NAME.wav or "
            "NAME_01.wav for NAME.json"
        )
    return _number_clips(voice_of), _skipped_warnings(files, voice_of, names)


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


def _number_clips(voice_of: Mapping[Path, str | None]) -> list[_Clip]:
    n_clips: Counter[str] = Counter()
    clips = []
    for path, voice in voice_of.items():
        if voice is not None:
            clips.append(_Clip(path, voice, n_clips[voice]))
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


# --- splitting -----------------------------------------------------------------------------------


def _choose_splits(clips: list[_Clip], seed: int) -> tuple[dict[str, str] | None, str]:
    """Return the split of each voice, or None and the reason why the splits share voices."""
    n_clips = Counter(clip.voice for clip in clips)
    n_several = sum(count > 1 for count in n_clips.values())
    if len(n_clips) < MIN_VOICES:
        voices = f"{count_noun(len(n_clips), 'voice')} {'is' if len(n_clips) == 1 else 'are'}"
        return None, f"{voices} too few to hold some out for val and test"
    if 2 * n_several <= len(n_clips):
        return None, f"{n_several} of {len(n_clips)} voices have several clips"
    return assign_splits(sorted(n_clips), seed), ""


def assign_splits(voices: list[str], seed: int) -> dict[str, str]:
    """Assign about 10 % of the voices each to val and test, at least one; the rest is train."""
    shuffled = [voices[i] for i in np.random.default_rng(seed).permutation(len(voices))]
    held_out = max(1, round(HELD_OUT_FRACTION * len(voices)))
    val, test = shuffled[:held_out], shuffled[held_out : 2 * held_out]
    return {
        voice: "val" if voice in val else "test" if voice in test else "train" for voice in voices
    }


def cut_by_time(audio: Array, sample_rate: int) -> dict[str, Array]:
    """Cut a clip at 70 and 85 %, each part at least 1 s; if that is impossible, all is train."""
    min_samples = round(MIN_PART_S * sample_rate)
    test_start = min(round(TEST_START * audio.size), audio.size - min_samples)
    val_start = min(round(VAL_START * audio.size), test_start - min_samples)
    if val_start < min_samples:
        return {"train": audio}
    parts = np.split(audio, [val_start, test_start])
    if any(is_silent(part) for part in parts):  # a long pause of digital silence
        return {"train": audio}
    return dict(zip(SPLITS, parts, strict=True))


def _check_splits(audio_dir: Path, counts: Mapping[str, int]) -> None:
    if not all(counts.values()):
        raise DataError(
            f"{audio_dir}: no clip is long enough to be cut into train, val and test; use clips "
            f"of {3 * MIN_PART_S:g} s or more, or several clips of each of {MIN_VOICES} voices"
        )


def _split_warnings(reason: str, uncut: list[str]) -> list[str]:
    warnings = []
    if reason:
        warnings.append(
            f"split by time ({reason}): train, val and test share voices, so scores tell how "
            "well known voices are recognised, not how well new voices are cloned"
        )
    if uncut:
        warnings.append(
            f"left {count_noun(len(uncut), 'clip')} uncut, in train only: {_join_names(uncut)}; "
            f"a clip needs {3 * MIN_PART_S:g} s without a long pause"
        )
    return warnings


# --- writing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Writer:
    folder: Path
    styles: dict[str, VoiceStyle]
    sample_rate: int

    def write(self, clip: _Clip, split: str, audio: Array) -> None:
        style = self.styles[clip.voice]
        sample = Sample(
            audio, style.ttl, style.dp, "", "na", sample_rate=self.sample_rate, voice=clip.voice
        )
        write_sample(self.folder / split / f"{clip.voice}_{clip.number:04d}.npz", sample)


def _write_clips(clips: list[_Clip], split_of: dict[str, str] | None, writer: _Writer) -> list[str]:
    """Write all clips; return the names of those that could not be cut."""
    problems: dict[str, str] = {}
    uncut = []
    for clip in tqdm(clips, desc="import", disable=None, ncols=80):
        try:
            parts = _load_parts(clip, split_of, writer.sample_rate)
        except DataError as error:
            problems[clip.path.name] = str(error)
            continue
        if split_of is None and len(parts) == 1:
            uncut.append(clip.path.name)
        for split, part in parts.items():
            writer.write(clip, split, part)
    _raise_problems(problems)
    return uncut


def _load_parts(clip: _Clip, split_of: dict[str, str] | None, sample_rate: int) -> dict[str, Array]:
    audio = load_voice(clip.path, sample_rate)
    if split_of is None:
        return cut_by_time(audio, sample_rate)
    return {split_of[clip.voice]: audio}


def _raise_problems(problems: dict[str, str]) -> None:
    """Raise the first problem and name the other files that have one."""
    if problems:
        first, *others = problems
        more = f"; {len(others)} more cannot be used: {_join_names(others)}" if others else ""
        raise DataError(problems[first] + more)
