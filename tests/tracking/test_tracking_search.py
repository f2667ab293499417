"""A search that is killed, loses checkpoints and is resumed, and what its trackers have then."""

import json
import signal
import sys
import time
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest

from tests.tracking.conftest import PATIENT
from tests.tracking.wandb_files import histories
from tests.tuning.conftest import Command
from tests.tuning.faults.surroundings import damage_newest
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.trials import best_trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

EPOCHS = 30
LONG = {"budget": {"trials": 3, "epochs": EPOCHS}, "scheduler": {"name": "none"}}
HOOK = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(json.load(sys.stdin)) + chr(10))"


@pytest.fixture(scope="module")
def journey(tmp_path_factory, data_dir, mlflow_server):
    from mlflow import MlflowClient

    command = Command(tmp_path_factory.mktemp("journey"), data_dir)
    told = command.folder / "told.jsonl"
    hook = f"{sys.executable} -c \"{HOOK}\" '{told}'"
    client = MlflowClient(mlflow_server)
    options = [*command.search_options(LONG), "--mlflow", mlflow_server, "--wandb", "mine"]
    process = command.start(*options, "--notify", hook, environment=PATIENT)
    command.wait_for_rows(process, 8)
    Controls(command.experiment).request_pause()  # or it may end before the server has anything
    wait_for_metrics(client, process)
    Controls(command.experiment).clear()
    error = command.stop_after(process, command.n_rows() + 4, signal.SIGKILL)
    seen = SimpleNamespace(command=command, client=client, told=told, error=error)
    seen.damaged = damage_newest(command.experiment, command.experiment.trials())
    before = runs(client)
    seen.sent_before = {name: run.info.run_id for name, run in before.items()}
    resume = ["resume", "tiny", "--no-export", "--notify", hook]
    seen.ended = command.run(*resume, environment=PATIENT)
    assert seen.ended.returncode == 0, seen.ended.stderr
    seen.trials = command.experiment.trials()
    seen.runs = runs(client)
    yield seen
    command.close()


def runs(client, experiment="tune-encoder"):
    """The runs of the search by name; each name is that of one run only."""
    place = client.get_experiment_by_name(experiment)
    found = client.search_runs([place.experiment_id]) if place else []
    assert max(Counter(run.info.run_name for run in found).values(), default=1) == 1
    return {run.info.run_name: run for run in found}


def wait_for_metrics(client, process):
    """Wait until an epoch is on the server, so that there is something to lose."""
    while not any("val_loss" in run.data.metrics for run in runs(client).values()):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)


def curves(client, run):
    """The curves of a run, with each value as often as the server has it."""
    return {
        name: sorted(
            (point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }


def measured(trial):
    """The curves of a trial, as the record has them."""
    numbers = [
        (row["epoch"], name, value)
        for row in trial.rows
        for name, value in row.items()
        if type(value) in (int, float) and name not in ("epoch", "order", "attempt")
    ]
    return {key: [(e, v) for e, name, v in numbers if name == key] for _, key, _ in numbers}


def test_every_epoch_is_on_the_server_once_and_as_the_record_has_it(journey):
    assert journey.damaged
    for trial in journey.trials:
        run = journey.runs[f"trial {trial.number}"]
        assert len(trial.rows) == EPOCHS
        assert curves(journey.client, run) == measured(trial)


def test_a_run_has_the_settings_and_the_state_of_its_trial(journey):
    for trial in journey.trials:
        run = journey.runs[f"trial {trial.number}"]

        assert run.data.params == {name: str(value) for name, value in trial.settings.items()}
        assert run.info.status == "FINISHED"
        tags = run.data.tags
        assert (tags["state"], tags["trial"]) == ("finished", str(trial.number))
        assert tags["data"] == journey.command.experiment.read_search()["fingerprint"]
        assert tags["mlflow.parentRunId"] == journey.runs["tiny"].info.run_id


def test_the_run_of_the_search_is_continued_and_ends_with_its_best_value(journey):
    run, best = journey.runs["tiny"], best_trial(journey.trials)

    assert run.info.run_id == journey.sent_before["tiny"]
    assert run.info.status == "FINISHED"
    assert best is not None
    assert best.best is not None
    assert run.data.metrics["best_val_loss"] == best.best["val_loss"]


def test_a_trial_is_continued_in_its_run_unless_an_epoch_of_it_was_trained_again(journey):
    damaged = {f"trial {number}" for number in journey.damaged}

    for name in journey.sent_before.keys() - damaged:
        assert journey.runs[name].info.run_id == journey.sent_before[name]


def test_without_a_network_wandb_has_every_epoch_in_files(journey):
    found = histories(journey.command.experiment.path / "wandb")
    identity = journey.command.experiment.identity()[:16]

    for trial in journey.trials:
        versions = [name for name in found if name.startswith(f"{identity}-{trial.number}-")]
        newest = max(versions, key=lambda name: int(name.rpartition("-")[2]))
        losses = {row["_step"]: row["val_loss"] for row in found[newest]}

        assert losses == {row["epoch"]: row["val_loss"] for row in trial.rows}
    assert f"{identity}-search-1" in found


def test_the_command_is_told_of_the_best_trials_and_of_the_end(journey):
    told = [json.loads(line) for line in journey.told.read_text().splitlines()]
    events = [each["event"] for each in told]

    assert events[0] == "best"
    assert events[-1] == "end"
    assert {*events} - {"stopped"} == {"best", "end"}  # the follower may outlive the kill
    best = best_trial(journey.trials)
    assert best is not None
    assert told[-1]["best"]["trial"] == best.number
    assert told[-1]["experiment"] == "tiny"
    leaders = [each["best"]["trial"] for each in told if each["event"] == "best"]
    assert all(one != other for one, other in pairwise(leaders))


def test_a_search_ends_as_usual_though_no_tracker_answers_and_nobody_can_be_told(
    command, silent_server
):
    options = command.search_options({"budget": {"trials": 2, "epochs": 2}})
    told = ["--mlflow", silent_server, "--notify", "false"]

    ended = command.run(*options, *told, environment={"MLFLOW_HTTP_REQUEST_TIMEOUT": "2"})

    assert ended.returncode == 0, ended.stderr
    assert [len(trial.rows) for trial in command.experiment.trials()] == [2, 2]
    warnings = [line for line in ended.stderr.splitlines() if "warning" in line]
    assert sorted(line.partition("; ")[0] for line in warnings) == [
        "warning: notify: false ended with exit code 1",
        f"warning: tracking: MLflow at {silent_server}: timed out",
    ]


def test_nothing_was_warned_of(journey):
    assert "warning" not in journey.ended.stderr
