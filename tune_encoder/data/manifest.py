"""Manifests: tables that say of which voice each recording is, as CSV, TSV or JSON lines.

Columns: `audio` is a file; `style` the style of its voice; `speaker` the name of the voice; `text`,
`lang` and `split` (train, val or test) are kept. Paths are relative to the manifest's folder.
A row without a style has the style of the other rows of its speaker, or the one in the folder of
styles that has the speaker's name. A row without a speaker is of the voice that its style names. A
speaker with several styles is several voices, `anna_calm` and `anna_loud`.
"""

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tune_encoder.data.pairing import Clip, Pairing, Voices, find_voices, join_names, normal_name
from tune_encoder.data.samples import SPLITS
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.system.files import check_regular

COLUMNS = ("audio", "style", "speaker", "text", "lang", "split")
TABLE_SUFFIXES, LINES_SUFFIXES = (".csv", ".tsv"), (".jsonl", ".ndjson")
_DELIMITERS = ",;\t"
_NO_LANGUAGE = "na"
_SHOWN = 80  # letters of a path that is too long
_LIKE_A_COLUMN = 0.7  # of difflib: `speakers` and `lnag` are, `duration` and `gender` are not


@dataclass(frozen=True)
class _Row:
    """A row of a manifest."""

    number: int
    """As an editor of tables or of text shows it, from 1."""
    values: dict[str, str]
    """By column; empty where it says nothing."""
    problem: str = ""
    """Why it cannot be read."""

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "").strip()


def read_manifest(path: Path, styles_dir: Path | None = None) -> Pairing:
    """Read which recordings belong to which styles.

    Args:
        path: The manifest.
        styles_dir: Folder of styles, for speakers of which no row has one.

    Returns:
        The pairing; rows that cannot be used are its doubtful ones, each with its number.

    Raises:
        ConfigError: if its suffix is none of a manifest.
        DataError: naming the manifest and what is wrong with it as a whole.
    """
    check_regular(path, "a manifest")
    rows = [*_read_rows(path)]
    if not rows:
        raise DataError(f"{path}: has no row; write one for each recording")
    columns = [*dict.fromkeys(column for row in rows for column in row.values)]
    warnings = _check_columns(path, columns)
    voices = find_voices(styles_dir) if styles_dir is not None else Voices()
    manifest = _Manifest(path, voices, any(row["split"] for row in rows))
    manifest.collect_styles(rows)
    for row in rows:
        manifest.add(row)
    return Pairing(
        manifest.clips, manifest.styles, manifest.problems, warnings, path, manifest.has_splits
    )


# --- rows ----------------------------------------------------------------------------------------


