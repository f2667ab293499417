"""Command lines to show to a person."""

from pathlib import Path

from tune_encoder.config import DEFAULT_ROOT
from tune_encoder.errors import StorageError
from tune_encoder.experiment.run import EXPORTED, is_run
from tune_encoder.system.formats import quote_path
from tune_encoder.system.manifest import PROVENANCE


def command_line(command: str, path: Path, more: str = "") -> str:
    """Return the command line for the experiment at `path`, with `more` after its name."""
    root = "" if path.parent == DEFAULT_ROOT else f" --root {quote_path(path.parent)}"
    return f"tune-encoder {command} {path.name}{f' {more}' if more else ''}{root}"


def clone_line(model: Path) -> str:
    """Return the command line that clones a voice with a model."""
    return f"tune-encoder clone {quote_path(model)} voice.wav -o voice.json"


def evaluate_line(model: Path) -> str:
    """Return the command line that scores a model on held-out voices."""
    return f"tune-encoder evaluate {quote_path(model)}"


def export_run_line(run: Path) -> str:
    """Return the command line that exports the model of a run by hand."""
    return f"tune-encoder export {quote_path(run)}"


def check_is_model(folder: Path) -> None:
    """Raise a `StorageError` with what leads to a model, if this is a run's or experiment's folder.

    Any other folder without a model is refused where the model is loaded.
    """
    if (folder / "search.yaml").is_file():
        what, command = "an experiment", command_line("export", folder)
    elif is_run(folder):
        what, command = "a run", export_run_line(folder)
    else:
        return
    exported = folder / EXPORTED
    leads = f"make one with `{command}`"
    if (exported / PROVENANCE).is_file():
        leads = f"its model is {exported}"
    raise StorageError(f"{folder}: {what}, not a model; {leads}")


def curves_line(path: Path) -> str:
    """Return the command line that shows the learning curves of the experiment at `path`."""
    return f"tensorboard --logdir {quote_path(path / 'trials')}"
