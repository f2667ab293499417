"""Command lines to show to a person."""

import shlex
from pathlib import Path

from tune_encoder.config import DEFAULT_ROOT


def command_line(command: str, path: Path) -> str:
    """Return the command line for the experiment at `path`."""
    root = "" if path.parent == DEFAULT_ROOT else f" --root {shlex.quote(str(path.parent))}"
    return f"tune-encoder {command} {path.name}{root}"


def clone_line(model: Path) -> str:
    """Return the command line that clones a voice with a model."""
    return f"tune-encoder clone {shlex.quote(str(model))} voice.wav -o voice.json"


def curves_line(path: Path) -> str:
    """Return the command line that shows the learning curves of the experiment at `path`."""
    return f"tensorboard --logdir {shlex.quote(str(path / 'trials'))}"
