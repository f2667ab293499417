"""clone."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_setting
from tune_encoder.config import RunSettings

SEVERAL_SPEAKERS = 0.7  # between parts; of 64 recordings of a demo voice the median is 0.25

if TYPE_CHECKING:
    from tune_encoder.data.voice_bank import VoiceBank
    from tune_encoder.model.clone import Clone


def add_clone(commands: Commands) -> None:
    """Add the command `clone`."""
    parser = add_command(commands, "clone", _clone, outlives_reader=True)
    parser.add_argument("model", type=Path, help="exported model folder")
    parser.add_argument(
        "recordings", type=Path, nargs="+", metavar="recording",
        help="wav, flac, ogg or mp3 of one speaker",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", type=Path, required=True,
        help="folder for the voice styles; for one recording also a file name ending in .json",
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
    from tune_encoder.data.novelty import read_known_sound
    from tune_encoder.data.voice_bank import bank_of_presets, find_styles, read_bank, read_presets
    from tune_encoder.errors import DataError, TuneEncoderError, error_line
    from tune_encoder.experiment.commands import check_is_model
    from tune_encoder.model.clone import clone_all, open_engine, output_paths

    check_is_model(options.model)
    presets = read_presets(options.presets) if options.presets else {}
    engine = open_engine(options.model, options.device)
    bank = bank_of_presets(presets) if presets else read_bank(options.model)
    outputs = output_paths(options.recordings, options.out)
    beside = find_styles(options.out)
    for path in outputs.values():
        beside.pop(path, None)  # it will be replaced
    known = {**presets, **beside}
    clones = clone_all(engine, outputs, known, read_known_sound(options.model))
    failed = []
    for number, result in enumerate(clones, start=1):
        if not isinstance(result, TuneEncoderError):
            _print_clone(result, bank, f"{number}/{len(outputs)} " if len(outputs) > 1 else "")
        elif len(outputs) == 1:
            raise result
        else:
            failed.append(result)
            print(f"tune-encoder: {error_line(result)}", file=sys.stderr)
    if failed:
        raise DataError(
            f"{len(failed)} of {len(outputs)} recordings could not be cloned; the styles of the "
            "others were written"
        )


def _print_clone(result: "Clone", bank: "VoiceBank | None", count: str) -> None:
    """Print the quality of the recording, the nearest voice and the file that was written."""
    for warning in result.warnings():
        print(f"warning: {warning}")
    print(f"{count}{result.recording.name}: {result.quality.describe()}")
    if bank is not None:
        name, distance = bank.nearest(result.style)
        print(f"  nearest voice {name}, distance {distance:.2f} (1: as between two voices)")
        if result.windows:
            _print_spread(bank.spread(result.windows))
    print(f"  wrote {result.out}")
    sys.stdout.flush()


def _print_spread(spread: float) -> None:
    """Print how far the parts of a recording are apart, which tells how sure its style is."""
    several = "; is it one speaker?" if spread > SEVERAL_SPEAKERS else ""
    print(f"  its parts are {spread:.2f} apart (the less, the surer){several}")
