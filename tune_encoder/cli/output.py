"""What a command that takes long prints: text for people, its result alone, or JSON for programs.

With `--json-lines` standard output has one JSON object a line and nothing else: the events that
`system.events` tells of. What people read goes to standard error then.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from tune_encoder.cli.common import replace_non_finite
from tune_encoder.errors import StorageError, TuneEncoderError, error_line
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.system.events import listening, tell
from tune_encoder.system.shortage import shortage

TEXT, QUIET, JSON_LINES = "text", "quiet", "json-lines"
FORMAT = 1  # of the lines; another one has lost a key, or given one another meaning


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet` and `--json-lines`, of which one may be given."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--quiet", action="store_const", dest="output", const=QUIET,
        help="print errors and one line with the result alone",
    )  # fmt: skip
    either.add_argument(
        "--json-lines", action="store_const", dest="output", const=JSON_LINES,
        help="print a JSON object a line, for programs; text goes to standard error",
    )  # fmt: skip
    parser.set_defaults(output=TEXT, result="")


@contextmanager
def printing(options: argparse.Namespace, out: TextIO, error: TextIO) -> Iterator[None]:
    """Print in the form that was asked for while a command runs, and how it ended.

    Args:
        options: Its options; the command puts a line with its result into `options.result`.
        out: Standard output.
        error: Standard error.
    """
    kind = getattr(options, "output", TEXT)
    if kind == QUIET:
        with _nowhere() as nowhere, redirect_stdout(nowhere), listening(_ignore):
            yield
        if options.result:
            print(options.result, file=out)
    elif kind == JSON_LINES:
        lines = JsonLines(out)
        with redirect_stdout(error), listening(lines), _told_end(options, lines):
            yield
    else:
        yield


class JsonLines:
    """Writes each event as one line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()  # bars may tell from other threads

    def __call__(self, event: str, values: Mapping[str, object]) -> None:
        """Write an event; NaN and infinity, which JSON lacks, are null."""
        content = {"format": FORMAT, "event": event, "time": time.time(), **values}
        line = json.dumps(replace_non_finite(content), allow_nan=False)
        with self._lock:
            print(line, file=self._out, flush=True)


@contextmanager
def _told_end(options: argparse.Namespace, lines: JsonLines) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        exit_code, line = outcome_of(error)
        lines("end", {"exit_code": exit_code, "error": line, "result": None})
        raise
    lines("end", {"exit_code": 0, "error": None, "result": options.result or None})


def outcome_of(error: BaseException) -> tuple[int, str]:
    """Return the exit code of an error that ends a command, and its line."""
    if isinstance(error, TuneEncoderError):
        return error.exit_code, error_line(error)
    if isinstance(error, OSError):
        return StorageError.exit_code, error_line(shortage(str(error)) or error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted"
    return 1, error_line(f"{type(error).__name__}: {error}")


def tell_epoch(row: EpochRow, **more: object) -> None:
    """Tell of an epoch of a run that is no trial of a search."""
    scores = {"epoch": row["epoch"], "val_loss": row["val_loss"], "skill": row["val_skill"]}
    tell("epoch", **more, **scores, seconds=row["seconds"])


def _nowhere() -> TextIO:
    """Return where to print what nobody reads, whatever its letters are."""
    return Path(os.devnull).open("w", encoding="utf-8", errors="replace")


def _ignore(event: str, values: Mapping[str, object]) -> None:
    """Hear an event, so that nothing is drawn."""
