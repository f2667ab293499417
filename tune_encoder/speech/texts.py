"""The sentences that are spoken: those of this package, or the lines of a file of the user's."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from tune_encoder.errors import ConfigError, DataError
from tune_encoder.system.files import check_regular

MAX_CHARACTERS, MAX_CHARACTERS_KO = 300, 120  # of which Supertonic makes one piece, without a pause
_FOLDER = files("tune_encoder.speech") / "sentences"

Texts = Mapping[str, Sequence[str]]
"""The sentences of each language."""


class _Line(NamedTuple):
    """A line of a file of texts."""

    number: int
    lang: str
    text: str


def shipped_texts() -> dict[str, tuple[str, ...]]:
    """Return the sentences of this package, by the code of their language."""
    return {
        path.name.removesuffix(".txt"): tuple(path.read_text(encoding="utf-8").splitlines())
        for path in sorted(_FOLDER.iterdir(), key=lambda path: path.name)
        if path.name.endswith(".txt")
    }


def choose_texts(
    path: Path | None,
    wanted: Sequence[str],
    spoken: Sequence[str],
    unknown_characters: Callable[[str], list[str]],
) -> dict[str, tuple[str, ...]]:
    """Return the sentences of each language that is spoken.

    Args:
        path: A file of texts, one a line, each after its language and a tab, or all in the one
            language that is wanted; None for the sentences of this package.
        wanted: Codes of the languages; none for all that there are.
        spoken: Codes of the languages that the model speaks.
        unknown_characters: Returns the characters of a text that the model cannot speak.

    Raises:
        ConfigError: if a language is not spoken, or no text has it.
        DataError: naming the line that cannot be spoken.
    """
    for lang in wanted:
        if lang not in spoken:
            raise ConfigError(
                f"--langs {lang}: the model speaks no such language; it speaks {', '.join(spoken)}"
            )
    if path is None:
        texts = {lang: each for lang, each in shipped_texts().items() if lang in spoken}
    else:
        texts = _by_language(_read_lines(path, wanted, spoken, unknown_characters))
    missing = [lang for lang in wanted if lang not in texts]
    if missing:
        raise ConfigError(
            f"--langs {missing[0]}: {path or 'the package'} has no text of this language; there "
            f"are {', '.join(texts)}, or give your own with --texts"
        )
    return {lang: each for lang, each in texts.items() if not wanted or lang in wanted}


def split_by_speakable(
    texts: Texts, unknown_characters: Callable[[str], list[str]]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the texts that a model can speak, and those that it cannot.

    Args:
        texts: By language.
        unknown_characters: Returns the characters of a text that the model cannot speak.
    """
    speakable: dict[str, tuple[str, ...]] = {}
    others: list[str] = []
    for lang, each in texts.items():
        unknown = set(unknown_characters("".join(each)))
        kept = tuple(text for text in each if not unknown & set(text))
        others += [text for text in each if unknown & set(text)]
        if kept:
            speakable[lang] = kept
    return speakable, others


def texts_digest(texts: Texts) -> str:
    """Return a SHA-256 of all sentences and their languages."""
    lines = (f"{lang}\t{text}\n" for lang, each in sorted(texts.items()) for text in each)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read_lines(
    path: Path,
    wanted: Sequence[str],
    spoken: Sequence[str],
    unknown_characters: Callable[[str], list[str]],
) -> list[_Line]:
    check_regular(path, "a file of texts")
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable text file ({error}); save it as UTF-8") from error
    lines = [_parse(path, number, row, wanted) for number, row in enumerate(rows, 1) if row.strip()]
    if not lines:
        raise DataError(f"{path}: has no text; write one a line")
    for line in lines:
        _check(path, line, spoken, unknown_characters)
    return lines


def _parse(path: Path, number: int, row: str, wanted: Sequence[str]) -> _Line:
    lang, tab, text = row.partition("\t")
    if tab:
        return _Line(number, lang.strip(), text.strip())
    if len(wanted) == 1:
        return _Line(number, wanted[0], row.strip())
    raise DataError(
        f"{path}: line {number} has no language; write its code and a tab before the text, or name "
        "the language of all lines, as with --langs en"
    )


def _check(
    path: Path, line: _Line, spoken: Sequence[str], unknown_characters: Callable[[str], list[str]]
) -> None:
    where = f"{path}: line {line.number}"
    if line.lang not in spoken:
        raise DataError(
            f"{where} has the language {line.lang!r}; the model speaks {', '.join(spoken)}"
        )
    most = MAX_CHARACTERS_KO if line.lang == "ko" else MAX_CHARACTERS
    if not 0 < len(line.text) <= most:
        raise DataError(
            f"{where} has {len(line.text)} characters; a text has from 1 to {most} of them, about "
            "20 s of speech"
        )
    if unknown := unknown_characters(line.text):
        raise DataError(
            f"{where} has {', '.join(map(repr, unknown))}, which the model cannot speak; leave it "
            "out, or write it in words"
        )


def _by_language(lines: Iterable[_Line]) -> dict[str, tuple[str, ...]]:
    texts: dict[str, list[str]] = {}
    for line in lines:
        texts.setdefault(line.lang, []).append(line.text)
    return {lang: tuple(texts[lang]) for lang in sorted(texts)}
