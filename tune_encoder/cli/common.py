"""What several commands share."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tune_encoder.config import DEFAULT_ROOT

BASELINES = ("mean", "ridge")
SCORES = {
    "skill": "skill",
    "skill_ttl": "ttl",
    "skill_dp": "dp",
    "centered_cosine": "centred cosine",
    "retrieval": "retrieval",
}


def add_command(commands: Any, name: str, run: Callable[..., None]) -> argparse.ArgumentParser:
    """Add a command whose help is the first line of its function's docstring."""
    doc = (run.__doc__ or "").splitlines()[0]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=doc, description=doc)
    parser.set_defaults(command=run)
    return parser


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add `--root`."""
    parser.add_argument(
        "--root", type=Path, default=DEFAULT_ROOT, help="folder of experiments (default: runs)"
    )


def demo_voices() -> Path:
    """Return the built-in data set, and say that it is used."""
    from tune_encoder.data.demo import cached_demo

    folder = cached_demo()
    announce_demo(folder)
    return folder


def announce_demo(folder: Path) -> None:
    """Say that the built-in data set is used."""
    print(f"no --data-dir given: using the demo voices in {folder}")


def format_skills(scores: dict[str, float]) -> str:
    """Write the three skills."""
    words = [f"{word} {scores[name]:.3f}" for name, word in SCORES.items()]
    return ", ".join(words[:3])


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of words")


def print_view(options: argparse.Namespace, content: Any, lines: Iterable[str]) -> None:
    """Print the content as JSON if that was asked for, else the lines."""
    if options.json:
        print(json.dumps(_replace_non_finite(content), indent=2, allow_nan=False))
        return
    encoding = sys.stdout.encoding or "ascii"
    for line in lines:  # a path may have letters that the terminal has not
        print(line.encode(encoding, "replace").decode(encoding))


def _replace_non_finite(value: Any) -> Any:
    """Replace what JSON has no number for by null."""
    if isinstance(value, dict):
        return {name: _replace_non_finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_replace_non_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
