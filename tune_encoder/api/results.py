"""The results of a search, for a notebook: trials as tables, the best trial, its model."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tune_encoder.config import ExportSettings, SettingValue, from_mapping
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment import folder as on_disk
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.status import metric_value
from tune_encoder.experiment.trials import TrialRecord, best_trial
from tune_encoder.space import SearchSpace
from tune_encoder.system.formats import count_noun

if TYPE_CHECKING:
    from pandas import DataFrame
    from typing_extensions import Unpack

_MAX_ROWS = 10  # trials in a notebook's table
_SCORE_PREFIX = "val_"  # of metrics on the validation voices
_OUTCOME_TYPES = {
    "number": "int64",
    "state": "object",
    "reason": "object",
    "epochs": "int64",
    "best_epoch": "Int64",
    "objective": "float64",
    "val_loss": "float64",
    "val_skill": "float64",
}


class ExportOptions(TypedDict, total=False):
    """Options of an export; the defaults are those of the command line."""

    top_k: int
    """Number of best trials to export, each as a model folder."""
    trial: int
    """Number of the trial to export, in place of the best."""
    formats: str
    """torch, onnx or both, as "torch,onnx"."""
    int8: bool
    """Whether to also quantise the ONNX files to int8."""
    average: int
    """Number of best epochs whose weights are averaged."""
    ensemble: int
    """Number of best trials whose predictions are averaged."""
    blend: str
    """auto, or none: no weighted mean of the best trials' predictions is tried."""


@dataclass(frozen=True)
class Best:
    """The best epoch of all trials."""

    trial: int
    """The trial's number."""
    epoch: int
    settings: dict[str, SettingValue]
    """The values of the searched settings."""
    scores: dict[str, float]
    """Metrics on the validation voices, such as `val_skill`."""


