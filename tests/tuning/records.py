"""Records that are in a database as well, made without a search."""

import itertools
from contextlib import closing, contextmanager
from dataclasses import asdict, replace

import optuna

from tests.builders import new_experiment
from tests.tuning.lost import EPOCHS, SPACE
from tune_encoder.config import StorageSettings
from tune_encoder.experiment.folder import STUDY_NAME
from tune_encoder.tuning.record.database import Database
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.restore import open_database

NAMES = (f"search-{number}" for number in itertools.count())


def make(root, url, name=None):
    name = name or next(NAMES)
    kept = asdict(StorageSettings(record=url))
    return new_experiment(root, name, SPACE, **kept, record_name=name)


@contextmanager
def opened(experiment):
    """The record as a launch has it."""
    with open_database(experiment) as database:
        yield Record.open(experiment, SPACE, database)


def train(record, losses=(0.9, 0.8)):
    number = record.ask().number
    for epoch, loss in enumerate(losses, start=1):
        add(record, number, epoch, loss)
    return number


def add(record, number, epoch, loss=0.5):
    row = {"epoch": epoch, "val_loss": loss, "val_skill": 0.1 + loss, "finished": False}
    assert record.add_row(number, row) is not None


def filled(experiment):
    """Trials in every state, in the record of an experiment."""
    with opened(experiment) as record:
        train(record, [0.9] * EPOCHS)
        for _ in range(3):
            train(record)
        record.complete(0)
        record.prune(1)
        record.fail(2, "the loss is NaN")
        record.pause(3)
        train(record, [0.7])
        record.add({"head": "lowrank"})
    return experiment


def stored(experiment, where):
    """What a database says of each trial, but for its own keys."""
    if where == "study.db":
        study = optuna.load_study(
            study_name=STUDY_NAME, storage=f"sqlite:///{experiment.study_path}"
        )
        return [told(trial) for trial in study.trials]
    with closing(Database(where, experiment.record_name())) as database:
        return [told(trial) for trial in database.study.trials()]


def seen(experiment):
    """Its trials, but for the moment at which each ended: each database has its own."""
    return [replace(trial, ended_at=None) for trial in experiment.trials()]


def told(trial):
    parts = (trial.number, trial.state, trial.values, trial.params, trial.distributions)
    return *parts, trial.user_attrs, trial.system_attrs, trial.intermediate_values
