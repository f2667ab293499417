"""Which epochs of a search are exported, and why."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tune_encoder.config import TrainConfig, from_mapping
from tune_encoder.errors import SearchFailed, StorageError
from tune_encoder.experiment.confirmation import FOLDER, Confirmation, newest_confirmation
from tune_encoder.experiment.epoch_row import EpochRow, objective
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.status import has_ended
from tune_encoder.experiment.trials import TrialRecord, rank_trials
from tune_encoder.export.contents import Member
from tune_encoder.system.formats import count_noun
from tune_encoder.training.checkpoints import State, load_state


@dataclass(frozen=True)
class Choice:
    """An epoch whose checkpoint is there and verifies."""

    search: Experiment
    """Whose trial it is: the experiment, or a search that confirmed it."""
    trial: TrialRecord
    row: EpochRow
    state: State
    why: str = ""
    """For a person."""
    subfolder: str = ""
    """Where it was trained, if that is no trial of a search."""

    @property
    def config(self) -> TrainConfig:
        """The settings of the trial, with the data they were trained on."""
        settings = {**self.trial.settings, "data_dir": self.search.read_search()["data_dir"]}
        return from_mapping(TrainConfig, settings, self.search.name)

    @property
    def trained_in(self) -> str:
        """Where it was trained, as in `mine`, `mine/confirm/top3x3` or `mine/retrained/0003`."""
        path = self.search.path
        confirming = path.parent.name == FOLDER
        name = f"{path.parent.parent.name}/{FOLDER}/{path.name}" if confirming else path.name
        return f"{name}/{self.subfolder}" if self.subfolder else name

    def describe(self) -> Member:
        """Return what tells it from other checkpoints."""
        return {
            "trained_in": self.trained_in,
            "trial": self.trial.number,
            "epoch": self.row["epoch"],
            "seed": self.trial.seed,
        }


def choose(experiment: Experiment, count: int) -> list[Choice]:
    """Return the best epoch of each of the best trials, best first.

    The objective of the search decides. Where its newest confirmation knows the best trial's
    config, the first is the best epoch of the config that was best with further seeds.

    Args:
        experiment: The search.
        count: How many trials; fewer are returned if fewer have a usable checkpoint.

    Raises:
        SearchFailed: if no trial has one.
    """
    trials = rank_trials(experiment.trials())
    confirmation, why_ignored = _confirmation(experiment, trials)
    found = [] if confirmation is None or why_ignored else _confirmed(confirmation)
    seen = {confirmation.configs[0].trial} if confirmation is not None and found else set()
    for choice in best_epochs(experiment, trials):
        if len(found) >= count:
            break
        if choice.trial.number not in seen:
            seen.add(choice.trial.number)
            why = _why(experiment, len(found) + 1, len(trials)) + why_ignored
            found.append(dataclasses.replace(choice, why=why))
    if not found:
        raise SearchFailed(_nothing_usable(experiment, trials))
    return found


def _nothing_usable(experiment: Experiment, trials: list[TrialRecord]) -> str:
    remedy = f"go on with `{experiment.command('resume')}`"
    if trials and all(has_ended(trial) for trial in trials):
        location = (
            experiment.checkpoints if experiment.storage is None else experiment.storage.location
        )
        remedy = f"restore {location}, or search anew"
    return f"{experiment.path}: no trial has a usable checkpoint; {remedy}"


def best_epochs(
    search: Experiment, trials: Iterable[TrialRecord], why: str = ""
) -> Iterator[Choice]:
    """Yield the epochs that can be read, best first; a damaged one gives way to the next."""
    kept = set(search.checkpoint_names())
    scored = [(trial, row) for trial in trials for row in trial.rows]
    for trial, row in sorted(scored, key=lambda pair: objective(pair[1])):
        path = search.checkpoint_file(row) if row.get("checkpoint") in kept else None
        if path is not None:
            try:
                yield Choice(search, trial, row, load_state(path), why)
            except StorageError:
                continue


def _why(experiment: Experiment, rank: int, n_trials: int) -> str:
    metric = experiment.space().metric
    word = "lowest" if metric.direction == "min" else "highest"
    which = f"the {word}" if rank == 1 else f"number {rank} by"
    return f"{which} {metric.name} of {count_noun(n_trials, 'trial')}"


# --- a confirmed config --------------------------------------------------------------------------


def _confirmation(
    experiment: Experiment, trials: list[TrialRecord]
) -> tuple[Confirmation | None, str]:
    """The newest confirmation, and why it does not count if it does not."""
    try:
        confirmation = newest_confirmation(experiment) if trials else None
    except SearchFailed:
        return None, "; none of its configs gave a result when it was confirmed"
    return confirmation, _why_ignored(confirmation, trials) if confirmation is not None else ""


def _why_ignored(confirmation: Confirmation, trials: list[TrialRecord]) -> str:
    """Say why a confirmation does not count: the search went on and found something better."""
    best = trials[0]
    known = [each.settings for each in confirmation.configs]
    if best.number in confirmation.failed or any(
        config.items() <= best.settings.items() for config in known
    ):
        return ""
    return (
        f"; confirm/{confirmation.experiment.name} does not know trial {best.number}, so it does "
        "not count"
    )


def _confirmed(confirmation: Confirmation) -> list[Choice]:
    """The best epoch of the config with the best mean over further seeds, if one can be read."""
    first = confirmation.configs[0]
    search = confirmation.experiment
    trials = [
        t for t in rank_trials(search.trials()) if first.settings.items() <= t.settings.items()
    ]
    return list(itertools.islice(best_epochs(search, trials, _why_confirmed(confirmation)), 1))


def _why_confirmed(confirmation: Confirmation) -> str:
    first, near = confirmation.configs[0], confirmation.n_tied
    noise = "outside the noise of the others"
    if confirmation.winner is None:
        noise = f"though the first {near} are within the noise" if near > 1 else "the only one"
    return (
        f"the config of trial {first.trial}, which has the best mean {confirmation.metric.name} "
        f"over {len(first.seeds)} further seeds, {noise}"
    )
