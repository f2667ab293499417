"""The process that follows a search: whatever happens to it, the search does not notice."""

import sys

import psutil
import pytest

from tests.builders import SPACE, make_search
from tests.processes import command_of
from tests.tracking.conftest import closed_port
from tests.tracking.wandb_files import histories
from tune_encoder.cli import main
from tune_encoder.config import TrackingSettings
from tune_encoder.errors import ConfigError, Interrupted, SearchFailed, StorageError
from tune_encoder.system.lock import lock_experiment
from tune_encoder.tracking.following import following
from tune_encoder.tracking.sender import send_search

pytestmark = pytest.mark.timeout(120)

TRIALS = [("COMPLETE", {"dropout": 0.2}, [0.9, 0.5]), ("PRUNED", {"dropout": 0.4}, [0.8])]
LATER = "the search is not affected, and what is missing is sent later, at the latest by `tune-"


def started():
    """The processes that follow a search; other tests have left servers of their own."""
    children = psutil.Process().children()
    return [each for each in children if "tune_encoder.tracking" in command_of(each)]


@pytest.fixture
def finished(tmp_path):
    return make_search(tmp_path / "runs", SPACE, TRIALS)


def test_a_server_that_is_not_there_is_one_warning(finished, capfd):
    uri = f"http://127.0.0.1:{closed_port()}"

    with following(finished.path, TrackingSettings(mlflow=uri)):
        pass

    (line,) = capfd.readouterr().err.splitlines()
    refused = "[Errno 111] Connection refused"
    assert line.startswith(f"warning: tracking: MLflow at {uri}: {refused}; {LATER}")


def test_a_server_that_never_answers_is_one_warning(finished, silent_server, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")

    with following(finished.path, TrackingSettings(mlflow=silent_server)):
        pass

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: tracking: MLflow at {silent_server}: timed out; {LATER}")


def test_a_wait_at_the_end_has_a_limit(finished, silent_server, capfd, monkeypatch):
    monkeypatch.setattr("tune_encoder.tracking.following.END_S", 0.5)

    with following(finished.path, TrackingSettings(mlflow=silent_server)):
        pass

    assert "not all was sent in time; the search is not affected" in capfd.readouterr().err
    assert started() == []


def test_a_process_that_dies_is_one_warning(finished, capfd):
    with following(finished.path, TrackingSettings(wandb="mine")):
        (process,) = started()
        process.kill()

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: tracking: its process ended with exit code -9; the search")


def test_only_one_program_sends_a_search(finished, monkeypatch):
    monkeypatch.setattr("tune_encoder.tracking.sender._LOCK_S", 0.1)
    (finished.path / "tracking").mkdir()

    with (
        lock_experiment(finished.path / "tracking"),
        pytest.raises(StorageError, match="in use by pid"),
    ):
        send_search(finished, wandb="mine")


@pytest.mark.parametrize(
    ("error", "event", "message"),
    [
        (None, "end", "has ended"),
        (SearchFailed("no trial of mine gave a result"), "failure", "no trial of mine gave"),
        (Interrupted("stopped, everything is saved"), "stopped", "stopped, everything is saved"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
    ],
)
def test_who_is_to_be_notified_hears_how_the_search_ended(
    finished, listener, error, event, message
):
    def search():
        with following(finished.path, TrackingSettings(), listener.url):
            if error is not None:
                raise error

    if error is None:
        search()
    else:
        with pytest.raises(type(error)):
            search()

    ((_, told),) = listener.posted  # nothing of the best trial, which was so before
    assert told["event"] == event
    assert message in told["message"]


def test_a_search_that_never_began_is_told_too(tmp_path, listener):
    with (
        pytest.raises(StorageError),
        following(tmp_path / "mine", TrackingSettings(), listener.url),
    ):
        raise StorageError("the disk is full")

    ((_, told),) = listener.posted
    assert told == {"event": "failure", "experiment": "mine", "message": "the disk is full"}


def test_an_address_that_fails_is_one_warning(finished, listener, capfd):
    listener.status = 500

    with following(finished.path, TrackingSettings(), listener.url):
        pass

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: notify: the address answered 500 ")
    assert line.endswith("; the search is not affected")
    assert "secret" not in line


def test_without_a_tracker_nothing_is_started(finished):
    with following(finished.path, TrackingSettings()):
        assert started() == []


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_client_is_said_before_the_search_with_its_extra(finished, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    given = TrackingSettings(**{name: {"mlflow": "http://host", "wandb": "mine"}[name]})

    with (
        pytest.raises(ConfigError, match=rf"`pip install 'tune-encoder\[{name}\]'`"),
        following(finished.path, given),
    ):
        pytest.fail("it began")


# --- the commands --------------------------------------------------------------------------------


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize("command", [["search", "--name", "new"], ["resume", "mine"]])
def test_an_address_that_is_none_is_one_line_before_ray_starts(finished, capsys, command):
    root = ["--root", str(finished.path.parent), "--mlflow", "localhost:5000"]

    code, said = run(capsys, *command, *root)

    assert code == 2
    assert "mlflow is 'localhost:5000', not the address of a server" in said.err
    assert len(said.err.splitlines()) == 1
    assert [each.name for each in finished.path.parent.iterdir()] == ["mine"]


def test_a_search_that_names_no_tracker_says_which_options_there_are(finished, capsys):
    code, said = run(capsys, "track", "mine", "--root", str(finished.path.parent))

    assert code == 2
    assert "mine names no tracker; add --mlflow http://HOST:PORT or --wandb PROJECT" in said.err


def test_the_command_says_in_one_line_that_a_server_is_not_there(finished, capsys):
    uri = f"http://127.0.0.1:{closed_port()}"

    code, said = run(capsys, "track", "mine", "--root", str(finished.path.parent), "--mlflow", uri)

    assert code == 4
    assert said.err.startswith(f"tune-encoder: MLflow at {uri}: ")
    assert said.err.endswith("; try again later\n")


def test_what_was_written_for_wandb_is_not_written_again(finished, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = ["track", "mine", "--root", str(finished.path.parent), "--wandb", "mine"]

    codes = [run(capsys, *command)[0] for _ in range(2)]

    assert codes == [0, 0]
    found = histories(finished.path / "wandb")
    assert sorted(row["_step"] for rows in found.values() for row in rows) == [1, 1, 1, 2, 2]
    assert len(found) == 3