def _read_rows(path: Path) -> Iterator[_Row]:
    suffix = path.suffix.lower()
    if suffix not in (*TABLE_SUFFIXES, *LINES_SUFFIXES):
        raise ConfigError(
            f"{path}: a manifest is one of {', '.join((*TABLE_SUFFIXES, *LINES_SUFFIXES))}; "
            "rename it as what it is"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise DataError(f"{path}: is not UTF-8 ({error}); save it as UTF-8") from error
    return _table_rows(path, text) if suffix in TABLE_SUFFIXES else _object_rows(text)


def _table_rows(path: Path, text: str) -> Iterator[_Row]:
    """The rows of a table; that of the columns has number 1."""
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    number = 0
    try:
        for number, fields in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
            if number == 1:
                columns = [name.strip() for name in fields]
                _check_no_column_twice(path, columns)
            elif fields:
                yield _table_row(number, columns, fields)
    except csv.Error as error:
        raise DataError(f"{path}: row {number + 1} is not readable as CSV ({error})") from error


def _table_row(number: int, columns: list[str], fields: list[str]) -> _Row:
    values = dict(zip(columns, fields, strict=False))
    problem = ""
    if len(fields) != len(columns):
        problem = (
            f"has {len(fields)} fields and the first row {len(columns)}; quote a text that has "
            "the character between fields"
        )
    return _Row(number, values, problem)


def _check_no_column_twice(path: Path, columns: list[str]) -> None:
    for name, count in Counter(columns).items():
        if count > 1:
            raise DataError(f"{path}: has the column {name!r} {count} times; name each once")


def _object_rows(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _object_row(number, line)


def _object_row(number: int, line: str) -> _Row:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Row(number, {}, f"is not JSON ({error}); write one object in a line")
    if not isinstance(content, dict):
        return _Row(number, {}, 'is no JSON object; write it as {"audio": "anna_1.wav", ...}')
    values, problem = {}, ""
    for name, value in content.items():
        if name in COLUMNS and not _is_text(value):
            problem = f"{name} is {json.dumps(value)}; it must be text"
        values[name] = "" if value is None else str(value)
    return _Row(number, values, problem)


def _is_text(value: object) -> bool:
    """Whether a value can stand for text: a speaker may be a number."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value is None or is_number or isinstance(value, str)


def _check_columns(path: Path, columns: list[str]) -> list[str]:
    """Check the names of columns; return a warning of those that are not used, if there are any."""
    others = [name for name in columns if name not in COLUMNS]
    for name in others:
        near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=_LIKE_A_COLUMN)
        if near:
            raise DataError(f"{path}: unknown column {name!r}; did you mean {near[0]!r}?")
    if "audio" not in columns:
        raise DataError(
            f"{path}: has no column 'audio' but {join_names(columns) or 'none'}; a manifest has "
            f"{', '.join(COLUMNS)}, of which only audio is needed in each row"
        )
    return [f"columns of {path.name} that are not used: {join_names(others)}"] if others else []


# --- clips ---------------------------------------------------------------------------------------


@dataclass
class _Manifest:
    """What has been read of a manifest."""

    path: Path
    voices: Voices
    """The styles of the folder of styles."""
    has_splits: bool
    styles_of: dict[str, list[Path]] = field(default_factory=dict)
    """The different styles of each speaker, in order."""
    clips: list[Clip] = field(default_factory=list)
    styles: dict[str, Path] = field(default_factory=dict)
    """The style of each voice."""
    problems: dict[str, str] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)
    """Number of clips of each voice."""
    row_of: dict[Path, int] = field(default_factory=dict)
    """The row of each recording."""

    def collect_styles(self, rows: list[_Row]) -> None:
        """Note which styles each speaker has."""
        for row in rows:
            if row["speaker"] and row["style"]:
                known = self.styles_of.setdefault(normal_name(row["speaker"]), [])
                style = self._file(row["style"])
                if style not in known:
                    known.append(style)

    def add(self, row: _Row) -> None:
        """Add the clip of a row, or why it cannot be used."""
        try:
            self._add(row)
        except DataError as error:
            self.problems[f"row {row.number}"] = f"{self.path}, row {row.number}: {error}"

    def _add(self, row: _Row) -> None:
        if row.problem:
            raise DataError(row.problem)
        audio = self._find_audio(row["audio"])
        split = self._find_split(row["split"])
        voice, style = self._find_voice(row)
        if audio in self.row_of:
            raise DataError(f"{audio} is the audio of row {self.row_of[audio]}, too; remove one")
        self.row_of[audio] = row.number
        self.styles[voice] = style
        lang = row["lang"] or _NO_LANGUAGE
        self.clips.append(Clip(audio, voice, self.numbers[voice], split, row["text"], lang))
        self.numbers[voice] += 1

    def _file(self, name: str) -> Path:
        return self.path.parent / name

    def _find_audio(self, name: str) -> Path:
        if not name:
            raise DataError("has no audio; name a recording, or remove the row")
        path = self._file(name)
        if not _is_file(path):
            raise DataError(f"{path}: no such recording; name it from the manifest's folder")
        return path

    def _find_split(self, name: str) -> str:
        if name in SPLITS or (not name and not self.has_splits):
            return name
        if not name:
            raise DataError("has no split, although others have; give each row one, or none")
        raise DataError(f"split is {name!r}; it must be train, val or test")

    def _find_voice(self, row: _Row) -> tuple[str, Path]:
        """Return the voice of a row, and its style."""
        speaker = normal_name(row["speaker"])
        style = self._file(row["style"]) if row["style"] else self._style_of(speaker)
        if not _is_file(style):
            raise DataError(f"{style}: no such style; name it from the manifest's folder")
        voice, stem = speaker or normal_name(style.stem), normal_name(style.stem)
        if len(self.styles_of.get(speaker, ())) > 1:
            voice = f"{speaker}_{stem}"
        _check_name(voice)
        other = self.styles.get(voice, style)
        if other != style:
            raise DataError(f"{style} and {other} are both the style of {voice!r}; rename one")
        return voice, style

    def _style_of(self, speaker: str) -> Path:
        """Return the style of a speaker whose row names none."""
        if not speaker:
            raise DataError("has neither style nor speaker; give it one of them")
        known = self.styles_of.get(speaker, [])
        if not known and speaker in self.voices.styles:
            return self.voices.styles[speaker]
        if len(known) == 1:
            return known[0]
        if known:
            names = join_names([path.name for path in known])
            raise DataError(f"speaker {speaker!r} has several styles, {names}; name one of them")
        raise DataError(
            f"speaker {speaker!r} has no style; name one in a row of that speaker, or the folder "
            f"of {speaker}.json with --styles"
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # such as a name that is too long for a file
        raise DataError(
            f"{str(path)[:_SHOWN]!r}... cannot be looked for ({error.strerror}); name a file from "
            "the manifest's folder"
        ) from error


def _check_name(voice: str) -> None:
    """Check that a voice can be the beginning of a file's name."""
    if "/" in voice or "\\" in voice or voice.startswith(".") or not voice.isprintable():
        raise DataError(f"speaker {voice!r} must be a plain name, without / \\ or a leading dot")
