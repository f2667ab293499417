"""Control of a running search: small request files, which it reads within a second.

runs/NAME/control/
  stop            stop after the current epochs
  pause           pause until this file is removed
  end-7           end trial 7
  add-1f….json      try this config next
"""

import json
import uuid
from collections.abc import Iterator, Mapping

from tune_encoder.config import SettingValue
from tune_encoder.errors import StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import atomic_write

_STOP, _PAUSE, _END, _ADD = "stop", "pause", "end-", "add-"


class Controls:
    """The control requests of one experiment."""

    def __init__(self, experiment: Experiment) -> None:
        self.folder = experiment.path / "control"

    def request_stop(self) -> None:
        """Request the search to save and stop."""
        self._write(_STOP)

    def request_pause(self) -> None:
        """Request the search to pause and release its workers."""
        self._write(_PAUSE)

    def request_end(self, number: int) -> None:
        """Request the end of one trial."""
        self._write(f"{_END}{number}")

    def request_add(self, params: Mapping[str, object]) -> None:
        """Request a trial of a config."""
        self._write(f"{_ADD}{uuid.uuid4().hex}.json", json.dumps(params))

    def clear(self) -> None:
        """Withdraw stop and pause requests."""
        for name in (_STOP, _PAUSE):
            (self.folder / name).unlink(missing_ok=True)

    def stop_requested(self) -> bool:
        """Whether the search should stop."""
        return (self.folder / _STOP).exists()

    def pause_requested(self) -> bool:
        """Whether the search should pause."""
        return (self.folder / _PAUSE).exists()

    def take_end_requests(self) -> list[int]:
        """Return the trials to end, and remove the requests."""
        numbers = []
        for path in self.folder.glob(f"{_END}*"):
            if path.name[len(_END) :].isdigit():
                numbers.append(int(path.name[len(_END) :]))
                path.unlink()
        return numbers

    def take_added_configs(self) -> Iterator[dict[str, SettingValue]]:
        """Yield the configs to add; a request is removed when the caller asks for the next one."""
        paths = sorted(self.folder.glob(f"{_ADD}*.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in paths:
            try:
                params = parse_json(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise StorageError(f"{path}: damaged ({error}); remove it") from error
            yield params
            path.unlink()

    def _write(self, name: str, text: str = "") -> None:
        self.folder.mkdir(exist_ok=True)
        atomic_write(self.folder / name, text.encode())
