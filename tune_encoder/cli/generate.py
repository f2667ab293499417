"""data generate."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.cli.common import (
    Commands,
    add_command,
    add_setting,
    wrap_names,
)
from tune_encoder.config import (
    DEFAULT_MODEL,
    SUPERTONIC_MODELS,
    GenerationSettings,
)
from tune_encoder.system.formats import count_noun, format_clock

if TYPE_CHECKING:
    from tune_encoder.speech.provenance import Summary

_SETTINGS = (
    "voices", "clips_per_voice", "langs", "steps", "speed", "seed", "convex_share", "apart_share",
    "spread", "draws",
)  # fmt: skip


def add_generate(kinds: Commands) -> None:
    """Add the command `data generate`."""
    generate = add_command(kinds, "generate", _generate, outlives_reader=True)
    generate.add_argument("folder", type=Path, metavar="OUT", help="new folder")
    generate.add_argument(
        "--model",
        choices=SUPERTONIC_MODELS,
        default=DEFAULT_MODEL,
        help="model that speaks, which the package downloads once (default: supertonic-3)",
    )
    for option, help in (
        ("--model-dir", "folder of the model's files, instead of where the package keeps them"),
        ("--presets", "folder of presets NAME.json (default: those of the model)"),
        ("--styles", "folder of your own styles NAME.json, which become voices too"),
        ("--texts", "file of texts, one a line after LANG and a tab (default: 304 sentences)"),
    ):
        generate.add_argument(option, type=Path, help=help)
    generate.add_argument(
        "--hold-out", default="", metavar="NAMES",
        help="presets or styles for test alone, as M1,F3; no voice is mixed of them",
    )  # fmt: skip
    generate.add_argument(
        "--workers", type=int, metavar="N",
        help="processes that speak, each on a core (default: one for each core, up to 8)",
    )  # fmt: skip
    for name in _SETTINGS:
        add_setting(generate, GenerationSettings, name)


def _generate(options: argparse.Namespace) -> None:
    """Make a data set that Supertonic speaks, from its presets and mixtures of them."""
    from tune_encoder.api.data_sets import GenerateOptions, generate_data

    given = {name: getattr(options, name) for name in GenerateOptions.__annotations__}
    given["hold_out"] = [name.strip() for name in options.hold_out.split(",") if name.strip()]
    for line in _lines(generate_data(options.folder, **given), options.folder):
        print(line)


def _lines(summary: "Summary", folder: Path) -> Iterator[str]:
    if summary.unspeakable:
        n_texts = count_noun(len(summary.unspeakable), "sentence")
        yield f"left out {n_texts} with characters that the model does not know"
    if summary.refused:
        counts = ", ".join(f"{count} {reason}" for reason, count in summary.refused.items())
        yield f"refused draws: {counts}"
    if summary.left_out:
        yield from wrap_names(
            f"left out {count_noun(len(summary.left_out), 'clip')}, every draw of which was "
            f"refused: {', '.join(summary.left_out)}"
        )
    counts = ", ".join(f"{count} {split}" for split, count in summary.clips.items())
    voices, clock = count_noun(summary.voices, "voice"), format_clock(summary.seconds)
    yield f"{counts} clips of {voices}, {clock} of speech, in {folder}"
