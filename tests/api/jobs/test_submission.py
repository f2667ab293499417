"""A search as it is handed over: what is checked before, and the command that runs there."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tune_encoder.api.jobs.client import Client, _resume_arguments
from tune_encoder.api.jobs.jobs import metadata, read_jobs, submission_id
from tune_encoder.api.jobs.submission import prepare_submission
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.space import load_space
from tune_encoder.space.builtin import find_space


def test_the_command_says_all_of_the_search_and_its_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voices").mkdir()
    options = {"warm_start": ["old", "older"], "export": False, "trials": 7, "seed": None}

    submission = prepare_submission("quick", "voices", "mine", "runs", options)

    assert submission.search_command("space.yaml") == [
        *("python", "-m", "tune_encoder", "search", "--space", "space.yaml", "--name", "mine"),
        *("--root", f"{tmp_path}/runs", "--address", "auto", "--data-dir", f"{tmp_path}/voices"),
        *("--warm-start", "old", "older", "--no-export"),
    ]
    assert submission.resume_command() == [
        *("python", "-m", "tune_encoder", "resume", "mine", "--root", f"{tmp_path}/runs"),
        *("--address", "auto", "--no-export"),
    ]


def test_the_space_that_is_handed_over_is_the_one_chosen_with_its_overrides(tmp_path):
    submission = prepare_submission("quick", None, "mine", tmp_path, {"trials": 7, "epochs": 5})
    file = tmp_path / "space.yaml"
    file.write_text(submission.space_text)

    assert load_space(file) == submission.space
    assert (submission.space.budget.trials, submission.space.budget.epochs) == (7, 5)


@pytest.mark.parametrize(
    ("storage", "there"), [("s3://bucket/runs", "s3://bucket/runs"), ("kept", "/mnt/kept")]
)
def test_a_storage_is_named_as_the_cluster_sees_it(storage, there):
    options = {"storage": storage}
    submission = prepare_submission("quick", None, "mine", "runs", options, shared=Path("/mnt"))

    words = submission.search_command("space.yaml")
    assert words[words.index("--storage") + 1] == there


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"options": {"storage": "s3://a:b@bucket"}}, "storage has a key in its address"),
        ({"space": "quik"}, "quik: neither a file nor a built-in space"),
        ({"name": "../x"}, r"the experiment name '\.\./x' is not valid; use up to 64"),
        ({"options": {"warm_start": ["a b"]}}, "the experiment name 'a b' is not valid"),
        ({"options": {"trials": 0}}, "submit, budget: trials is 0; it must be a whole number"),
        ({"options": {"trial": 4}}, r"submit: unknown option 'trial'; did you mean 'trials'\?"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_handed_over(given, message):
    what = {"space": "quick", "data_dir": None, "name": "a", "root": "runs", "options": {}}

    with pytest.raises(ConfigError, match=message):
        prepare_submission(**{**what, **given})


def test_a_relative_data_set_has_to_be_here_and_an_absolute_one_is_the_clusters():
    with pytest.raises(DataError, match="none: no such folder here; give the absolute path of a"):
        prepare_submission("quick", "none", "mine", "runs", {})

    there = prepare_submission("quick", "/on/the/cluster", "mine", "runs", {})
    assert there.data_dir == Path("/on/the/cluster")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": 0, "trials": None}, ["--target", "0"]),
        ({"target": 0.0, "accept_data_change": False}, ["--target", "0.0"]),
        ({"accept_data_change": True, "export": False}, ["--accept-data-change", "--no-export"]),
    ],
)
def test_what_a_resume_is_given_is_handed_over_and_nothing_else(options, words):
    assert _resume_arguments(options) == words


class Listed:
    """As Ray lists a job."""

    driver_exit_code, message, end_time = None, None, None

    def __init__(self, start_time, metadata, state="RUNNING"):
        self.start_time, self.metadata = start_time, metadata
        self.status = SimpleNamespace(value=state)


def test_only_our_jobs_are_read_the_earliest_first():
    ours = [metadata("0.1", "a-b", Path("/r"), "search", launch) for launch in (2, 1)]
    listed = [
        Listed(5000, ours[0]),
        Listed(1000, None),
        Listed(2000, {"owner": "x"}),
        Listed(3000, ours[1]),
    ]

    jobs = read_jobs(listed)

    assert [(job.launch, job.started_at) for job in jobs] == [(1, 3.0), (2, 5.0)]
    assert jobs[0].submission_id == submission_id("a-b", "search", 1) == "a-b~search~1"
    assert (jobs[0].ended, jobs[0].root) == (False, Path("/r"))


class OfJobs(Client):
    """A client of a cluster whose jobs are those in `listed`."""

    _ray: Any

    def __init__(self):
        self.address, self.listed, self.submitted = "http://head", [], []
        self._ray = SimpleNamespace(
            list_jobs=lambda: self.listed,
            submit_job=self._submit,
            get_job_logs=lambda _: "a line\n",
        )

    def _submit(self, **job):
        self.submitted.append(job["submission_id"])
        self.known = job["metadata"]

    def _wait_until_ended(self, wanted, timeout=None):
        return SimpleNamespace(state="SUCCEEDED")


@pytest.fixture
def client():
    return OfJobs()


def of_mine(kind, launch, state):
    return Listed(launch, metadata("0.1", "mine", Path("/r"), kind, launch), state)


def test_a_launch_has_a_number_of_its_own_also_where_an_earlier_one_was_deleted(client):
    client.listed = [of_mine("search", 2, "STOPPED"), of_mine("export", 3, "SUCCEEDED")]

    client.resume("mine")
    client.export("mine")

    assert client.submitted == ["mine~search~3", "mine~export~4"]


def test_a_job_that_resumes_a_search_says_what_is_searched_on_which_data_as_the_first_does(client):
    about = metadata("0.1", "mine", Path("/r"), "search", 1, "default", "/data/voices")
    client.listed = [Listed(1, about, "STOPPED")]

    client.resume("mine")

    shown = {name: client.known[name] for name in ("job_name", "space", "data")}
    assert shown == {"job_name": "mine", "space": "default", "data": "/data/voices"}


def test_a_job_of_a_version_that_did_not_say_is_read_and_resumed(client):
    about = metadata("0.1", "mine", Path("/r"), "search", 1)
    old = {name: about[name] for name in about if name not in ("job_name", "space", "data")}
    client.listed = [Listed(1, old, "STOPPED")]

    client.resume("mine")

    assert (client.status("mine").space, client.known["space"]) == ("", "")


@pytest.mark.parametrize(
    ("file", "called"),
    [("wide2.yaml", "wide2.yaml"), ("-x.yaml", "space.yaml"), ("my space.yaml", "space.yaml")],
)
def test_a_submitted_space_keeps_the_name_of_its_file_if_no_shell_reads_it_anew(
    file, called, tmp_path
):
    shutil.copy(find_space("quick"), tmp_path / file)
    submission = prepare_submission(tmp_path / file, None, "mine", tmp_path, {})

    assert submission.space_file == called
    assert submission.space.name == Path(file).stem


def test_a_job_that_is_deleted_while_it_is_followed_ends_that_with_a_line(client):
    client.listed = [of_mine("search", 1, "RUNNING")]
    lines = client.logs("mine", follow=True)
    assert next(lines) == "a line\n"
    client.listed = []

    with pytest.raises(
        StorageError,
        match=r"http://head: the job mine~search~1 no longer exists "
        r"there; it was deleted, or the head node was restarted; list the jobs with `tune-encoder",
    ):
        next(lines)
