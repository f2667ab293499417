"""listen."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_setting, given_settings
from tune_encoder.config import (
    DEFAULT_MODEL,
    SUPERTONIC_MODELS,
    ListenSettings,
    RunSettings,
    from_mapping,
)

if TYPE_CHECKING:
    from tune_encoder.report.listen import Heard, Listener


def add_listen(commands: Commands) -> None:
    """Add the command `listen`."""
    parser = add_command(commands, "listen", _listen, outlives_reader=True)
    parser.add_argument("model", type=Path, help="exported model folder")
    parser.add_argument(
        "recordings", type=Path, nargs="+", metavar="recording",
        help="wav, flac, ogg or mp3 of one speaker",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("listen.html"), metavar="PAGE",
        help="page to write (default: listen.html)",
    )  # fmt: skip
    parser.add_argument(
        "--text", action="append", default=[],
        help="sentence to speak; may be repeated (default: three of ours, in the language)",
    )  # fmt: skip
    parser.add_argument(
        "--model", dest="voice", choices=SUPERTONIC_MODELS, default=DEFAULT_MODEL,
        help="model that speaks, which Supertonic's package downloads once (default: "
        f"{DEFAULT_MODEL})",
    )  # fmt: skip
    parser.add_argument(
        "--model-dir", type=Path,
        help="folder of that model's files, instead of where the package keeps them",
    )  # fmt: skip
    for name in ("lang", "steps", "speed", "seed"):
        add_setting(parser, ListenSettings, name)
    add_setting(
        parser, RunSettings, "device", overrides=True,
        more=" with torch (default: onnxruntime, if it and the model's ONNX file are available)",
    )  # fmt: skip


def _listen(options: argparse.Namespace) -> None:
    """Clone recordings, speak in their styles, and write a page to hear and compare."""
    from tune_encoder.data.novelty import read_known_sound
    from tune_encoder.data.voice_bank import read_bank
    from tune_encoder.errors import DataError, TuneEncoderError, error_line
    from tune_encoder.experiment.commands import check_is_model
    from tune_encoder.model.clone import open_engine
    from tune_encoder.report.listen import LISTEN_NAME, hear_all, open_listener, write_listen_page
    from tune_encoder.report.template import check_page
    from tune_encoder.speech.ear import choose_sentences
    from tune_encoder.speech.engine import find_model

    check_is_model(options.model)
    check_page(options.out, LISTEN_NAME)
    settings = from_mapping(ListenSettings, given_settings(options, ListenSettings), "command line")
    choose_sentences(options.voice, settings, options.text)  # before anything is downloaded
    engine = open_engine(options.model, options.device)
    folder = find_model(options.voice, options.model_dir)
    bank = read_bank(options.model)
    listener = open_listener(options.voice, folder, settings, options.text, bank)
    heard, failed = [], 0
    for result in hear_all(listener, engine, options.recordings, read_known_sound(options.model)):
        if not isinstance(result, TuneEncoderError):
            _print_heard(result, listener)
            heard.append(result)
        elif len(options.recordings) == 1:
            raise result
        else:
            failed += 1
            print(f"tune-encoder: {error_line(result)}", file=sys.stderr)
    if heard:
        write_listen_page(options.out, heard, listener, options.model, options.voice)
        print(f"page: {options.out}")
    if failed:
        raise DataError(
            f"{failed} of {len(options.recordings)} recordings could not be cloned; "
            + ("the page has the others" if heard else "no page was written")
        )


def _print_heard(heard: "Heard", listener: "Listener") -> None:
    """Print how alike clone and original are, and what that means."""
    for warning in heard.warnings():
        print(f"warning: {warning}")
    values, scale = heard.presets.values(), listener.scale
    print(f"{heard.name}: clone and original {heard.similarity:.2f} alike")
    name, alike = heard.nearest_preset
    print(f"  the presets {min(values):.2f} to {max(values):.2f}, most {name} ({alike:.2f})")
    same = "" if scale.same is None else f", a preset and itself {scale.same:.2f}"
    print(f"  two presets {scale.strangers:.2f}{same}")
    sys.stdout.flush()
