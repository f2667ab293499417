"""Pairing: of which voice a recording is, by the names of files and folders.

A recording belongs to the style whose name its file name starts with, up to a separator:
`anna.json` matches `anna.wav`, `anna_01.wav` and `anna-2.flac`, but not `annabel.wav`. One in a
folder that has the name of a voice, at any depth, belongs to that voice, whatever its own name.

Names are compared in Unicode's normal form C: macOS writes an accent as a character of its own.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tune_encoder.data.audio_file import (
    CONVERT_SUFFIXES,
    Span,
    ffmpeg_command,
    place_of,
    readable_suffixes,
)
from tune_encoder.errors import DataError
from tune_encoder.system.files import files_with_suffix
from tune_encoder.system.formats import count_noun

MAX_NAMES = 5  # in one warning; more would push the other warnings off the screen
_LABELS = frozenset((
    "audio", "ch", "channel", "chunk", "clip", "cut", "file", "line", "mic", "mix", "mono", "part",
    "rec", "record", "recording", "sample", "seg", "segment", "sent", "sentence", "session",
    "sound", "speech", "take", "track", "utt", "utterance", "vocal", "vocals", "voice", "wav",
))  # fmt: skip
"""Words after a voice's name that say which of its clips it is, and are no part of a name."""
_LABEL_FOLLOWS = "_"  # as in anna_happy; names of two words are written with others


@dataclass(frozen=True)
class Clip:
    """A recording and its voice."""

    path: Path
    voice: str
    number: int
    """Index of the clip among those of its voice, from 0."""
    split: str = ""
    """The split that was asked for it; empty if it is still to be chosen."""
    text: str = ""
    lang: str = "na"
    span: Span | None = None
    """Which piece of a long recording it is; None if it is all of it."""

    @property
    def place(self) -> str:
        """What a message calls it."""
        return place_of(self.path, self.span)


@dataclass(frozen=True)
class Pairing:
    """Which recordings belong to which styles."""

    clips: list[Clip]
    styles: dict[str, Path]
    """The style file of each voice that has a clip."""
    doubtful: dict[str, str]
    """Why a recording, or a row of a manifest, is not used, such as that it could be of another
    voice than the one its name starts with."""
    warnings: list[str]
    """Of files that were skipped."""
    source: Path
    """The folder or manifest that it was read from."""
    has_splits: bool = False
    """Whether each clip has a split that a manifest gives it."""


def pair_recordings(folders: Sequence[Path], styles_dir: Path) -> Pairing:
    """Find the voice of each recording.

    Args:
        folders: The folder of recordings, and that of test if it has one; with a subfolder for each
            voice, or without.
        styles_dir: The folder of styles, NAME.json or NAME/*.json.

    Raises:
        DataError: naming a folder without any pair, or two styles of one name.
    """
    voices = find_voices(styles_dir)
    found = {folder: _find_recordings(folder, voices) for folder in folders}
    for folder, each in found.items():
        _check_some_match(folder, each, voices, styles_dir)
    clips = list(_number_clips(found))
    styles = {voice: voices.styles[voice] for voice in sorted({clip.voice for clip in clips})}
    doubtful = {path: why for each in found.values() for path, why in each.doubtful.items()}
    used = {*styles, *(voices.nearest(path.stem) for path in doubtful)}
    unused = [path.name for voice, path in voices.styles.items() if voice not in used]
    reasons = {str(path): why for path, why in doubtful.items()}
    return Pairing(clips, styles, reasons, _skipped_warnings(found, unused), folders[0])


def _check_some_match(folder: Path, found: "_Found", voices: "Voices", styles_dir: Path) -> None:
    if any(voice is not None for voice in found.voice_of.values()):
        return
    if found.to_convert and not found.voice_of:
        raise DataError(f"{folder}: {_convert_message(folder, found.to_convert)}")
    raise DataError(
        f"{folder}: of {count_noun(len(found.voice_of), 'recording')} none matches any of "
        f"{count_noun(len(voices.styles), 'style')} in {styles_dir}; name them NAME.wav, "
        "NAME_01.wav or NAME/01.wav for NAME.json"
    )


