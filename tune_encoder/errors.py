"""The errors that users can meet, and the exit code of each.

TuneEncoderError        1
├── ConfigError         2   wrong usage, setting or search space
├── DataError           3   recordings, samples, styles
│   └── StyleNormError  3   a style of a sample that `data repair` repairs
├── StorageError        4   files, storage or clusters that are missing, damaged or in use
├── OutOfMemory         4   a run that does not fit into its device's memory
├── SearchFailed        5   a search ended, and no trial gave a result
├── TrainingDiverged    5   a run met NaN or infinity
└── Interrupted         130 Ctrl-C, or 143 SIGTERM; everything is saved
"""

import signal

_LINE_LENGTH = 1_500  # characters of an error; the longest list of known names is shorter


class TuneEncoderError(Exception):
    """Base class of all errors with a one-line message for the user."""

    exit_code = 1
    on_command_line = ""
    """The message with the names of the command line, if it has those of Python."""


def error_line(error: object) -> str:
    """Return an error in one line, with the names of the command line.

    Of a very long one, such as of a pasted file, the middle is cut: its beginning says where it is
    wrong, and its end what to do.
    """
    words = " ".join((getattr(error, "on_command_line", "") or str(error)).split())
    half = _LINE_LENGTH // 2
    left_out = len(words) - 2 * half
    if left_out <= 0:
        return words
    return f"{words[:half]} [... {left_out} characters ...] {words[-half:]}"


class ConfigError(TuneEncoderError):
    """A command, setting or search space that cannot be used as written."""

    exit_code = 2


class DataError(TuneEncoderError):
    """A recording, sample, style or data set that cannot be used."""

    exit_code = 3


class StyleNormError(DataError):
    """A style whose rows are not of norm 1, in a sample that is otherwise good."""


class StorageError(TuneEncoderError):
    """A file, folder, storage or cluster that is missing, damaged or in use by another process."""

    exit_code = 4


class OutOfMemory(TuneEncoderError):
    """A run that does not fit into its device's memory."""

    exit_code = 4


class SearchFailed(TuneEncoderError):
    """A search ended, and no trial gave a result."""

    exit_code = 5


class TrainingDiverged(TuneEncoderError):
    """A run met NaN or infinity; continuing would waste its budget."""

    exit_code = 5


class Interrupted(TuneEncoderError):
    """A signal stopped the program; the message says how to resume."""

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
