"""listen."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import Commands, add_command, add_setting
from tune_encoder.config import (
    DEFAULT_MODEL,
    SUPERTONIC_MODELS,
    ListenSettings,
    RunSettings,
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
    from tune_encoder.api.listening import ListenOptions, open_listening
    from tune_encoder.errors import TuneEncoderError, error_line

    given = {name: getattr(options, name) for name in ListenOptions.__annotations__}
    listening = open_listening(options.model, options.out, given)
    for result in listening.each(options.recordings):
        if isinstance(result, TuneEncoderError):
            print(f"tune-encoder: {error_line(result)}", file=sys.stderr)
        else:
            _print_heard(result, listening.listener)
    if page := listening.write_page():
        print(f"page: {page}")
    listening.check_all_heard()


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
