"""Commands as they are shown to a person, to be copied."""

import shlex
from pathlib import Path

from tune_encoder.config import DEFAULT_ROOT


def command_line(command: str, path: Path) -> str:
    """Write a command for the experiment at `path`, as a person would type it."""
    root = "" if path.parent == DEFAULT_ROOT else f" --root {shlex.quote(str(path.parent))}"
    return f"tune-encoder {command} {path.name}{root}"


def clone_line(model: Path) -> str:
    """Write the command that clones a voice with a model."""
    return f"tune-encoder clone {shlex.quote(str(model))} voice.wav -o voice.json"


def curves_line(path: Path) -> str:
    """Write the command that shows every curve of the experiment at `path`."""
    return f"tensorboard --logdir {shlex.quote(str(path / 'trials'))}"
