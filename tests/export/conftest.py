"""Finished searches, made without Ray, and what is exported from them."""

import dataclasses
import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.builders import new_experiment
from tune_encoder.config import ExportSettings
from tune_encoder.data.folds import FoldedData
from tune_encoder.experiment.confirmation import best_configs
from tune_encoder.experiment.folder import CHECKPOINT_NAME, Experiment
from tune_encoder.export import export
from tune_encoder.space import parse_space, space_to_content
from tune_encoder.training.checkpoints import save_state
from tune_encoder.training.folds import train_folds
from tune_encoder.training.loop import ending_at, train
from tune_encoder.tuning.confirm import confirmation_space
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.start import versions

TORCH = ExportSettings(formats="torch", blend="none")
SPACE = {
    "budget": {"trials": 2, "epochs": 6},
    "searcher": {"name": "random", "closed_form": False},
    "base": {
        "hidden_dim": 16,
        "num_layers": 1,
        "batch_size": 8,
        "crop_seconds": 0.5,
        "warmup_epochs": 1.0,
        "augment_prob": 0.0,
        "dropout": 0.0,
        "device": "cpu",
        "use_tensorboard": False,
    },
    # The first learns nothing; the second too fast, so that its best epoch is not its last.
    "space": {"learning_rate": {"float": [1.0e-8, 1.0e-1], "log": True}},
    "start": [{"learning_rate": 1.0e-8}, {"learning_rate": 1.0e-2}],
}


@pytest.fixture(scope="session")
def searched(packed, data_dir, tmp_path_factory):
    """A finished search of two trials, made without Ray; copy it before changing it."""
    space = parse_space(SPACE, "test", data_dir)
    experiment = new_experiment(
        tmp_path_factory.mktemp("runs"),
        "made",
        space,
        data_dir=str(data_dir.resolve()),
        fingerprint=packed.info["fingerprint"],
        versions=versions(),
    )
    record = Record.open(experiment, space)
    for _ in range(space.budget.trials):
        run_trial(record, record.ask(), packed)
    return experiment


@pytest.fixture(scope="session")
def best_epoch(searched):
    """The epoch of the second trial that has the lowest validation loss."""
    return searched.trials()[1].best["epoch"]


def run_trial(record, trial, packed, worse_at=None):
    """Do what a worker and the driver do together; `packed` may be folds.

    The epoch `worse_at` is recorded with a loss that makes another one the best on any machine.
    """
    experiment = record.experiment

    def report(row, state):
        place = f"1/{trial.number:04d}/checkpoint_{row['epoch']:06d}"
        save_state(experiment.checkpoints / place / CHECKPOINT_NAME, state.state_dict())
        worse = {"val_loss": row["val_loss"] + 1} if row["epoch"] == worse_at else {}
        record.add_row(trial.number, {**row, **worse, "checkpoint": place})

    config = record.space.config(trial.settings)
    run = train_folds if isinstance(packed, FoldedData) else train
    run(config, packed, experiment.trial_dir(trial.number), report)
    record.complete(trial.number)


@pytest.fixture(scope="session")
def exported(searched, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "best"
    return folder, export(searched, folder, TORCH)[0]


@pytest.fixture
def experiment(searched, tmp_path):
    """A copy to change."""
    shutil.copytree(searched.path, tmp_path / "runs" / searched.name)
    return Experiment(tmp_path / "runs" / searched.name)


def trained_on_all(experiment, number, epoch, data, folder):
    """The encoder of a trial's config, trained on all voices up to an epoch."""
    config = experiment.space().config(experiment.trials()[number].settings)
    states = []

    with ending_at(epoch) as check:

        def report(row, state):
            states.append(state)
            check(row)

        train(dataclasses.replace(config, early_stopping_patience=0), data, folder, report)
    return states[-1].model


def rows_by_loss(experiment):
    """(trial, row) of all epochs, best first."""
    rows = [(trial, row) for trial in experiment.trials() for row in trial.rows]
    return sorted(rows, key=lambda pair: pair[1]["val_loss"])


def change_row(experiment, number, row):
    with closing(sqlite3.connect(experiment.study_path)) as database, database:
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = ? AND trial_id ="
            " (SELECT trial_id FROM trials WHERE number = ?)",
            (json.dumps(row), f"epoch_{row['epoch']:06d}", number),
        )


def confirmed(experiment, packed, name="top2x2", n_configs=2):
    """Confirm the best configs of a search with two further seeds, as `confirm` does."""
    space = confirmation_space(experiment, best_configs(experiment, n_configs), 2)
    content = {**experiment.read_search(), "space": space_to_content(space)}
    confirming = new_experiment(experiment.path / "confirm", name, **content)
    record = Record.open(confirming, space)
    for _ in range(space.budget.trials):
        run_trial(record, record.ask(), packed)
    return confirming
