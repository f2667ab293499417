"""Selection of the checkpoints to export."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tune_encoder.config import TrainConfig, stored_config
from tune_encoder.errors import SearchFailed, StorageError
from tune_encoder.experiment.confirmation import FOLDER, Confirmation, newest_confirmation
from tune_encoder.experiment.epoch_row import EpochRow, keeps_constraints, rank
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.status import has_ended
from tune_encoder.experiment.trials import TrialRecord, rank_trials
from tune_encoder.experiment.views import find_trial
from tune_encoder.export.contents import Member
from tune_encoder.system.formats import count_noun
from tune_encoder.training.checkpoints import State, load_state


class Checkpoint(Protocol):
    """A trained epoch that can be exported, wherever it was trained."""

    @property
    def config(self) -> TrainConfig:
        """The config it was trained with, with its data folder."""

    @property
    def row(self) -> EpochRow:
        """Its losses and scores."""

    @property
    def state(self) -> State:
        """The content of the checkpoint."""

    @property
    def why(self) -> str:
        """The reason for the choice, for people."""

    def describe(self) -> Member:
        """Return what identifies the checkpoint."""


@dataclass(frozen=True)
class Choice:
    """An epoch of a search with a valid checkpoint."""

    search: Experiment
    """The search of the trial: the experiment, or one that confirmed it."""
    trial: TrialRecord
    row: EpochRow
    state: State
    why: str = ""
    """The reason for the choice, for people."""
    subfolder: str = ""
    """Where it was trained within the experiment, if not in a trial."""

    @property
    def config(self) -> TrainConfig:
        """The config of the trial, with its data folder."""
        settings = {**self.trial.settings, "data_dir": self.search.read_search()["data_dir"]}
        return stored_config(settings, self.search.name)

    @property
    def trained_in(self) -> str:
        """Where it was trained, as in `mine`, `mine/confirm/top3x3` or `mine/retrained/0003`."""
        path = self.search.path
        confirming = path.parent.name == FOLDER
        name = f"{path.parent.parent.name}/{FOLDER}/{path.name}" if confirming else path.name
        return f"{name}/{self.subfolder}" if self.subfolder else name

    def describe(self) -> Member:
        """Return what identifies the checkpoint."""
        return {
            "trained_in": self.trained_in,
            "trial": self.trial.number,
            "epoch": self.row["epoch"],
            "seed": self.trial.seed,
        }


def choose(experiment: Experiment, count: int, number: int | None = None) -> list[Choice]:
    """Return the best epoch of each of the best trials, best first, or of the one asked for.

    Trials are ranked by the objective. If the newest confirmation includes the best trial's
    config, the first choice is the best epoch of the config that was best over further seeds.

    Args:
        experiment: The search.
        count: How many trials; fewer are returned if fewer have a usable checkpoint.
        number: The trial that is asked for; None for the best.

    Raises:
        ConfigError: if there is no trial of that number.
        SearchFailed: if no trial has a usable checkpoint.
    """
    if number is not None:
        return [_asked_for(experiment, number)]
    trials = rank_trials(experiment.trials())
    confirmation, why_ignored = _confirmation(experiment, trials)
    found = [] if confirmation is None or why_ignored else _confirmed(confirmation)
    seen = {confirmation.configs[0].trial} if confirmation is not None and found else set()
    for choice in best_epochs(experiment, trials):
        if len(found) >= count or not keeps_constraints(choice.row):
            break
        if choice.trial.number not in seen:
            seen.add(choice.trial.number)
            why = _why(experiment, len(found) + 1, len(trials)) + why_ignored
            found.append(dataclasses.replace(choice, why=why))
    if not found:
        raise SearchFailed(_nothing_usable(experiment, trials))
    return found


def _asked_for(experiment: Experiment, number: int) -> Choice:
    """The best epoch of a trial, which may break the constraints."""
    trial = find_trial(experiment, number)
    for choice in best_epochs(experiment, [trial], "the trial that was asked for"):
        return choice
    raise SearchFailed(f"{experiment.path}: trial {number} has no usable checkpoint")


def _nothing_usable(experiment: Experiment, trials: list[TrialRecord]) -> str:
    remedy = f"continue with `{experiment.command('resume')}`"
    if trials and all(has_ended(trial) for trial in trials):
        location = (
            experiment.checkpoints if experiment.storage is None else experiment.storage.location
        )
        remedy = f"restore {location}, or start a new search"
    return f"{experiment.path}: no trial has a usable checkpoint; {remedy}"


def best_epochs(
    search: Experiment, trials: Iterable[TrialRecord], why: str = ""
) -> Iterator[Choice]:
    """Yield the epochs with a valid checkpoint, best first."""
    kept = set(search.checkpoint_names())
    scored = [(trial, row) for trial in trials for row in trial.rows]
    for trial, row in sorted(scored, key=lambda pair: rank(pair[1])):
        path = search.checkpoint_file(row) if row.get("checkpoint") in kept else None
        if path is not None:
            try:
                yield Choice(search, trial, row, load_state(path), why)
            except StorageError:
                continue


def _why(experiment: Experiment, place: int, n_trials: int) -> str:
    space = experiment.space()
    metric = space.metric
    word = "lowest" if metric.direction == "min" else "highest"
    which = f"the {word}" if place == 1 else f"number {place} by"
    kept = " that keep the constraints" if space.constraints else ""
    words = f"{which} {metric.name} of {count_noun(n_trials, 'trial')}{kept}"
    if metric.second:
        words += (
            f"; of the {metric.second} of other trials see `{experiment.command('best')}`, and "
            "export one with --trial N"
        )
    return words


# --- a confirmed config --------------------------------------------------------------------------


def _confirmation(
    experiment: Experiment, trials: list[TrialRecord]
) -> tuple[Confirmation | None, str]:
    """The newest confirmation, and if it is ignored, the reason."""
    try:
        confirmation = newest_confirmation(experiment) if trials else None
    except SearchFailed:
        return None, "; its confirmation is ignored, since none of its configs had a result"
    return confirmation, _why_ignored(confirmation, trials) if confirmation is not None else ""


def _why_ignored(confirmation: Confirmation, trials: list[TrialRecord]) -> str:
    """Say why a confirmation is ignored: the search has since found a better trial."""
    best = trials[0]
    known = [each.settings for each in confirmation.configs]
    if best.number in confirmation.failed or any(
        config.items() <= best.settings.items() for config in known
    ):
        return ""
    return (
        f"; confirm/{confirmation.experiment.name} is ignored, since it does not include trial "
        f"{best.number}"
    )


def _confirmed(confirmation: Confirmation) -> list[Choice]:
    """The best valid epoch of the config with the best mean over further seeds, if any."""
    first = confirmation.configs[0]
    search = confirmation.experiment
    trials = [
        t for t in rank_trials(search.trials()) if first.settings.items() <= t.settings.items()
    ]
    return list(itertools.islice(best_epochs(search, trials, _why_confirmed(confirmation)), 1))


def _why_confirmed(confirmation: Confirmation) -> str:
    first, near = confirmation.configs[0], confirmation.n_tied
    noise = "significantly better than the others"
    if confirmation.winner is None:
        noise = f"though the top {near} do not differ significantly" if near > 1 else "the only one"
    return (
        f"the config of trial {first.trial}, which has the best mean {confirmation.metric.name} "
        f"over {count_noun(len(first.seeds), 'further seed')}, {noise}"
    )