@dataclass(frozen=True)
class _Found:
    """The recordings of a folder."""

    voice_of: dict[Path, str | None] = field(default_factory=dict)
    """None of one without a style; "" of a doubtful one."""
    doubtful: dict[Path, str] = field(default_factory=dict)
    to_convert: list[Path] = field(default_factory=list)
    """Recordings of formats that are not read."""


def _find_recordings(folder: Path, voices: "Voices") -> _Found:
    found, readable = _Found(), readable_suffixes()
    for path in _files(folder):
        suffix = path.suffix.lower()
        if suffix in readable:
            try:
                found.voice_of[path] = voices.voice_of(path.relative_to(folder))
            except DataError as doubt:
                found.voice_of[path], found.doubtful[path] = "", f"{path}: {doubt}"
        elif suffix in CONVERT_SUFFIXES:
            found.to_convert.append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    """The visible files of a folder and its subfolders, in order."""
    _check_folder(folder)
    for path in sorted(folder.rglob("*")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the files")


def _number_clips(found: Mapping[Path, _Found]) -> Iterator[Clip]:
    counts: Counter[str] = Counter()
    for number, each in enumerate(found.values()):
        for path, voice in each.voice_of.items():
            if voice:
                yield Clip(path, voice, counts[voice], split="test" if number > 0 else "")
                counts[voice] += 1


# --- voices --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Voices:
    """The styles of an import by the names of their voices."""

    styles: dict[str, Path] = field(default_factory=dict)
    """The style file of each voice."""
    several: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of a folder with several styles: the voice of each, by its own name."""

    def add(self, voice: str, path: Path) -> None:
        """Add the style of a voice.

        Raises:
            DataError: if it has one already.
        """
        if other := self.styles.get(voice):
            raise DataError(f"{path} and {other} are both the style of {voice!r}; rename one")
        self.styles[voice] = path

    def voice_of(self, path: Path) -> str | None:
        """Return the voice of a recording; None if it has none.

        Args:
            path: Relative to the folder of recordings.

        Raises:
            DataError: without the path, if it could be of another voice.
        """
        for folder in map(normal_name, path.parts[:-1]):  # a chapter of LibriTTS is a number, too
            if folder in self.several:
                own = self.several[folder]
                name = matching_name(path.stem, own)
                return name and own[name]
            if folder in self.styles:
                self._check_folder(path, folder)
                return folder
        name = self.nearest(path.stem)
        if name is not None:
            _check_no_other_name(path.stem, name)
        return name

    def nearest(self, stem: str) -> str | None:
        """Return the longest name that the stem starts with."""
        return matching_name(stem, self.styles)

    def _check_folder(self, path: Path, folder: str) -> None:
        named = self.nearest(path.stem)
        if named not in (None, folder) and not str(named).isdigit():
            raise DataError(
                f"is in the folder of {folder!r} but named as one of {named!r}; move or rename it"
            )


def find_voices(styles_dir: Path) -> Voices:
    """Find the styles of a folder, NAME.json or NAME/*.json.

    Raises:
        DataError: if there is no such folder, or two styles are of one name.
    """
    _check_folder(styles_dir)
    voices = Voices()
    for path in files_with_suffix(styles_dir, ".json"):
        voices.add(normal_name(path.stem), path)
    for folder in sorted(path for path in styles_dir.iterdir() if path.is_dir()):
        _add_folder(voices, folder)
    return voices


def _add_folder(voices: Voices, folder: Path) -> None:
    """Add the styles of a speaker's folder: NAME/NAME.json, a single one, or several."""
    name = normal_name(folder.name)
    found = [(normal_name(path.stem), path) for path in files_with_suffix(folder, ".json")]
    own = [path for stem, path in found if stem == name]
    if own or (len(found) == 1 and name not in voices.styles):
        for path in own or [found[0][1]]:
            voices.add(name, path)
    elif name not in voices.styles and not name.startswith("."):
        for stem, path in found:
            voices.add(f"{name}_{stem}", path)
            voices.several.setdefault(name, {})[stem] = f"{name}_{stem}"


# --- names ---------------------------------------------------------------------------------------


def normal_name(name: str) -> str:
    """Return a name in Unicode's normal form C."""
    return unicodedata.normalize("NFC", name)


def matching_name(stem: str, names: Iterable[str]) -> str | None:
    """Return the longest of `names`, in form C, that is the stem or its start before a separator.

    A combining mark, such as a vowel sign, belongs to the letter before it.
    """
    stem = normal_name(stem)
    matching = [
        name
        for name in names
        if stem == name or (stem.startswith(name) and _is_separator(stem[len(name)]))
    ]
    return max(matching, key=len, default=None)


def _is_separator(character: str) -> bool:
    """Whether a name ends before it; joiners of letters (Cf), as in Hindi, are part of one."""
    category = unicodedata.category(character)
    return not character.isalnum() and not category.startswith("M") and category != "Cf"


def _check_no_other_name(stem: str, name: str) -> None:
    """Refuse `maria-luisa_0` for `maria`: the word after the name may be a part of another."""
    other = _other_name(stem, name)
    if not other or other[len(name)] == _LABEL_FOLLOWS:
        return
    raise DataError(
        f"is of {name!r} or of {other!r}, which has no style; add {other}.json, or put it into a "
        f"folder {name}/ or rename it {name}_1"
    )


def _other_name(stem: str, name: str) -> str:
    """Return the longer name that a recording of `name` could be of too; empty if there is none."""
    stem = normal_name(stem)
    words = "".join(" " if _is_separator(each) else each for each in stem[len(name) :])
    word = re.match(r" *(\D*?)(?=[ \d]|$)", words)
    return stem[: len(name) + word.end()] if word and _may_be_a_name(word[1]) else ""


def _may_be_a_name(word: str) -> bool:
    """Whether a word is no label of a clip: not a letter as in `anna_a`, and not `take`."""
    is_letter = len(word) == 1 and (word.islower() or word.isupper())
    return bool(word) and not is_letter and word.casefold() not in _LABELS


# --- warnings ------------------------------------------------------------------------------------


def _skipped_warnings(found: Mapping[Path, _Found], unused: list[str]) -> list[str]:
    lonely = [
        str(path.relative_to(folder))
        for folder, each in found.items()
        for path, voice in each.voice_of.items()
        if voice is None
    ]
    warnings = []
    if lonely:
        warnings.append(
            f"skipped {count_noun(len(lonely), 'recording')} without a style: "
            f"{join_names(lonely)}; name them NAME.wav or NAME_01.wav for NAME.json"
        )
    if labelled := list(_labelled(found)):
        warnings.append(
            f"taken as of the voice before {_LABEL_FOLLOWS!r}: {join_names(labelled)}; add a style "
            "of the longer name if another voice is meant"
        )
    if unused:
        styles = count_noun(len(unused), "style")
        warnings.append(f"skipped {styles} without a recording: {join_names(sorted(unused))}")
    warnings += [
        f"skipped {_convert_message(folder, each.to_convert)}"
        for folder, each in found.items()
        if each.to_convert
    ]
    return warnings


def _convert_message(folder: Path, paths: Sequence[Path]) -> str:
    return (
        f"{count_noun(len(paths), 'recording')} of formats that are not read here: "
        f"{join_names([path.name for path in paths])}; convert them: "
        f"{ffmpeg_command(paths, folder)}"
    )


def _labelled(found: Mapping[Path, _Found]) -> Iterator[str]:
    """The recordings, outside folders of voices, whose names say more than a number."""
    for folder, each in found.items():
        for path, voice in each.voice_of.items():
            folders = map(normal_name, path.relative_to(folder).parts[:-1])
            if voice and voice not in folders and _other_name(path.stem, voice):
                yield path.name


def join_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
