"""The errors a person can cause or meet, and the exit code of each.

TuneEncoderError        1
├── ConfigError         2   wrong usage, setting or search space
├── DataError           3   recordings, samples, styles
├── StorageError        4   files of ours that are missing, damaged, or in use
├── OutOfMemory         4   a run that does not fit into its device
├── SearchFailed        5   a search ended, but none of its trials did
├── TrainingDiverged    5   a run met NaN or infinity
└── Interrupted         130 Ctrl-C, or 143 SIGTERM; everything is saved
"""

import signal


class TuneEncoderError(Exception):
    """Base of all errors with a one-line message for a person."""

    exit_code = 1


class ConfigError(TuneEncoderError):
    """A command, setting or search space that cannot be used as written."""

    exit_code = 2


class DataError(TuneEncoderError):
    """A recording, sample, style or data set that cannot be used."""

    exit_code = 3


class StorageError(TuneEncoderError):
    """A file or folder of ours that is missing, damaged, or held by somebody else."""

    exit_code = 4


class OutOfMemory(TuneEncoderError):
    """A run that does not fit into its device's memory."""

    exit_code = 4


class SearchFailed(TuneEncoderError):
    """A search ended and not one trial gave a result."""

    exit_code = 5


class TrainingDiverged(TuneEncoderError):
    """A run met NaN or infinity; going on would waste its budget."""

    exit_code = 5


class Interrupted(TuneEncoderError):
    """A signal asked us to stop; the message says how to go on."""

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
