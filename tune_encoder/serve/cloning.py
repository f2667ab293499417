"""Cloning what a page has sent, in a process of its own, in the words of `tune-encoder clone`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.serve.own_process import answer, ask

if TYPE_CHECKING:
    from tune_encoder.data.novelty import KnownSound
    from tune_encoder.data.voice_bank import VoiceBank
    from tune_encoder.data.voice_style import VoiceStyle
    from tune_encoder.model.clone import Engine

N_NEAREST = 5
_STYLES = Path("styles")  # a folder within that of the recordings


class ClonedVoice(TypedDict):
    """A style, and what is said of it."""

    file: str
    """The name of its JSON."""
    style: str
    """The content of its JSON."""
    lines: list[str]
    """What the command prints."""
    warnings: list[str]
    """What makes it less reliable."""
    nearest: list[tuple[str, float | None]]
    """Known voices and their distances, the nearest first; without a unit there is none."""


class Cloned(TypedDict):
    """What came of the recordings."""

    voices: list[ClonedVoice]
    problems: list[str]
    """Why recordings could not be used."""


def clone_recordings(model: Path, folder: Path, voice: str) -> Cloned:
    """Clone recordings in a process of its own.

    Args:
        model: The exported model.
        folder: Has the recordings; styles are written below it.
        voice: Name of the speaker of all recordings, who gets one style; if empty, each recording
            gets its own.

    Raises:
        TuneEncoderError: with what the command would say.
    """
    return cast("Cloned", ask(__name__, str(model.resolve()), str(folder), voice))


def _clone(model: Path, folder: Path, voice: str) -> Cloned:
    """Clone the recordings in a folder, which messages name without it."""
    recordings = [Path(path.name) for path in sorted(folder.iterdir()) if path.is_file()]
    os.chdir(folder)
    from tune_encoder.data.novelty import read_known_sound
    from tune_encoder.data.voice_bank import read_bank
    from tune_encoder.model.clone import check_voice_name, open_engine

    if voice:
        check_voice_name(voice)
    engine, bank, sound = open_engine(model), read_bank(model), read_known_sound(model)
    if voice:
        return _clone_speaker(engine, recordings, voice, bank, sound)
    return _clone_each(engine, recordings, bank, sound)


def _clone_each(
    engine: "Engine",
    recordings: list[Path],
    bank: "VoiceBank | None",
    sound: "KnownSound | None",
) -> Cloned:
    from tune_encoder.model.clone import clone_all, output_paths
    from tune_encoder.model.clone.words import describe_clone

    cloned = Cloned(voices=[], problems=[])
    for result in clone_all(engine, output_paths(recordings, _STYLES), {}, sound):
        if isinstance(result, TuneEncoderError):
            cloned["problems"].append(error_line(result))
            continue
        lines = describe_clone(result, bank)
        cloned["voices"].append(_voice(result.out, result.style, lines, result.warnings(), bank))
    return cloned


def _clone_speaker(
    engine: "Engine",
    recordings: list[Path],
    voice: str,
    bank: "VoiceBank | None",
    sound: "KnownSound | None",
) -> Cloned:
    from tune_encoder.model.clone import clone_speaker, speaker_paths
    from tune_encoder.model.clone.words import describe_speaker, speaker_warnings

    out = speaker_paths([voice], _STYLES)[voice]
    result = clone_speaker(engine, recordings, out, bank=bank, sound=sound)
    lines, warnings = describe_speaker(voice, result, bank), speaker_warnings(result)
    return Cloned(
        voices=[_voice(out, result.style, lines, warnings, bank)],
        problems=[error_line(error) for error in result.failed],
    )


def _voice(
    out: Path,
    style: "VoiceStyle",
    lines: list[str],
    warnings: list[str],
    bank: "VoiceBank | None",
) -> ClonedVoice:
    nearest = bank.nearest_few(style, N_NEAREST) if bank is not None else []
    return ClonedVoice(
        file=out.name,
        style=out.read_text("utf-8"),
        lines=lines,
        warnings=warnings,
        nearest=nearest,
    )


if __name__ == "__main__":
    answer(_clone, Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
