"""Searches that run as jobs of a real head, seen from processes that end meanwhile."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

import tune_encoder
from tests.api.jobs.conftest import CANARY
from tune_encoder.api.jobs.client import Client
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import Experiment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SMALL = {
    "budget": {"trials": 2, "epochs": 2},
    "scheduler": {"name": "none"},
    "resources": {"concurrent": 1},
    "searcher": {"closed_form": False},
    "validation": {"voices": 1},
    "base": {
        "early_stopping_patience": 0,
        "encoder_type": "cnn",
        "hidden_dim": 16,
        "num_layers": 2,
    },
    "space": {"learning_rate": {"float": [1e-3, 1e-2]}},
}


def run(*arguments, code=0):
    command = [sys.executable, "-m", "tune_encoder", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def done(head, data_dir, tmp_path_factory):
    """A search, submitted by a process which ended at once, that found no data and was submitted
    again, when it has ended; its folder, what the second submission told, and both jobs."""
    folder = tmp_path_factory.mktemp("submitted")
    space = folder / "small.yaml"
    space.write_text(json.dumps(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", head.token)
        patch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
        what = ("--space", space, "--root", folder / "runs", "--name", "one", "--no-export")
        there = ("--address", head.address)
        client = Client(head.address)
        run("submit", *what, "--data-dir", "/no/such/folder", *there)
        refused = client.wait("one", timeout=120)
        logs = "".join(client.logs("one", follow=True))
        told = run("submit", *what, "--data-dir", data_dir, *there)
        space.unlink()
        job = client.wait("one", timeout=300)
        shown = client._ray.get_job_info(job.submission_id).metadata
    return SimpleNamespace(
        told=told, refused=refused, logs=logs, job=job, shown=shown, root=folder / "runs"
    )


def test_a_search_that_was_refused_says_why_and_may_be_submitted_again(done):
    assert (done.refused.exit_code, done.refused.launch) == (3, 1)
    assert "/no/such/folder: no such folder" in done.logs
    assert (done.job.state, done.job.launch) == ("SUCCEEDED", 2)


def test_a_submitted_search_ends_though_who_submitted_it_is_gone(done, head):
    assert done.told.splitlines() == [
        f"submitted one to {head.address}",
        f"follow it: tune-encoder logs one -f --address {head.address}",
    ]
    assert (done.job.state, done.job.exit_code, done.job.root) == ("SUCCEEDED", 0, done.root)
    trials = Experiment(done.root / "one").trials()
    assert [trial.state for trial in trials] == ["COMPLETE", "COMPLETE"]


def test_the_job_has_the_name_of_the_experiment_and_says_what_is_searched_on_which_data(
    done, data_dir
):
    content = Experiment(done.root / "one").read_search()

    assert (done.job.space, done.job.data) == ("small", str(data_dir))
    assert {name: done.shown[name] for name in ("job_name", "experiment")} == dict.fromkeys(
        ("job_name", "experiment"), "one"
    )
    assert content["space_name"] == "small"


def test_what_it_printed_and_where_it_stands_is_seen_from_elsewhere(done, ours):
    logs = run("logs", "one", "--address", ours.address)
    rows = [line for line in run("jobs", "--address", ours.address).splitlines() if "one" in line]
    listed = json.loads(run("jobs", "--json", "--address", ours.address))[:2]

    assert "best: trial " in logs
    assert [row.split()[:3] for row in rows] == [["one", "1", "FAILED"], ["one", "2", "SUCCEEDED"]]
    assert [(each["name"], each["exit_code"]) for each in listed] == [("one", 3), ("one", 0)]


def test_a_second_search_of_the_name_is_refused(done, ours, data_dir):
    with pytest.raises(ConfigError, match=r"one is already SUCCEEDED on http.*; follow it with"):
        Client(ours.address).submit(SMALL, data_dir, name="one", root=done.root)


def test_the_best_model_is_exported_on_the_cluster(done, ours):
    folder = Client(ours.address).export("one")

    assert folder == done.root / "one" / "best"
    assert (folder / "model.safetensors").is_file()


def test_an_unknown_name_names_those_that_are_there(done, ours):
    with pytest.raises(ConfigError, match=r"http.*: no search two; searches: one"):
        Client(ours.address).status("two")


def test_a_stopped_search_goes_on_where_it_was(ours, data_dir, tmp_path):
    client = Client(ours.address)
    long = {**SMALL, "budget": {"trials": 1, "epochs": 400}}
    assert client.submit(long, data_dir, name="long", root=tmp_path, export=False) == "long"
    experiment = Experiment(tmp_path / "long")
    wait_for_epochs(experiment, 1)
    with pytest.raises(ConfigError, match="long is already RUNNING on"):
        client.resume("long")
    with pytest.raises(TimeoutError, match="long is RUNNING after 0 s and continues to run"):
        client.wait("long", timeout=0)

    run("stop", "long", "--address", ours.address)
    assert client.wait("long", timeout=90).state == "STOPPED"
    saved = epochs(experiment)
    run("resume", "long", "--no-export", "--address", ours.address)
    wait_for_epochs(experiment, saved[-1] + 1)
    client.stop("long")

    assert client.wait("long", timeout=90).launch == 2
    assert epochs(experiment) == list(range(1, epochs(experiment)[-1] + 1))
    with pytest.raises(
        ConfigError, match=r"long is STOPPED on .* resume it with `tune_encoder\.resume"
    ):
        client.stop("long")


def test_no_secret_is_written_or_listed(done, ours):
    run("logs", "one", "--address", ours.address)
    listed = run("jobs", "--json", "--address", ours.address)
    listed += str(Client(ours.address)._ray.list_jobs())
    written = [path for path in (*done.root.rglob("*"), *(ours.folder / "session").rglob("*"))]
    texts = [path.read_bytes() for path in written if path.is_file()]

    assert len(texts) > 20
    for secret in (CANARY, ours.token):
        assert secret not in listed
        lines = [line for text in texts for line in text.splitlines() if secret.encode() in line]
        assert lines == []


def test_the_client_is_had_from_the_package():
    assert tune_encoder.Client is Client


def epochs(experiment):
    (trial,) = experiment.trials()
    return [row["epoch"] for row in trial.rows]


def wait_for_epochs(experiment, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        begun = experiment.study_path.exists() and experiment.trials()
        if begun and len(epochs(experiment)) >= count:
            return
        time.sleep(0.2)
    raise AssertionError(f"{experiment.name} has not {count} epochs")


# --- tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["api/jobs/", "api/version", "nodes"])
def test_the_cluster_answers_nobody_without_the_token(head, path):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{head.address}/{path}", timeout=30)


def test_a_wrong_token_and_none_are_refused_in_one_line(head, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "not this")
    with pytest.raises(StorageError, match="rejects this token; put the cluster's token into "):
        Client(head.address)

    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"none: no token there \(No such file or directory\)"):
        Client(head.address)


def test_the_address_given_counts_more_than_those_of_rays_environment(ours, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")

    assert Client(ours.address).jobs() == Client(ours.address).jobs()
