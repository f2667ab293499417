"""clone."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_setting
from tune_encoder.config import RunSettings

if TYPE_CHECKING:
    from tune_encoder.api.cloning import Cloning
    from tune_encoder.data.voice_bank import VoiceBank
    from tune_encoder.errors import TuneEncoderError
    from tune_encoder.model.clone import Clone, SpeakerClone


def add_clone(commands: Commands) -> None:
    """Add the command `clone`."""
    parser = add_command(commands, "clone", _clone, outlives_reader=True)
    parser.add_argument("model", type=Path, help="exported model folder")
    parser.add_argument(
        "recordings", type=Path, nargs="+", metavar="recording",
        help="wav, flac, ogg or mp3 of one speaker",
    )  # fmt: skip
    one_style = parser.add_mutually_exclusive_group()
    one_style.add_argument(
        "--voice", metavar="NAME",
        help="one style, NAME.json, of all recordings (and folders of them): of one speaker",
    )  # fmt: skip
    one_style.add_argument(
        "--by-folder", action="store_true",
        help="one style of each folder: name folders of a speaker, or folders of such folders",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", type=Path, required=True,
        help="folder for the voice styles; for one style also a file name ending in .json",
    )  # fmt: skip
    add_setting(
        parser, RunSettings, "device", overrides=True,
        more=" with torch (default: onnxruntime, if it and the model's ONNX file are available)",
    )  # fmt: skip
    parser.add_argument(
        "--presets", type=Path, metavar="FOLDER",
        help="folder of style JSONs in which to find the nearest voice (default: the model's "
        "training voices)",
    )  # fmt: skip


def _clone(options: argparse.Namespace) -> None:
    """Turn recordings into Supertonic voice styles."""
    from tune_encoder.api.cloning import open_cloning

    cloning = open_cloning(options.model, options.out, options.presets, options.device)
    if options.by_folder or options.voice is not None:
        _print_speakers(cloning, options)
    else:
        _print_clones(cloning, options)


def _print_clones(cloning: "Cloning", options: argparse.Namespace) -> None:
    """Write a style of each recording."""
    from tune_encoder.errors import TuneEncoderError

    count = len(options.recordings)
    for number, result in enumerate(cloning.each(options.recordings, options.out), start=1):
        if isinstance(result, TuneEncoderError):
            _print_error(result)
        else:
            _print_clone(result, cloning.bank, f"{number}/{count} " if count > 1 else "")


def _print_speakers(cloning: "Cloning", options: argparse.Namespace) -> None:
    """Write a style of each speaker."""
    from tune_encoder.errors import TuneEncoderError

    for name, result in cloning.speakers(options.recordings, options.out, options.voice):
        if isinstance(result, TuneEncoderError):
            _print_error(result)
        else:
            _print_speaker(name, result, cloning.bank)


def _print_error(error: "TuneEncoderError") -> None:
    from tune_encoder.errors import error_line

    print(f"tune-encoder: {error_line(error)}", file=sys.stderr)


def _print_clone(result: "Clone", bank: "VoiceBank | None", count: str) -> None:
    """Print the quality of the recording, the nearest voice and the file that was written."""
    from tune_encoder.model.clone.words import describe_clone

    for warning in result.warnings():
        print(f"warning: {warning}")
    _print_lines(describe_clone(result, bank), result.out, count)


def _print_speaker(name: str, result: "SpeakerClone", bank: "VoiceBank | None") -> None:
    """Print which recordings made the style of a speaker, and how sure it is."""
    from tune_encoder.model.clone.words import describe_speaker, speaker_warnings

    for error in result.failed:
        _print_error(error)
    for warning in speaker_warnings(result):
        print(f"warning: {warning}")
    _print_lines(describe_speaker(name, result, bank), result.out)


def _print_lines(lines: list[str], out: Path, count: str = "") -> None:
    """Print what is said of a clone, and the file that was written."""
    print(f"{count}{lines[0]}")
    for line in (*lines[1:], f"wrote {out}"):
        print(f"  {line}")
    sys.stdout.flush()
