"""What trackers have of a search that was killed, and a server of MLflow of made-up ones.

They are in one file as one server, which takes long to start, serves all of them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.builders import SPACE, MadeSearch, epoch_row
from tests.tracking.conftest import PATIENT
from tests.tracking.wandb_files import histories
from tests.tuning.conftest import Command
from tests.tuning.faults.surroundings import damage_newest
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.trials import best_trial
from tune_encoder.tracking.sender import send_search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

EPOCHS = 16
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
    short = {"budget": {"trials": 2, "epochs": 2}, "resources": {"concurrent": 1}}
    options = command.search_options(short)
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


# --- searches that are made up --------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, mlflow_server, monkeypatch):
    """A search of 1, 2, ... epochs, and an experiment of MLflow with nothing in it."""
    from mlflow import MlflowClient

    for name, value in {**PATIENT, "MLFLOW_EXPERIMENT_NAME": tmp_path.name}.items():
        monkeypatch.setenv(name, value)
    made = MadeSearch(tmp_path, SPACE, row_of=row_of)
    client = MlflowClient(mlflow_server)
    return SimpleNamespace(made=made, experiment=made.experiment, client=client, uri=mlflow_server,
                           send=lambda: send_search(made.experiment, mlflow_server),
                           runs=lambda: runs(client, tmp_path.name))  # fmt: skip


def row_of(number, epoch, value):
    more = {f"train_{name}": value + epoch for name in ("loss", "ttl", "dp", "cosine")}
    at = 1.7e9 + 100 * number + epoch + 0.125
    return epoch_row(epoch, value, SPACE, recorded_at=at, attempt=1, **more)


def assert_equal_to_record(place):
    found = place.runs()
    for trial in place.experiment.trials():
        assert curves(place.client, found[f"trial {trial.number}"]) == measured(trial)


def test_what_was_missed_is_sent_and_nothing_twice(place):
    place.made.trial([0.9, 0.8], "COMPLETE")
    number = place.made.trial([0.7])
    place.send()
    before = place.runs()
    for epoch in range(2, 150):  # more than one request takes
        place.made.record.add_row(number, row_of(number, epoch, 0.7 - epoch / 1000))
    place.made.record.complete(number)
    place.made.trial([], "FAIL", "it diverged")

    place.send()
    place.send()

    assert_equal_to_record(place)
    after = place.runs()
    assert {name: after[name].info.run_id for name in before} == {
        name: run.info.run_id for name, run in before.items()
    }
    states = [after[f"trial {i}"].info.status for i in range(3)]
    assert states == ["FINISHED", "FINISHED", "FAILED"]
    assert after["mine"].info.end_time == round(1000 * row_of(number, 149, 0)["recorded_at"])
    assert after["trial 2"].data.tags["reason"] == "it diverged"


def test_a_trial_whose_epoch_was_trained_again_gets_another_run(place):
    number = place.made.trial([0.9, 0.8, 0.7])
    place.send()
    before = place.runs()
    again = row_of(number, 3, 0.6)
    place.made.record.add_row(number, {**again, "recorded_at": 1.8e9, "seconds": 2.0})

    place.send()

    assert_equal_to_record(place)
    after = place.runs()
    assert after["trial 0"].info.run_id != before["trial 0"].info.run_id
    assert after["mine"].info.run_id == before["mine"].info.run_id


def test_a_sender_that_is_killed_leaves_nothing_out_and_nothing_twice(place):
    for number in range(12):
        place.made.trial([0.9 - number / 100, 0.5], "COMPLETE")
    command = [sys.executable, "-m", "tune_encoder", "track", "mine", "--mlflow", place.uri]
    where = ["--root", str(place.experiment.path.parent)]
    for so_many in (2, 5):
        process = subprocess.Popen([*command, *where], env=dict(os.environ))
        while len(place.runs()) < so_many:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()

    place.send()

    assert len(place.runs()) == 13
    assert_equal_to_record(place)


def test_the_report_and_the_model_are_sent_and_again_only_when_they_are_new(place):
    place.made.trial([0.9], "COMPLETE")
    path = place.experiment.path
    (path / "report.html").write_text("first")
    (path / "best").mkdir()
    (path / "best" / "model.safetensors").write_bytes(b"weights")
    place.send()
    tags = place.runs()["mine"].data.tags
    (path / "report.html").write_text("second")

    place.send()

    run = place.runs()["mine"]
    changed = {name for name, value in run.data.tags.items() if tags.get(name) != value}
    assert changed == {"tune_encoder.files.report.html"}
    listed = [file.path for file in place.client.list_artifacts(run.info.run_id)]
    assert sorted(listed) == ["model", "report.html", "search.yaml"]
    report = place.client.download_artifacts(run.info.run_id, "report.html", path)
    assert Path(report).read_text() == "second"
    (model,) = place.client.list_artifacts(run.info.run_id, "model")
    assert (model.path, model.file_size) == ("model/model.safetensors", 7)
