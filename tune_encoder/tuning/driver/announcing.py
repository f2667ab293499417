"""Tells programs of a search: its trials, epochs, bests and ends, as they reach the record."""

from ray.tune import Callback
from ray.tune.experiment import Trial

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.status import has_ended, metric_value, search_status, trial_status
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.system.events import is_heard, tell
from tune_encoder.tuning.record.record import Record


def announce_start(record: Record) -> None:
    """Tell what is searched, and what is known of it already."""
    if not is_heard():
        return
    space, experiment = record.space, record.experiment
    trials = [*record.trials.values()]
    voices, baselines = experiment.voice_kind(), experiment.baselines()
    view = search_status(space, trials, None, voices, baselines)
    tell(
        "start",
        experiment=experiment.name,
        path=str(experiment.path),
        metric=space.metric.name,
        mode="min" if space.metric.sign > 0 else "max",
        voices=voices,
        baseline=view["baseline"],
        trials_budget=view["trials_budget"],
        epochs_budget=view["epochs_budget"],
        epochs_per_trial=space.budget.epochs,
        trials_ended=view["trials_ended"],
        epochs=view["epochs"],
        best=view["best"],
    )


class Announcer(Callback):
    """Tells what is new in the record after each of Tune's steps."""

    def __init__(self, record: Record) -> None:
        self._record = record
        begun = (trial for trial in record.trials.values() if trial.rows or has_ended(trial))
        self._n_rows = {trial.number: len(trial.rows) for trial in begun}
        self._ended = {number for number, trial in record.trials.items() if has_ended(trial)}
        self._best = self._best_epoch()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the record alone: Tune pickles its callbacks, but they are never loaded."""
        return Announcer, (self._record,)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Tell what is new."""
        self._tell_new()

    def close(self) -> None:
        """Tell what came last, and that all is saved."""
        self._tell_new()
        experiment = self._record.experiment
        trials = [*self._record.trials.values()]
        self._tell(
            "saved",
            path=str(experiment.path),
            trials_ended=sum(map(has_ended, trials)),
            epochs=self._record.n_epochs(),
            resume=experiment.command("resume") if self._record.has_work() else None,
        )

    def _tell(self, event: str, **values: object) -> None:
        tell(event, experiment=self._record.experiment.name, **values)

    def _tell_new(self) -> None:
        trials = [*self._record.trials.values()]
        for trial in trials:
            self._tell_epochs(trial)
        self._tell_best()
        for trial in trials:
            if has_ended(trial) and trial.number not in self._ended:
                self._ended.add(trial.number)
                self._tell_ended(trial)

    def _tell_epochs(self, trial: TrialRecord) -> None:
        if trial.state == "WAITING":  # its settings are not drawn yet
            return
        if trial.number not in self._n_rows:
            self._n_rows[trial.number] = 0
            settings = self._record.space.searched_settings(trial.settings)
            self._tell("trial_started", trial=trial.number, settings=settings)
        for row in trial.rows[self._n_rows[trial.number] :]:
            scores, seconds = self._scores(row), row["seconds"]
            self._tell("epoch", trial=trial.number, **scores, seconds=seconds)
        self._n_rows[trial.number] = len(trial.rows)

    def _tell_best(self) -> None:
        best = self._record.best()
        found = self._best_epoch()
        if best is None or best.best is None or found == self._best:
            return
        self._best = found
        self._tell("best", trial=best.number, **self._scores(best.best))

    def _scores(self, row: EpochRow) -> dict[str, object]:
        return {
            "epoch": row["epoch"],
            "value": metric_value(self._record.space, row),
            "val_loss": row["val_loss"],
            "skill": row["val_skill"],
            "skill_se": row.get("val_skill_se"),
        }

    def _tell_ended(self, trial: TrialRecord) -> None:
        self._tell(
            "trial_ended",
            trial=trial.number,
            state=trial_status(trial).replace(" ", "_"),
            epochs=len(trial.rows),
            best=None if trial.best is None else self._scores(trial.best),
            reason=trial.reason or None,
        )

    def _best_epoch(self) -> tuple[int, int] | None:
        trial = self._record.best()
        return None if trial is None or trial.best is None else (trial.number, trial.best["epoch"])
