"""What may be done, its log, the commands that outlive the page, and the archive of a model."""

import asyncio
import fcntl
import io
import json
import os
import stat
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.builders import MadeSearch
from tests.ports import own_port
from tests.serve.conftest import ask, serving, wait_for
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.steering import pause_search
from tune_encoder.serve.action_log import action_log_path
from tune_encoder.serve.actions import READ_ONLY, Actions
from tune_encoder.serve.files import zip_folder
from tune_encoder.serve.jobs import Jobs, describe_job
from tune_encoder.system.lock import lock_experiment
from tune_encoder.system.manifest import PROVENANCE


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(tmp_path):
    made = MadeSearch(tmp_path / "runs", name="night")
    made.trial([0.5])
    return made


def perform(actions, act, what="night: pause"):
    # In a thread of its own: Playwright may have a loop in this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, actions.perform("127.0.0.1", what, act)).result()


def logged():
    return [json.loads(line) for line in action_log_path().read_text().splitlines()]


def test_an_action_is_done_and_logged_with_who_and_when(made):
    experiment = made.experiment
    with lock_experiment(experiment.path):
        said = perform(Actions(experiment.path.parent), lambda: pause_search(experiment))

    assert said == "night pauses after the current epochs"
    assert Controls(experiment).pause_requested()
    (line,) = logged()
    assert line["action"] == "night: pause"
    assert line["told"] == said
    assert line["address"] == "127.0.0.1"
    assert line["user"]
    assert line["at"].endswith("+00:00")
    assert stat.S_IMODE(action_log_path().stat().st_mode) == 0o600


def test_an_action_that_is_refused_is_logged_in_one_line_whatever_it_says(made):
    actions = Actions(made.experiment.path.parent)
    with pytest.raises(ConfigError, match="night: is not running; resume it with `tune-encoder"):
        perform(actions, lambda: pause_search(made.experiment), "a\nb")

    (line,) = logged()
    assert line["action"] == "a\nb"
    assert "is not running" in line["refused"]
    assert not Controls(made.experiment).pause_requested()


def test_a_page_that_is_read_only_does_nothing(made):
    experiment = made.experiment
    with lock_experiment(experiment.path), pytest.raises(ConfigError, match="only shows searches"):
        perform(Actions(experiment.path.parent, True), lambda: pause_search(experiment))

    assert not Controls(experiment).pause_requested()
    assert not action_log_path().exists()


def test_without_a_log_nothing_is_done(made):
    action_log_path().mkdir(parents=True)
    with lock_experiment(made.experiment.path), pytest.raises(OSError, match="directory"):
        perform(Actions(made.experiment.path.parent), lambda: pause_search(made.experiment))

    assert not Controls(made.experiment).pause_requested()


def test_files_are_refused_by_a_page_that_is_read_only(made):
    root = made.experiment.path.parent
    with serving(root, "--read-only") as own:
        cookie = ask(own.link)[2]["Set-Cookie"].partition(";")[0]
        status, text, _ = ask(f"{own.base}/files/night/model.zip", Cookie=cookie)
        page = ask(f"{own.base}/start", Cookie=cookie)[1]

    assert (status, text) == (403, f"{READ_ONLY}\n")
    assert "only shows searches" in page
    assert "Check data and plan" not in page


def test_a_file_that_is_not_there_is_said_in_a_line(made):
    with serving(made.experiment.path.parent) as own:
        cookie = ask(own.link)[2]["Set-Cookie"].partition(";")[0]
        for path, said in {
            "night/model.zip": "night/best: no model; export it first",
            "night/report.html": "report.html: no such file; make it on the page of the experime",
            "night/search.yaml": "search.yaml: no such file",
            "nobody/model.zip": "no such experiment; there are night",
            "-/model.zip": "the experiment name '-' is not valid",
        }.items():
            status, text, _ = ask(f"{own.base}/files/{path}", Cookie=cookie)
            assert status == 404
            assert said in text
            assert text.count("\n") == 1


# --- commands ------------------------------------------------------------------------------------


def test_a_command_has_a_session_and_a_log_of_its_own(tmp_path):
    jobs = Jobs(tmp_path)
    job = jobs.start("mine", "status", ["mine", f"--root={tmp_path}"])
    (child,) = jobs._children.values()

    assert os.getsid(child.pid) == child.pid
    wait_for(lambda: jobs.of("mine") and not job.is_running and not jobs._children)
    first, error, last = job.lines()
    assert first == f"$ tune-encoder status mine --root={tmp_path}"
    assert error == f"tune-encoder: {tmp_path}/mine: no such experiment; {tmp_path} has none"
    assert describe_job(job.is_running, [last]) == "failed, exit code 2"
    assert stat.S_IMODE(job.log.stat().st_mode) == 0o600


