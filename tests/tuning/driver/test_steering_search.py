import re
import time
import urllib.request
from typing import Any

import pytest

from tests.tuning.conftest import finish
from tune_encoder.experiment.dashboards import ray_dashboard
from tune_encoder.experiment.folder import Experiment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LONG: dict[str, Any] = {"budget": {"trials": 3, "epochs": 60}, "scheduler": {"name": "none"}}


def trials_of(command):
    return {trial.number: trial for trial in command.experiment.trials()}


def wait_until(process, true):
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def rows_when_quiet(command, seconds=6):
    """Rows of a search that records no more: an epoch takes far less, also on a busy machine."""
    rows, since = command.n_rows(), time.monotonic()
    while time.monotonic() < since + seconds:
        time.sleep(0.2)
        if command.n_rows() != rows:
            rows, since = command.n_rows(), time.monotonic()
    return rows


def test_a_running_search_is_paused_added_to_and_stopped(command):
    process = command.start(*command.search_options(LONG), "--dashboard")
    command.wait_for_rows(process, 4)
    with urllib.request.urlopen(ray_dashboard(command.experiment).address, timeout=30) as page:
        assert "Ray Dashboard" in page.read().decode()

    assert command.run("kill-trial", "tiny", "0").returncode == 0
    wait_until(process, lambda: trials_of(command)[0].state == "PRUNED")
    assert trials_of(command)[0].reason == "ended by hand"

    assert command.run("pause", "tiny").returncode == 0
    before = rows_when_quiet(command)
    assert all(trial.state != "COMPLETE" for trial in trials_of(command).values())
    assert command.run("add", "tiny", "dropout=0.25").returncode == 0
    assert command.run("pause", "tiny").returncode == 0
    wait_until(process, lambda: command.n_rows() > before)
    wait_until(process, lambda: command.experiment.read_search()["space"]["budget"]["trials"] == 4)

    assert command.run("stop", "tiny").returncode == 0
    out, errors = finish(process, 90)
    assert process.returncode == 0, errors
    assert re.search(r"^TensorBoard +http://127.0.0.1:\d+/$", out, re.MULTILINE)
    assert "stopped as asked; go on with `tune-encoder resume tiny`" in out
    assert trials_of(command)[3].state == "WAITING"  # both workers had others to finish
    for trial in trials_of(command).values():
        assert [row["epoch"] for row in trial.rows] == list(range(1, len(trial.rows) + 1))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"time": "1s"}, "the time of 1s is used up; go on with `tune-encoder resume tiny`"),
        ({"target": 100.0}, "val_loss has reached 100; go on with `tune-encoder resume tiny`"),
    ],
)
def test_a_search_ends_when_its_time_or_target_is_reached(command, budget, said):
    ended = command.run(*command.search_options({**LONG, "budget": {**LONG["budget"], **budget}}))

    if budget.get("time"):  # it may be over before the first result
        assert ended.returncode in (0, 5), ended.stderr
    else:
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stdout
    assert all(len(trial.rows) < 60 for trial in command.experiment.trials())


def test_held_trials_are_promoted_and_the_others_stopped(command):
    space = {
        "budget": {"trials": 6, "epochs": 4},
        "scheduler": {"name": "asha-promote", "grace_period": 1, "reduction_factor": 2},
        "metric": {"name": "val_skill"},
    }
    ended = command.run(*command.search_options(space))
    assert ended.returncode == 0, ended.stderr

    trials = command.experiment.trials()
    epochs = sorted(len(trial.rows) for trial in trials)
    assert epochs == [1, 1, 1, 2, 2, 4]
    assert [trial.state for trial in trials].count("COMPLETE") == 1
    assert [trial.state for trial in trials].count("PRUNED") == 5
    at_one = sorted(trials, key=lambda trial: -trial.rows[0]["val_skill"])
    assert all(len(trial.rows) > 1 for trial in at_one[:3])


def test_a_finished_search_goes_deeper_and_wider_and_is_forked(command):
    space = {"budget": {"trials": 2, "epochs": 2}, "scheduler": {"name": "none"}}
    assert command.run(*command.search_options(space)).returncode == 0

    ended = command.run("resume", "tiny", "--trials", "3", "--epochs", "4", "--no-export")
    assert ended.returncode == 0, ended.stderr
    assert "continue to 4 epochs use the learning-rate schedule of\n" in ended.stdout
    for trial in command.experiment.trials():
        assert trial.state == "COMPLETE"
        assert [row["epoch"] for row in trial.rows] == [1, 2, 3, 4]
    assert len(command.experiment.trials()) == 3

    command.search_options({**space, "budget": {"trials": 1, "epochs": 2}})
    ended = command.run("fork", "tiny", "other", "--space", "space.yaml", "--no-export")
    assert ended.returncode == 0, ended.stderr
    fork = Experiment(command.folder / "runs" / "other")
    assert [len(trial.rows) for trial in fork.trials()] == [2]
    assert fork.trials()[0].number == 3  # after the three that it knows
