"""What a server of MLflow has of searches that are made up."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.builders import SPACE, MadeSearch, epoch_row
from tests.tracking.conftest import PATIENT
from tests.tracking.test_tracking_search import curves, measured, runs
from tune_encoder.tracking.sender import send_search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def patient():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def place(tmp_path, mlflow_server, monkeypatch):
    """A search of 1, 2, ... epochs, and an experiment of MLflow with nothing in it."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
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
