"""An experiment that is read again and again: only what has changed, and once for all pages."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.experiment.folder import Experiment, SearchFile
from tune_encoder.experiment.status import FIELDS
from tune_encoder.experiment.trial_reader import TrialReader, file_stamp, record_stamp
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import SearchSpace
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.lock import lock_holder

_ROW_FIELDS = (*FIELDS, "worker")

T = TypeVar("T")


class WatchedExperiment(Experiment):
    """An experiment that is read again and again: only what has changed, and once per refresh."""

    @cached_property
    def _reader(self) -> TrialReader:
        return TrialReader(self.study_path, (*_ROW_FIELDS, *self.space().metric.names))

    @cached_property
    def _kept(self) -> dict[str, tuple[object, Any]]:
        return {}

    def trials(self, fields: Sequence[str] | None = None) -> list[TrialRecord]:
        """Read the trials with the fields that pages show, whichever are asked for."""
        if not self.study_path.exists() and not self.has_trials():
            return []
        with refuse_damage(self.unreadable_error):
            return self._reader.read()

    def read_search(self) -> SearchFile:
        """Read search.yaml if it has changed."""
        return self._once("search", super().read_search)

    def space(self) -> SearchSpace:
        """Read the search space if search.yaml has changed."""
        return self._once("space", super().space)

    def _once(self, name: str, read: Callable[[], T]) -> T:
        stamp = file_stamp(self.path / "search.yaml")
        known = self._kept.get(name)
        if known is None or known[0] != stamp:
            self._kept[name] = known = (stamp, read())
        found: T = known[1]
        return found

    def stamp(self) -> object:
        """Return what changes whenever anything that pages show changes, besides the time."""
        files = file_stamp(self.path / "search.yaml"), record_stamp(self.study_path)
        return files, lock_holder(self.path)

    def problem_line(self, error: Exception) -> str:
        """Return in one line why it cannot be shown, whatever has gone wrong."""
        if isinstance(error, TuneEncoderError | OSError):
            return error_line(error)
        return error_line(
            f"{self.path}: cannot be shown ({type(error).__name__}: {error}); mend its files, or "
            f"rebuild its record with `{self.command('repair')}`"
        )
