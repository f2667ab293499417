"""Searches whose checkpoints are kept in a bucket, or in a folder beside the experiment's own.

One in a bucket that is killed is in test_lost_head.
"""

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import KEY, SECRET
from tests.tuning.conftest import Command
from tune_encoder.experiment.checkpoint_storage import checkpoints_of_trial
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import needed_checkpoints, rank_trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

EPOCHS = 8
LONG: dict[str, Any] = {
    "budget": {"trials": 3, "epochs": EPOCHS},
    "scheduler": {"name": "none"},
    "resources": {"concurrent": 1},
}
SHORT = {
    "budget": {"trials": 2, "epochs": 2},
    "scheduler": {"name": "none"},
    "resources": {"concurrent": 1},
}
NOWHERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def ray_folder():
    """A folder for Ray's logs; the path of a socket has at most 107 letters."""
    with tempfile.TemporaryDirectory(prefix="te_") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory, data_dir, s3_module, ray_folder):
    """A search whose checkpoints lie in a bucket."""
    command = Command(tmp_path_factory.mktemp("bucket"), data_dir)
    place = f"s3://{s3_module.make_bucket()}/runs"
    options = [*command.search_options({**LONG, "report": {"at_end": True}}), "--storage", place]
    searched = command.run(*options, environment={"RAY_TMPDIR": str(ray_folder)})
    assert searched.returncode == 0, searched.stderr
    status = command.run("status", "tiny", environment=NOWHERE)
    fetched = {path.parent.parent.name[:4] for path in command.experiment.checkpoints.rglob("*.pt")}
    exported = command.run("export", "tiny", "--to", "model", "--formats", "torch")
    said = searched.stdout + searched.stderr + exported.stdout + exported.stderr
    return SimpleNamespace(
        command=command, place=place, status=status, fetched=fetched, exported=exported, said=said
    )


def test_a_search_can_be_looked_at_without_the_bucket(bucket):
    assert bucket.status.returncode == 0


def test_a_search_in_a_bucket_has_every_epoch(bucket):
    ended = bucket.command.experiment.trials()

    assert [trial.state for trial in ended] == ["COMPLETE"] * 3
    for trial in ended:
        assert [row["epoch"] for row in trial.rows] == [*range(1, EPOCHS + 1)]


def test_the_checkpoints_are_in_the_bucket_and_only_the_best_trials_is_fetched(bucket):
    assert_only_there(bucket.command.experiment)
    best = rank_trials(bucket.command.experiment.trials())[0]
    assert bucket.fetched == {f"{best.number:04d}"}  # by the report


def test_what_a_person_looks_at_comes_to_the_experiments_folder(bucket):
    assert_read_by_people(bucket.command.experiment)


def test_a_model_is_exported_from_a_bucket(bucket):
    assert bucket.exported.returncode == 0, bucket.exported.stderr
    assert bucket.command.run("verify", "model").returncode == 0


def test_best_names_the_place_in_the_bucket_without_asking_it(bucket):
    shown = json.loads(bucket.command.run("best", "tiny", "--json", environment=NOWHERE).stdout)

    assert shown["checkpoint"].startswith(f"{bucket.place}/tiny/")


def test_the_keys_of_a_bucket_are_neither_said_nor_written(bucket, ray_folder):
    logs = [path for path in ray_folder.rglob("logs/*") if path.is_file()]
    assert "runtime_env_agent.log" in {path.name for path in logs}
    files = [*logs, *(path for path in bucket.command.folder.rglob("*") if path.is_file())]

    assert_no_key(bucket.said.encode(), *(path.read_bytes() for path in files))


def assert_only_there(experiment):
    """Each trial has its best and last checkpoint in the bucket."""
    names = experiment.storage.checkpoint_names()
    kept = Counter(name.split("/")[1][:4] for name in names)
    assert sorted(kept) == ["0000", "0001", "0002"]
    assert max(kept.values()) <= 2
    for trial in experiment.trials():
        for row in (trial.best, trial.rows[-1]):
            assert row["checkpoint"] in checkpoints_of_trial(names, trial.number)


def assert_read_by_people(experiment):
    """What a person looks at came to the experiment's folder."""
    for trial in experiment.trials():
        folder = experiment.trial_dir(trial.number)
        lines = experiment.trial_metrics(trial.number).read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [*range(1, EPOCHS + 1)]
        assert experiment.trial_config(trial.number).is_file()
        events = EventAccumulator(str(folder / "logs")).Reload()
        steps = {event.step for event in events.Scalars("val_loss")}
        assert steps == {*range(1, EPOCHS + 1)}


def assert_no_key(*contents: bytes):
    for key in (KEY, SECRET):
        assert not any(key.encode() in content for content in contents)


@pytest.mark.long
def test_keys_that_end_in_mid_search_end_it_with_a_line_and_resume_goes_on(command, s3):
    long = {**LONG, "budget": {"trials": 3, "epochs": 30}}
    options = [*command.search_options(long), "--storage", f"s3://{s3.make_bucket()}"]
    process = command.start(*options)
    command.wait_for_rows(process, 5)
    s3.ask_for_keys()
    try:
        error = process.communicate()[1]
    finally:
        s3.ask_for_keys(wanted=False)
    stood = command.experiment.trials()
    assert process.returncode == 4
    said = r"tiny: cannot be (read|written|listed), access is denied; set AWS_ACCESS_KEY_ID and"
    assert re.search(said, error), error
    assert error.count("resume with `tune-encoder resume tiny`") == 1
    assert "Traceback" not in error

    assert command.run("resume", "tiny", "--no-export").returncode == 0
    for before, now in zip(stood, command.experiment.trials(), strict=False):
        assert now.state == "COMPLETE"
        assert now.rows[: len(before.rows)] == before.rows


def assert_keeps_what_is_needed(command, name):
    experiment = Experiment(command.experiment.path.parent / name)
    needed = [needed_checkpoints(trial) for trial in experiment.trials()]
    kept = list((command.folder / "shared" / name).glob("1/*/*/checkpoint.pt"))
    assert len(kept) == sum(map(len, needed)) >= 2


@pytest.mark.long
def test_a_folder_beside_the_experiments_keeps_checkpoints_also_of_a_fork(command):
    options = [*command.search_options(SHORT), "--storage", "shared"]
    assert command.run(*options).returncode == 0
    assert_keeps_what_is_needed(command, "tiny")

    done = command.run("fork", "tiny", "other", "--space", "space.yaml", "--no-export")
    assert done.returncode == 0, done.stderr
    owners = [command.folder / "shared" / name / "owner" for name in ("tiny", "other")]
    assert owners[0].read_text() == command.experiment.identity() != owners[1].read_text() != ""
    assert_keeps_what_is_needed(command, "other")

    again = command.run(*options, "--root", "elsewhere")
    assert again.returncode == 2
    assert "shared/tiny: has checkpoints of another search; choose another" in again.stderr
    assert not Path(command.folder / "elsewhere").exists()
