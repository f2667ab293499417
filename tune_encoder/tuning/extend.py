"""Extending the budget of a search that has run: more trials, more epochs, more time."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tune_encoder.config import EXTENSIONS
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord, epoch_key
from tune_encoder.space import SearchSpace, override_space, space_to_content

if TYPE_CHECKING:
    from tune_encoder.tuning.record.database import Database

_ENDED = ("COMPLETE", "PRUNED")


def extend_search(
    experiment: Experiment,
    space: SearchSpace,
    changes: dict[str, Any],
    database: "Database | None" = None,
) -> SearchSpace:
    """Return the space with a larger budget, and reopen the trials that it affects.

    Pruned and complete trials are set back to running; the early-stopping rule then decides again
    on their last rows, and prunes again those that it would not promote. A trial that continues to
    more epochs uses the learning-rate schedule of the longer run from there on.

    Args:
        experiment: An experiment that this process has locked.
        space: Its space.
        changes: trials, epochs, total_epochs, time, target, until, concurrent, mlflow, wandb;
            None changes nothing.
        database: Database of its record, if there is one.

    Raises:
        ConfigError: if a number is smaller than before.
    """
    if all(value is None for value in changes.values()):
        return space
    wider, budget = extended_space(space, changes), space.budget
    # With the other rules, more trials do not change which of the earlier ones are stopped.
    promotes = space.scheduler.promotes and wider.n_trials > space.n_trials
    if promotes or wider.budget.epochs > budget.epochs:
        reopen_trials(experiment, budget.epochs, wider.budget.epochs, database)
    experiment.write_search({**experiment.read_search(), "space": space_to_content(wider)})
    return wider


def extended_space(space: SearchSpace, changes: Mapping[str, Any]) -> SearchSpace:
    """Return the space with a larger budget; see `extend_search`, which also changes the search.

    Raises:
        ConfigError: if a number is smaller than before.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    changed: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        changed.setdefault(EXTENSIONS[name], {})[name] = value
    budget = space.budget
    if given.get("epochs", budget.epochs) < budget.epochs:
        raise ConfigError(
            f"command line: epochs is {given['epochs']}; it must be at least {budget.epochs}, for "
            "which trials were planned"
        )
    if "trials" in given and space.searcher.name == "grid":
        raise ConfigError(
            f"command line: trials is {given['trials']}; the grid has only {budget.trials} "
            "configs, so fork the search with a larger grid instead"
        )
    wider = override_space(space, changed, "command line")
    if "trials" in given:  # all configs may be fewer
        trials = min(wider.budget.trials, max(budget.trials, wider.n_trials))
        wider = replace(wider, budget=replace(wider.budget, trials=trials))
    return wider


def reopen_trials(
    experiment: Experiment, epochs: int, more: int, database: "Database | None" = None
) -> None:
    """Set ended trials back to running if more epochs or trials may affect them."""
    from tune_encoder.tuning.record.study_file import StudyFile

    if not experiment.study_path.exists():
        return
    notes = {
        trial.number: _reopened_attributes(trial, more)
        for trial in experiment.trials()
        if _may_continue(trial, epochs, more)
    }
    if database is not None:
        database.write(lambda study: study.reopen(notes))
    with closing(StudyFile(experiment.study_path)) as file:
        file.write(lambda study: study.reopen(notes))


def _may_continue(trial: TrialRecord, epochs: int, more: int) -> bool:
    """Whether it was ended by the rule or by its last epoch, not by its patience or the user."""
    if not trial.rows or trial.reason or trial.state not in (*_ENDED, "RUNNING"):
        return False
    used_up = trial.rows[-1]["epoch"] >= epochs
    return trial.state == "PRUNED" or (more > epochs and (used_up or trial.state == "RUNNING"))


def _reopened_attributes(trial: TrialRecord, more: int) -> dict[str, object]:
    last: EpochRow = {**trial.rows[-1], "finished": False}
    return {
        "settings": {**trial.settings, "epochs": more},
        epoch_key(last["epoch"]): last,
    }
