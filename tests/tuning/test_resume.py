import json
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tuning.conftest import Command
from tests.tuning.faults.surroundings import damage_newest
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord, epoch_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

EPOCHS = 30
# Long trials that nothing stops, so that whenever a signal comes some are half done.
LONG = {"budget": {"trials": 3, "epochs": EPOCHS}, "scheduler": {"name": "none"}}


def assert_whole(trials: list[TrialRecord], n_trials: int) -> None:
    """Every trial ended, and each of its epochs stands exactly once and in order."""
    assert len(trials) == n_trials
    for trial in trials:
        assert trial.state == "COMPLETE", trial
        assert [row["epoch"] for row in trial.rows] == list(range(1, EPOCHS + 1))
    orders = sorted(row["order"] for trial in trials for row in trial.rows)
    assert orders == list(range(len(orders)))


def kept(before: list[TrialRecord], after: list[TrialRecord]) -> None:
    """What stood in the record before still stands: settings, finished trials, their rows."""
    by_number = {trial.number: trial for trial in after}
    for trial in before:
        now = by_number[trial.number]
        if trial.settings:
            assert now.settings == trial.settings
        if trial.state == "COMPLETE":
            assert now == trial
        else:
            seen = [(row["epoch"], row["val_loss"]) for row in trial.rows]
            assert [(row["epoch"], row["val_loss"]) for row in now.rows[: len(seen)]] == seen


@pytest.fixture(scope="module")
def journey(tmp_path_factory, data_dir):
    """A search that was killed, lost checkpoints, was stopped, moved and resumed to its end.

    It is one over folds; others are killed in `test_kills`.
    """
    command = Command(tmp_path_factory.mktemp("journey"), data_dir)
    options = command.search_options({**LONG, "validation": {"voices": 2}})
    process = command.start(*options)
    error = command.stop_after(process, 8, signal.SIGKILL)
    seen = SimpleNamespace(command=command, error=error, killed=command.experiment.trials())
    seen.damaged = damage_newest(command.experiment, seen.killed)
    assert seen.damaged
    seen.process = command.start("resume", "tiny", "--no-export")
    command.wait_for_rows(seen.process, command.n_rows() + 1)
    seen.second = command.run("resume", "tiny")
    seen.said = command.stop_after(seen.process, command.n_rows() + 2, signal.SIGINT)
    seen.stopped = command.experiment.trials()
    moved = command.experiment.path.rename(command.folder / "runs" / "moved")
    command.experiment = Experiment(moved)
    ended = command.run("resume", "moved", "--no-export")
    assert ended.returncode == 0, ended.stderr
    seen.ended = command.experiment.trials()
    return seen


def test_a_killed_search_prints_no_traceback(journey):
    assert "Traceback" not in journey.error


def test_a_running_search_refuses_a_second(journey):
    assert journey.second.returncode == 4
    assert f"in use by pid {journey.process.pid} on " in journey.second.stderr


def test_a_signal_ends_a_search_with_its_code_and_one_line_that_says_how_to_go_on(journey):
    said = "stopped, everything is saved; resume with `tune-encoder resume tiny`"

    assert journey.process.returncode == 130
    assert journey.said.count(said) == 1
    assert "Traceback" not in journey.said


def test_a_search_that_was_killed_and_whose_checkpoints_are_damaged_keeps_what_it_had(journey):
    kept(journey.killed, journey.stopped)


def test_a_trial_that_falls_back_to_an_older_checkpoint_says_so_once(journey):
    said = r"^trial (\d+): the checkpoint of epoch (\d+) is damaged; it resumes from epoch (\d+)$"
    fallbacks = [[*map(int, each)] for each in re.findall(said, journey.said, re.MULTILINE)]

    numbers = [number for number, *_ in fallbacks]
    assert numbers
    assert len(numbers) == len({*numbers})
    assert {*numbers} <= {*journey.damaged}
    assert all(to < lost for _, lost, to in fallbacks)


def test_a_search_that_was_stopped_and_moved_keeps_what_it_had(journey):
    kept(journey.stopped, journey.ended)


def test_a_search_that_was_killed_and_stopped_ends_as_if_it_never_was(journey):
    assert_whole(journey.ended, n_trials=3)
    assert_metrics_agree(journey.ended, journey.command.experiment.path)


def test_resuming_a_finished_search_changes_nothing(journey):
    again = journey.command.run("resume", "moved", "--no-export")

    assert again.returncode == 0, again.stderr
    assert journey.command.experiment.trials() == journey.ended


def test_epochs_that_were_saved_but_not_recorded_are_not_trained_again(journey):
    runs = journey.command.folder / "runs"
    again = Experiment(runs / "again")
    shutil.copytree(journey.command.experiment.path, again.path)
    trained = [
        metrics(again, number) for number in range(3)
    ]  # an epoch may have been trained twice
    forget_epochs_after(again, 1)
    assert [len(trial.rows) for trial in again.trials()] == [1] * 3

    ended = journey.command.run("resume", "again", "--no-export")

    assert ended.returncode == 0, ended.stderr
    for before, after in zip(trained, again.trials(), strict=True):
        told = [(row["epoch"], row["val_loss"], row["seconds"]) for row in after.rows]
        assert told[1:] == before[1:]
        assert after.state == "COMPLETE"


def metrics(experiment: Experiment, number: int) -> list[tuple[int, float, float]]:
    """Each epoch of a trial as the trial itself wrote it: number, loss and seconds."""
    lines = experiment.trial_metrics(number).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["epoch"], row["val_loss"], row["seconds"]) for row in rows]


def forget_epochs_after(experiment: Experiment, epoch: int) -> None:
    """Leave the record as it was after an epoch of each trial, as if the driver had died there."""
    with closing(sqlite3.connect(experiment.study_path)) as database, database:
        database.execute(
            "DELETE FROM trial_user_attributes WHERE key GLOB 'epoch_*' AND key > ?",
            (epoch_key(epoch),),
        )
        database.execute("DELETE FROM trial_intermediate_values WHERE step > ?", (epoch,))
        database.execute("DELETE FROM trial_values")
        database.execute("UPDATE trials SET state = 'RUNNING', datetime_complete = NULL")


def assert_metrics_agree(trials: list[TrialRecord], folder: Path) -> None:
    for trial in trials:
        losses = [loss for _, loss, _ in metrics(Experiment(folder), trial.number)]
        assert losses[: len(trial.rows)] == [row["val_loss"] for row in trial.rows]