def test_a_command_that_runs_is_not_started_again_also_by_another_server(tmp_path):
    jobs = Jobs(tmp_path)
    words = ["--root", str(tmp_path), "--port", str(own_port())]
    job = jobs.start("mine", "serve", words)
    (child,) = jobs._children.values()
    try:
        (seen,) = Jobs(tmp_path).of("mine")
        assert seen.is_running
        assert describe_job(seen.is_running, seen.lines()) == "running"
        with pytest.raises(ConfigError, match="mine: `serve` runs already; wait until it has"):
            Jobs(tmp_path).start("mine", "serve", words)
        assert job.lines()[0].startswith("$ tune-encoder serve --root")
    finally:
        child.terminate()
        child.wait()
    assert not seen.is_running


def test_a_command_starts_also_while_somebody_looks_whether_it_runs(tmp_path):
    jobs = Jobs(tmp_path)
    log = tmp_path / ".page" / "mine" / "status.log"
    log.parent.mkdir(parents=True)
    log.touch()
    with log.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        looks = threading.Timer(0.02, fcntl.flock, [file, fcntl.LOCK_UN])
        looks.start()
        jobs.start("mine", "status", ["mine"])
        looks.join()
    wait_for(lambda: jobs.of("mine") and not jobs._children)


def test_the_end_of_a_command_is_written_once_however_many_pages_look(tmp_path):
    jobs = Jobs(tmp_path)
    started = [jobs.start(f"n{i}", "status", ["mine"]) for i in range(4)]
    for child in jobs._children.values():
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    ready, interval = threading.Barrier(16), sys.getswitchinterval()

    def look(_):
        ready.wait()
        return jobs.of("n0")

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as pool:
            assert len(list(pool.map(look, range(16)))) == 16
    finally:
        sys.setswitchinterval(interval)
    for job in started:
        assert job.log.read_text().count("exit code 2") == 1


def test_what_a_terminal_would_overwrite_is_not_shown(tmp_path):
    log = tmp_path / ".page" / "mine" / "export.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"$ tune-encoder export\n 10 %\r 50 %\r100 %\ndone \xff<b>\n\nexit code 0\n")
    (job,) = Jobs(tmp_path).of("mine")

    assert job.lines() == ["$ tune-encoder export", "100 %", "done \ufffd<b>", "exit code 0"]
    assert describe_job(job.is_running, job.lines()) == "done"


# --- the archive ---------------------------------------------------------------------------------


def list_files(folder, *names):
    listed = {name: {"sha256": ["0"]} for name in names}
    (folder / PROVENANCE).write_text(json.dumps({"files": listed}))


def test_a_model_is_sent_as_an_archive_of_what_its_export_lists(tmp_path):
    folder = tmp_path / "best"
    folder.mkdir()
    contents = {"config.yaml": b"a: 1", "model.safetensors": os.urandom(1_000_000)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "code.pkl").write_bytes(b"not of the export")
    list_files(folder, *contents)

    parts = list(zip_folder(folder, "mine"))

    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as archive:
        assert archive.testzip() is None
        names = {f"mine/{name}" for name in (*contents, PROVENANCE)}
        assert {*archive.namelist()} == names
        for name, content in contents.items():
            assert archive.read(f"mine/{name}") == content
    assert max(map(len, parts)) < 500_000  # in parts, not at once


def test_a_model_of_which_a_file_is_missing_or_no_file_is_not_sent(tmp_path):
    folder = tmp_path / "best"
    folder.mkdir()
    (tmp_path / "secret").write_text("of another folder")
    list_files(folder, "voices.npz")
    said = r"best: cannot be read \(.*voices\.npz.*\); try again"
    for make in (
        lambda path: None,
        lambda path: path.symlink_to(tmp_path / "secret"),
        os.mkfifo,
    ):
        make(folder / "voices.npz")
        with pytest.raises(StorageError, match=said):
            zip_folder(folder, "mine")
        (folder / "voices.npz").unlink(missing_ok=True)


def test_a_model_behind_a_link_is_not_sent(tmp_path):
    (tmp_path / "other").mkdir()
    list_files(tmp_path / "other")
    (tmp_path / "best").symlink_to(tmp_path / "other")

    with pytest.raises(StorageError, match=r"best: cannot be read \(.*\); try again"):
        zip_folder(tmp_path / "best", "mine")


def test_without_a_model_there_is_no_archive(tmp_path):
    with pytest.raises(StorageError, match="no model; export it first"):
        zip_folder(tmp_path, "mine")
