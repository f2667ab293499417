"""Work in a process of its own, which answers with JSON.

It loads what takes several times the memory of the server, and gives it back when it ends.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.system.signals import end_with_parent

_LONGEST_S = 600.0
_NICENESS = 10  # the search comes first
PROBLEM = "problem"


def ask(module: str, *words: str) -> dict[str, Any]:
    """Run a module, and return what it answers.

    Args:
        module: Its name; it calls `answer`.
        *words: Its arguments.

    Raises:
        TuneEncoderError: with its words if it raised one, or if it did not answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_LONGEST_S,
            check=True,
            preexec_fn=end_with_parent,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise TuneEncoderError(_why(error)) from error
    if PROBLEM in found:
        raise TuneEncoderError(found[PROBLEM])
    return found


def _why(error: Exception) -> str:
    """Say why there was no answer, with the last line of what the process said."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took over {_LONGEST_S:.0f} s and was stopped; use the command line for it"
    said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
    return error_line(f"its process ended without an answer ({said[-1] if said else error})")


def answer(work: Callable[..., object], *arguments: object) -> None:
    """Do the work of this process, and write what it returns, or the error that it raises."""
    os.nice(_NICENESS)
    try:
        found = work(*arguments)
    except (TuneEncoderError, OSError) as error:
        found = {PROBLEM: error_line(error)}
    sys.stdout.write(json.dumps(found))
