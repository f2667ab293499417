"""Running searches that are steered, as users have them; the rules are in test_steering.py."""

import re
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.builders import make_search
from tests.tuning.cluster.test_addresses import addresses, asked, assert_named, check, lines
from tests.tuning.conftest import TINY_SPACE, Command, finish
from tune_encoder.experiment.dashboards import ray_dashboard
from tune_encoder.experiment.folder import Experiment
from tune_encoder.space import parse_space
from tune_encoder.system.ports import LOOPBACK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# Longer than a test: who stops it, stops it in its middle.
ENDLESS: dict[str, Any] = {"budget": {"trials": 3, "epochs": 2000}, "scheduler": {"name": "none"}}
LONG: dict[str, Any] = {"budget": {"trials": 3, "epochs": 60}, "scheduler": {"name": "none"}}
ONE_WORKER: dict[str, Any] = {"resources": {"concurrent": 1}}


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


# --- one search, steered from outside ------------------------------------------------------------


@pytest.fixture(scope="module")
def steered(tmp_path_factory, data_dir):
    """A search that was looked at, lost a trial, was paused, added to, let go on and stopped."""
    command = Command(tmp_path_factory.mktemp("steered"), data_dir)
    try:
        return steer(command)
    finally:
        command.close()


def steer(command):
    process = command.start(*command.search_options(ENDLESS), "--dashboard")
    command.wait_for_rows(process, 4)
    of_pages = seen_from_outside(command, process)
    with urllib.request.urlopen(ray_dashboard(command.experiment).address, timeout=30) as page:
        ray = page.read().decode()
    codes = [command.run("kill-trial", "tiny", "0").returncode]
    wait_until(process, lambda: trials_of(command)[0].state == "PRUNED")
    codes.append(command.run("pause", "tiny").returncode)
    n_paused = rows_when_quiet(command)
    paused = trials_of(command)
    codes.append(command.run("add", "tiny", "dropout=0.25").returncode)
    codes.append(command.run("pause", "tiny").returncode)
    wait_until(process, lambda: command.n_rows() > n_paused)
    budget = command.experiment.read_search
    wait_until(process, lambda: budget()["space"]["budget"]["trials"] == 4)
    codes.append(command.run("stop", "tiny").returncode)
    out, errors = finish(process, 90)
    assert process.returncode == 0, errors
    return SimpleNamespace(
        ray=ray, codes=codes, paused=paused, out=out, ended=trials_of(command), command=command,
        of_pages=of_pages,
    )  # fmt: skip


def seen_from_outside(command, process):
    """Where a search listens, what Ray's pages say of it, and the titles of its processes."""
    driver = psutil.Process(process.pid)
    found = list(addresses(driver))
    actors, jobs = (asked(command.experiment, each) for each in ("logical/actors", "api/jobs/"))
    return SimpleNamespace(
        hosts={host for host, _ in found},
        kinds=[check(host, port) for host, port in found],
        actors=actors["data"]["actors"].values(),
        jobs=jobs,
        titles=[line.strip("\0 ") for _, line in lines(driver)],
    )


def test_a_search_with_its_pages_listens_to_nobody_else(steered):
    assert steered.of_pages.hosts == {LOOPBACK}
    assert {"open", "page", "calls"} == set(steered.of_pages.kinds)
    assert steered.of_pages.kinds.count("calls") > 5


def test_rays_pages_name_the_job_and_its_workers_as_the_search(steered):
    assert_named(steered.of_pages.actors, steered.of_pages.titles)
    (job,) = steered.of_pages.jobs
    assert job["metadata"] == {
        "job_name": "tiny",
        "experiment": "tiny",
        "root": str(steered.command.experiment.path.parent),
        "space": "space",
        "data": str(steered.command.data_dir),
    }


def test_every_command_is_taken(steered):
    assert steered.codes == [0] * 5


def test_the_pages_of_a_running_search_answer_and_are_named(steered):
    assert "Ray Dashboard" in steered.ray
    assert re.search(r"^TensorBoard +http://127.0.0.1:\d+/$", steered.out, re.MULTILINE)


def test_a_trial_that_was_ended_by_hand_is_pruned_with_that_reason(steered):
    assert steered.ended[0].state == "PRUNED"
    assert steered.ended[0].reason == "ended by the user"


def test_pausing_a_search_completes_no_trial(steered):
    assert all(trial.state != "COMPLETE" for trial in steered.paused.values())


def test_a_config_that_was_added_waits_behind_those_that_run(steered):
    assert steered.ended[3].state == "WAITING"  # both workers had others to finish


def test_a_search_that_was_stopped_says_how_to_go_on(steered):
    assert "stopped on request; resume with `tune-encoder resume tiny`" in steered.out


def test_a_steered_search_has_each_epoch_once_and_in_order(steered):
    for trial in steered.ended.values():
        assert [row["epoch"] for row in trial.rows] == list(range(1, len(trial.rows) + 1))


# --- budgets -------------------------------------------------------------------------------------


@pytest.mark.long  # without Ray it is in test_steering
def test_a_search_that_reaches_its_target_ends_and_says_how_to_go_on(command):
    budget = {"trials": 1, "epochs": 60, "target": 100.0}

    ended = command.run(*command.search_options({**LONG, **ONE_WORKER, "budget": budget}))

    assert ended.returncode == 0, ended.stderr
    said = "val_loss has reached 100; resume with `tune-encoder resume tiny`"
    assert said in ended.stdout
    assert all(len(trial.rows) < 60 for trial in command.experiment.trials())


@pytest.mark.long  # without Ray it is in test_extend; and one gets trials in test_output_search
def test_a_finished_search_goes_deeper_and_wider(command):
    space = {**LONG, **ONE_WORKER, "budget": {"trials": 2, "epochs": 2}}
    assert command.run(*command.search_options(space)).returncode == 0

    ended = command.run("resume", "tiny", "--trials", "3", "--epochs", "4", "--concurrent", "2",
                        "--no-export")  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert "continue to 4 epochs use the learning-rate schedule of\n" in ended.stdout
    assert len(command.experiment.trials()) == 3
    for trial in command.experiment.trials():
        assert trial.state == "COMPLETE"
        assert [row["epoch"] for row in trial.rows] == [1, 2, 3, 4]


def test_a_fork_trains_its_own_trials_after_those_that_it_knows(command, packed):
    data = {"data_dir": str(command.data_dir), "fingerprint": packed.info["fingerprint"]}
    parent = parse_space({**TINY_SPACE, "budget": {"trials": 3, "epochs": 2}}, "test", Path())
    known = [
        ("COMPLETE", {"learning_rate": 1e-3 * n, "dropout": n / 10}, [0.9, 0.8]) for n in (1, 2, 3)
    ]
    make_search(command.folder / "runs", parent, known, name="tiny", **data)
    command.search_options({"scheduler": {"name": "none"}})

    ended = command.run("fork", "tiny", "other", "--space", "space.yaml", "--no-export",
                        "--trials", "1", "--epochs", "2", "--concurrent", "1")  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    fork = Experiment(command.folder / "runs" / "other")
    assert [(trial.number, len(trial.rows)) for trial in fork.trials()] == [(3, 2)]
    assert fork.space().resources.concurrent == 1
