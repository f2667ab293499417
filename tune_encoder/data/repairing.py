"""Repair: a data set whose styles have rows of another norm than 1, as a generator may write them.

A mixture of voices has shorter rows that point where those of voices point: scaled to norm 1 it is
a style like any other. Noise, alone or added to a voice, points elsewhere, and no scaling makes a
voice of it. `data.style_span` tells the two apart.
"""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tune_encoder.data.checking import REQUIRED_SPLITS, layout_problems
from tune_encoder.data.samples import (
    SPLITS,
    Sample,
    copy_with_style,
    find_samples,
    read_any_norm,
    read_sample,
)
from tune_encoder.data.style_span import MAX_STYLES, MIN_STYLES, StyleSpan
from tune_encoder.data.voice_bank import read_styles
from tune_encoder.data.voice_style import VoiceStyle, check_same_version
from tune_encoder.errors import DataError, StyleNormError
from tune_encoder.system.bars import progress_bar
from tune_encoder.system.files import atomic_folder, check_empty
from tune_encoder.system.formats import count_noun

UNIT_WITHIN = 1e-3  # of norm 1; a style in half precision is nearer


@dataclass
class SplitRepair:
    """What became of the clips of a split."""

    copied: int = 0
    """Clips whose style was good: the same bytes."""
    scaled: int = 0
    """Clips whose style got rows of norm 1."""
    far: list[str] = field(default_factory=list)
    """Why each clip was left out whose style is no voice, with its path."""
    unreadable: list[str] = field(default_factory=list)
    """Why each other clip was left out, with its path."""

    @property
    def kept(self) -> int:
        """Number of clips that were written."""
        return self.copied + self.scaled

    @property
    def left_out(self) -> list[str]:
        """Why each clip was left out."""
        return [*self.far, *self.unreadable]


def repair_data(data_dir: Path, out: Path, presets: Path | None) -> dict[str, SplitRepair]:
    """Write a data set in which all styles have rows of norm 1; `out` is absent or complete.

    Styles that `data check` accepts stay, scaled where that is needed. Another is scaled if its
    rows point where those of the accepted ones do, and left out if not. Clips stay in their splits.

    Args:
        data_dir: Folder with train/, val/ and optionally test/.
        out: New or empty folder.
        presets: Folder of style JSONs, to measure by as well.

    Raises:
        ConfigError: if `out` is in use.
        DataError: if there are too few styles to measure by, if `presets` has none or those of
            another version, or if nothing would be left of train or val.
        StorageError: if `out` cannot be written.
    """
    check_empty(out)
    paths = {name: find_samples(data_dir / name) for name in SPLITS}
    for problem in layout_problems(data_dir, paths):
        raise DataError(problem.message)
    survey = _Survey(data_dir)
    if presets is not None:
        survey.known.update(read_styles(presets))
    for path in _progress(paths, "reading"):
        survey.add(path)
    survey.check()
    with atomic_folder(out) as folder:
        repairs = {name: SplitRepair() for name in SPLITS}
        for name in SPLITS:
            (folder / name).mkdir()
        for path in _progress(paths, "writing"):
            survey.write(path, folder / path.parent.name, repairs[path.parent.name])
        _check_some_left(data_dir, repairs)
    return repairs


def _progress(paths: dict[str, list[Path]], description: str) -> Iterator[Path]:
    found = [path for each in paths.values() for path in each]
    yield from progress_bar(found, description=description)


@dataclass
class _Survey:
    """What the styles of a data set are."""

    data_dir: Path
    known: dict[Path, VoiceStyle] = field(default_factory=dict)
    """Different good styles, to measure by."""
    problems: dict[Path, DataError] = field(default_factory=dict)
    """Of samples that are not good."""
    seen: set[bytes] = field(default_factory=set)

    def add(self, path: Path) -> None:
        """Read a sample."""
        try:
            sample = read_sample(path)
        except DataError as error:
            self.problems[path] = error
            return
        digest = hashlib.sha256(sample.style_ttl.tobytes()).digest()
        if digest not in self.seen and len(self.known) < MAX_STYLES:
            self.seen.add(digest)
            self.known[path] = _style_of(sample).normalized()

    def check(self) -> None:
        """Check that the good styles are of one version, and enough to measure by.

        Raises:
            DataError: if not.
        """
        if self.known:
            check_same_version(self.known)
        doubtful = sum(isinstance(error, StyleNormError) for error in self.problems.values())
        if doubtful and len(self.known) < MIN_STYLES:
            raise DataError(
                f"{self.data_dir}: {count_noun(len(self.known), 'different style')} of norm 1 "
                f"cannot tell which of {count_noun(doubtful, 'other')} are voices; name presets of "
                f"the same version, {MIN_STYLES} or more, with --presets DIR"
            )

    @cached_property
    def span(self) -> StyleSpan:
        """Where the rows of good styles point."""
        return StyleSpan.of([*self.known.values()])

    def write(self, path: Path, folder: Path, repair: SplitRepair) -> None:
        """Write a sample into the folder of its split, if it is kept."""
        error = self.problems.get(path)
        if error is not None and not isinstance(error, StyleNormError):
            repair.unreadable.append(str(error))
            return
        style = _style_of(read_any_norm(path))
        if error is not None and (problem := self.span.problem(style)):
            repair.far.append(f"{path}: {problem}")
        elif _is_unit(style):
            shutil.copyfile(path, folder / path.name)
            repair.copied += 1
        else:
            _scale(path, folder / path.name, style, repair)


def _scale(path: Path, target: Path, style: VoiceStyle, repair: SplitRepair) -> None:
    """Write a sample with rows of norm 1, unless an array that no sample needs is damaged."""
    try:
        copy_with_style(path, target, style.normalized())
        repair.scaled += 1
    except DataError as error:
        target.unlink()
        repair.unreadable.append(str(error))


def _style_of(sample: Sample) -> VoiceStyle:
    return VoiceStyle(sample.style_ttl, sample.style_dp)


def _is_unit(style: VoiceStyle) -> bool:
    parts = (part.astype(np.float64) for part in (style.ttl, style.dp))
    norms = np.concatenate([np.linalg.norm(part, axis=-1) for part in parts])
    return bool(np.abs(norms - 1).max() <= UNIT_WITHIN)


def _check_some_left(data_dir: Path, repairs: dict[str, SplitRepair]) -> None:
    for name in REQUIRED_SPLITS:
        repair = repairs[name]
        if not repair.kept:
            clips = count_noun(len(repair.left_out), "clip")
            raise DataError(
                f"{data_dir / name}: nothing would be left of {clips}, the first being "
                f"{repair.left_out[0]}; generate it again"
            )
