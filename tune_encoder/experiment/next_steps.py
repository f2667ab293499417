"""What a person may do next with an experiment: commands that fit its state, ready to paste."""

from pathlib import Path
from typing import TypedDict

from tune_encoder.experiment.commands import clone_line, command_line, evaluate_line
from tune_encoder.experiment.run import EXPORTED
from tune_encoder.experiment.run_status import RUNNING, STOPPED
from tune_encoder.system.manifest import PROVENANCE

WATCH = "watch it"


class NextStep(TypedDict):
    """A command and what it does."""

    does: str
    command: str


def next_steps(path: Path, state: str, best: int | None, failed: int | None) -> list[NextStep]:
    """Return what may be done next.

    Args:
        path: Folder of the experiment.
        state: running, stopped or finished.
        best: The best trial; None if none has a result.
        failed: A trial that failed; None if there is none.
    """
    if state == RUNNING:
        steps = {
            WATCH: command_line("status", path, "--watch"),
            "stop it": command_line("stop", path),
        }
    elif state == STOPPED:
        steps = {"resume it": command_line("resume", path)}
    elif best is None:
        steps = {} if failed is None else {"see why": command_line("show", path, str(failed))}
    elif not ((model := path / EXPORTED) / PROVENANCE).is_file():
        steps = {"export it": command_line("export", path)}
    else:
        steps = {"clone": clone_line(model), "evaluate": evaluate_line(model)}
    return [{"does": does, "command": command} for does, command in steps.items()]


def step_lines(steps: list[NextStep]) -> list[str]:
    """Format the steps; commands are not broken into lines, so that they can be copied."""
    return [f"{step['does'] + ':':11} {step['command']}" for step in steps]