class Experiment:
    """The results of a search. The record is read at every access, also while the search runs.

    Example:
        >>> mine = tune_encoder.Experiment("runs/mine")
        >>> mine.trials.sort_values("val_skill").tail(3)
        >>> mine.curves().pivot(index="epoch", columns="trial", values="val_loss").plot()
        >>> mine.export("model")
    """

    def __init__(self, path: str | Path) -> None:
        """Open the experiment.

        Args:
            path: Its folder, such as "runs/search".

        Raises:
            ConfigError: if the folder is not an experiment.
        """
        path = expand_path(path)
        path = path if path.name not in ("", "..") else path.resolve()
        self._folder = on_disk.open_experiment(path.parent, path.name)

    @property
    def path(self) -> Path:
        """The experiment's folder."""
        return self._folder.path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._folder.name

    @property
    def trials(self) -> "DataFrame":
        """A row for each trial.

        The columns are `number`, `state`, `reason` (of a failure) and the finished `epochs`; then,
        of the best epoch, `best_epoch`, `objective` (the search's metric), `val_loss` and
        `val_skill`, and the second metric and limited quantities, such as `parameters`; then each
        searched setting, empty where its conditions were not met.

        Raises:
            StorageError: if the record cannot be read.
        """
        from pandas import DataFrame

        space = self._folder.space()
        limited = (constraint.name for constraint in space.constraints)
        quantities = list(dict.fromkeys((*space.metric.names[1:], *limited)))
        rows = [
            {
                **_outcome_columns(space, trial, quantities),
                **space.searched_settings(trial.settings),
            }
            for trial in self._folder.trials()
        ]
        measured = {name: "float64" for name in quantities if name not in _OUTCOME_TYPES}
        kinds = {"int": "Int64", "float": "float64"}  # both have a missing value
        columns = {p.name: kinds.get(p.kind, "object") for p in space.parameters}
        dtypes = {**_OUTCOME_TYPES, **measured, **columns}
        return DataFrame(rows, columns=list(dtypes)).astype(dtypes)

    @property
    def best(self) -> Best | None:
        """The epoch with the lowest objective of all trials that did not fail, if there is one.

        Raises:
            StorageError: if the record cannot be read.
        """
        trial = best_trial(self._folder.trials())
        if trial is None or trial.best is None:
            return None
        row = trial.best
        scores = {
            name: value
            for name, value in _metrics_of_row(row).items()
            if name.startswith(_SCORE_PREFIX)
        }
        settings = self._folder.space().searched_settings(trial.settings)
        return Best(trial.number, row["epoch"], settings, scores)

    def curves(self) -> "DataFrame":
        """Return a row for each finished epoch of each trial: `trial`, `epoch` and every metric.

        Raises:
            StorageError: if the record cannot be read.
        """
        from pandas import DataFrame

        space = self._folder.space()
        rows = [
            {
                "trial": trial.number,
                "epoch": row["epoch"],
                **_metrics_of_row(row),
                "objective": metric_value(space, row),
            }
            for trial in self._folder.trials()
            for row in trial.rows
        ]
        return DataFrame(rows, columns=None if rows else ["trial", "epoch"])

    def export(self, to: str | Path | None = None, **options: "Unpack[ExportOptions]") -> Path:
        """Export the best model, and return its folder.

        Args:
            to: The folder; by default `best` in the experiment, or `top` with `top_k`. An older
                export there is replaced.
            options: `trial`, `top_k`, `formats`, `int8`, `average`, `ensemble` and `blend`, as on
                the command line.

        Raises:
            ConfigError: if an option is unknown or out of range.
            SearchFailed: if no trial has a usable checkpoint.
            StorageError: if the model cannot be written, or does not reproduce the trial's score.
        """
        from tune_encoder.export import export

        settings = from_mapping(ExportSettings, options, "export()")
        folder = self._export_folder(settings) if to is None else expand_path(to)
        export(self._folder, folder, settings)
        return folder

    def _export_folder(self, settings: ExportSettings) -> Path:
        return self.path / ("top" if settings.top_k > 1 else "best")

    def report(self, to: str | Path | None = None, compare: Sequence[str] = ()) -> Path:
        """Write an HTML report of the search, and return its path.

        The search may be running. Where something cannot be shown, such as the best trial's errors
        when the data is gone, the report says why.

        Args:
            to: The file; by default `report.html` in the experiment. An older report there is
                replaced.
            compare: Names of experiments in the same root to compare it with.

        Raises:
            ConfigError: if an experiment to compare with does not exist.
            StorageError: if the record cannot be read, or the report cannot be written.
        """
        from tune_encoder.report import write_report

        others = [on_disk.open_experiment(self.path.parent, name) for name in compare]
        return write_report(self._folder, None if to is None else expand_path(to), others)

    def __repr__(self) -> str:
        try:
            return f"{type(self).__name__}({str(self.path)!r}): {self._summary()}"
        except (StorageError, ConfigError) as error:  # a notebook shows this, not a traceback
            return f"{type(self).__name__}({str(self.path)!r}): {error}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a summary, and a table of the best trials."""
        line = f"<p>{html.escape(repr(self))}</p>"
        try:
            frame = self.trials
        except (StorageError, ConfigError):
            return line  # which contains the error
        scored = frame[(frame["state"] != "FAIL") & frame["objective"].notna()]
        shown = scored.sort_values("objective").head(_MAX_ROWS).drop(columns="reason")
        if shown.empty:
            return line
        table = shown.to_html(index=False, border=0, na_rep="", float_format="{:.4g}".format)
        return f"{line}\n{table}"

    def _summary(self) -> str:
        trials = self._folder.trials()
        states = [trial.state for trial in trials]
        counts = ", ".join(f"{states.count(s)} {s}" for s in sorted(set(states)))
        best, n_trials = best_trial(trials), count_noun(len(trials), "trial")
        if best is None or best.best is None:
            return f"{n_trials} ({counts}), no result yet" if trials else "no trials yet"
        return (
            f"{n_trials} ({counts}), best val_skill {best.best['val_skill']:.3f} of "
            f"trial {best.number}, epoch {best.best['epoch']}"
        )


def _outcome_columns(
    space: SearchSpace, trial: TrialRecord, quantities: Sequence[str]
) -> dict[str, object]:
    outcome = {"number": trial.number, "state": trial.state, "reason": trial.reason}
    best = trial.best
    if best is None:
        return {**outcome, "epochs": 0}
    scores = {name: {**best}.get(name) for name in ("val_loss", "val_skill", *quantities)}
    return {
        **outcome,
        "epochs": len(trial.rows),
        "best_epoch": best["epoch"],
        "objective": metric_value(space, best),
        **scores,
    }


def _metrics_of_row(row: EpochRow) -> dict[str, float]:
    """Return the metrics of an epoch, without the bookkeeping of the record."""
    return {name: value for name, value in row.items() if isinstance(value, float)}


def expand_path(path: str | Path) -> Path:
    """Return the path with `~` expanded, as a shell would do."""
    return Path(path).expanduser()
