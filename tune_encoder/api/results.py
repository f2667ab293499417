"""The results of a search, for a notebook: trials as tables, the best trial, its model."""

import html
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.api.export_options import ExportOptions, RetrainOptions
from tune_encoder.api.options import check_option_names, expand_if_given, expand_path
from tune_encoder.api.wording import in_python, methods_for_python
from tune_encoder.config import (
    CONFIRMED_CONFIGS,
    ExportSettings,
    LaunchSettings,
    RetrainSettings,
    SettingValue,
    from_mapping,
)
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment import folder as on_disk
from tune_encoder.experiment import steering
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.status import metric_value
from tune_encoder.experiment.trials import TrialRecord, best_trial
from tune_encoder.space import SearchSpace
from tune_encoder.system.formats import count_noun

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from typing_extensions import Unpack

    from tune_encoder.experiment.confirmation import Confirmation
    from tune_encoder.experiment.views import ExperimentStatus, TrialView

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


@methods_for_python
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
            options: `trial`, `top_k`, `formats`, `int8`, `average`, `ensemble`, `blend` and
                `refit`, as on the command line.

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

    def status(self) -> "ExperimentStatus":
        """Return state, progress, times and best epoch, as plain values.

        Raises:
            StorageError: if the record cannot be read.
        """
        from tune_encoder.experiment.views import status

        return status(self._folder)

    def trial(self, number: int) -> "TrialView":
        """Return settings, state, epochs and newest checkpoint of a trial, as plain values.

        Raises:
            ConfigError: if there is no such trial.
            StorageError: if the record cannot be read.
        """
        from tune_encoder.experiment.views import trial_view

        return trial_view(self._folder, number)

    def track(self, *, mlflow: str | None = None, wandb: str | None = None) -> list[str]:
        """Send the search to MLflow at an address, to a project of W&B, or as its space says.

        Returns:
            Where it can be seen in each tracker; what is there already is not sent again.

        Raises:
            ConfigError, StorageError: if no tracker is named, or one does not take it.
        """
        from tune_encoder.tracking.sender import send_search

        return send_search(self._folder, mlflow, wandb)

    def importance(self) -> "DataFrame":
        """Return a row for each searched setting, the most important first.

        The columns are `setting`, its `importance` from 0 to 1, and the `trials` that searched it.

        Raises:
            SearchFailed, ConfigError: if there are too few trials to say, or nothing is searched.
        """
        from pandas import DataFrame

        from tune_encoder.experiment.importance import importances

        rows = [
            {"setting": each.name, "importance": each.share, "trials": each.n_trials}
            for each in importances(self._folder).settings
        ]
        return DataFrame(rows)

    # --- training on ---------------------------------------------------------------------------

    def confirm(
        self,
        top: int = CONFIRMED_CONFIGS,
        seeds: int | None = None,
        address: str = "",
    ) -> "Confirmation":
        """Retrain the best configs with new seeds, and return which one is really better.

        Args:
            top: Number of configs.
            seeds: Seeds of each, at least 2; by default `budget.seeds` of the space, or 3.
            address: Ray cluster to run on, HOST:PORT or "auto"; by default Ray is started here.

        Raises:
            ConfigError: if a number is out of range.
            StorageError: if the data has changed since the search.
            SearchFailed: if no trial gave a result, in the search or now.
            Interrupted: on Ctrl-C or SIGTERM, with everything saved; the same call resumes.
        """
        from tune_encoder.api.confirming import confirm

        return confirm(self._folder, top, seeds, LaunchSettings(address=address))

    def retrain(
        self,
        to: str | Path | None = None,
        on_epoch: "Callable[[int, EpochRow], None] | None" = None,
        **options: "Unpack[RetrainOptions]",
    ) -> Path:
        """Retrain the best config at full budget, export the model, and return its folder.

        Args:
            to: The folder; by default `retrained` in the experiment. An older export is replaced.
            on_epoch: Called after every epoch with the seed and the epoch's row.
            options: `epochs`, `seeds`, `with_val`, `formats` and `int8`, as on the command line.

        Raises:
            ConfigError: if an option is unknown or out of range, or the search has folds.
            DataError: if no split would be left to score on.
            SearchFailed: if the search has no usable checkpoint.
            StorageError: if the data has changed, or another process retrains the same config.
            Interrupted: on Ctrl-C or SIGTERM, with every epoch saved; the same call resumes.
        """
        from tune_encoder.export.retraining import RETRAINED, plan_retraining, retrain

        given = check_option_names(options, RetrainOptions.__annotations__, "retrain()")
        kinds: dict[str, object] = {
            name: given.pop(name) for name in ("formats", "int8") if name in given
        }
        plan = plan_retraining(self._folder, from_mapping(RetrainSettings, given, "retrain()"))
        settings = from_mapping(ExportSettings, kinds, "retrain()")
        folder = expand_if_given(to) or self.path / RETRAINED
        retrain(self._folder, plan, folder, settings, on_epoch or _ignore)
        return folder

    # --- steering ------------------------------------------------------------------------------

    def stop(self) -> str:
        """Stop the search after its current epochs, with everything saved; return what was said.

        Raises:
            ConfigError: if it is not running.
        """
        return steering.stop_search(self._folder)

    def pause(self) -> str:
        """Pause the search, or continue it if it is paused; return what was said.

        Raises:
            ConfigError: if it is not running.
        """
        if Controls(self._folder).pause_requested():
            return steering.continue_search(self._folder)
        return steering.pause_search(self._folder)

    def kill_trial(self, number: int) -> str:
        """Stop one trial of the search; the others continue; return what was said.

        Raises:
            ConfigError: if the search is not running, or has no such unfinished trial.
        """
        return steering.kill_trial(self._folder, number)

    def add(self, settings: Mapping[str, object]) -> str:
        """Add a config that the search tries next; return what was said.

        Args:
            settings: Values of searched settings; those that are left out are sampled.

        Raises:
            ConfigError: if a setting is not searched or out of its range, or a trial has the
                config.
        """
        return steering.add_settings(self._folder, settings)

    # --- looking -------------------------------------------------------------------------------

    def plot(self, name: str = "curves") -> "Figure":
        """Draw a figure of the report.

        Example:
            >>> mine.plot("importance").savefig("importance.png", dpi=200)

        Args:
            name: "curves", "best_over_epochs", "best_over_time", "gains", "front", "importance",
                "parallel", "slices", "rungs" or "timeline".

        Returns:
            A matplotlib figure; a notebook shows it.

        Raises:
            ConfigError: if there is no figure of that name, or nothing to draw in it yet.
            StorageError: if the record cannot be read.
        """
        from tune_encoder.report.plots import plot

        return plot(self._folder, name)

    def watch(self) -> None:
        """Show the search live until it has ended: in a notebook as HTML, else as text.

        Whoever interrupts it (Ctrl-C) ends the view, and not the search.

        Raises:
            StorageError: if the record cannot be read.
        """
        from tune_encoder.api.watching import search_frames, show

        with suppress(KeyboardInterrupt):
            show(search_frames(self._folder))

    def __repr__(self) -> str:
        try:
            return f"{type(self).__name__}({str(self.path)!r}): {self._summary()}"
        except (StorageError, ConfigError) as error:  # a notebook shows this, not a traceback
            words = in_python(str(error), "Experiment()")
            return f"{type(self).__name__}({str(self.path)!r}): {words}"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the headline, the curves and the best trials."""
        from tune_encoder.api.shown import experiment_box

        try:
            return experiment_box(self._folder)
        except (StorageError, ConfigError):
            return f"<p>{html.escape(repr(self))}</p>"  # which contains the error

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


def _ignore(seed: int, row: EpochRow) -> None:
    """Do nothing after an epoch."""
