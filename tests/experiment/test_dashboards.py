"""The pages, as a person opens them; optuna-dashboard is looked at where it is installed."""

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.builders import SPACE, make_search
from tests.ports import own_port
from tune_encoder.experiment.dashboards import (
    Dashboard,
    dashboard_lines,
    open_dashboards,
    ray_dashboard,
    read_only_url,
)
from tune_encoder.system.lock import lock_experiment, write_note
from tune_encoder.system.ports import free_port

TRIALS = [("COMPLETE", {"dropout": 0.2}, [0.9, 0.5]), ("PRUNED", {"dropout": 0.4}, [0.8])]


@pytest.fixture
def finished(tmp_path):
    return make_search(tmp_path / "runs of a person", SPACE, TRIALS)


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def get_until_it_fails(address):
    """After SIGKILL a server ends by itself, a moment later: perhaps within an answer."""
    while True:
        get(address)


@pytest.mark.timeout(120)
def test_tensorboard_is_served_on_loopback_and_ends_with_the_block(finished):
    with open_dashboards(finished) as pages:
        (board,) = [page for page in pages if page.name == "TensorBoard"]
        assert "<title>TensorBoard" in get(board.address)
        assert board.address.startswith("http://127.0.0.1:")

    with pytest.raises(urllib.error.URLError):
        get(board.address)


@pytest.mark.timeout(120)
def test_the_study_is_shown_and_cannot_be_changed(finished):
    with open_dashboards(finished) as pages:
        (board,) = [page for page in pages if page.name == "Optuna"]
        api = board.address.replace("dashboard/studies", "api/studies")
        shown = json.loads(get(f"{api}?after=0"))["trials"]
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(urllib.request.Request(api, method="DELETE"), timeout=30)

    assert [trial["state"] for trial in shown] == ["Complete", "Pruned"]
    assert [value["value"] for value in shown[0]["intermediate_values"]] == [0.9, 0.5]
    assert len(finished.trials()) == 2


def test_a_port_in_use_is_passed_over():
    first = own_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()

        assert free_port(first) == first + 1


def test_the_ray_dashboard_is_that_of_the_running_search(finished):
    assert ray_dashboard(finished) == Dashboard("Ray", "", "the search is not running")
    with lock_experiment(finished.path):
        assert ray_dashboard(finished).remark == "the search was started without `--dashboard`"
        write_note(finished.path, "http://127.0.0.1:8265")
        assert ray_dashboard(finished).address == "http://127.0.0.1:8265"
    assert ray_dashboard(finished).address == ""


def test_the_table_has_at_most_80_columns():
    pages = [Dashboard("Ray", "http://127.0.0.1:1", "words " * 30), Dashboard("Optuna", "", "none")]

    lines = "\n".join(dashboard_lines(pages)).splitlines()

    assert lines[0] == "Ray          http://127.0.0.1:1"
    assert lines[-1] == "Optuna       none"
    assert max(map(len, lines)) <= 80


def test_the_address_of_a_study_survives_a_path_with_signs(tmp_path):
    assert read_only_url(tmp_path / "a #b.db").endswith("/a%20%23b.db?mode=ro&uri=true")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_command_prints_the_dashboards_and_stops_them(finished, number, code, request):
    command = [sys.executable, "-m", "tune_encoder", "dashboard", finished.name]
    process = subprocess.Popen(
        [*command, "--root", str(finished.path.parent)], stdout=subprocess.PIPE, text=True
    )
    request.addfinalizer(process.kill)
    assert process.stdout is not None
    with process.stdout as output:
        lines = [*itertools.takewhile("press Ctrl-C to stop\n".__ne__, output)]
    (address,) = [line.split()[1] for line in lines if line.startswith("TensorBoard")]
    assert "TensorBoard" in get(address)

    os.kill(process.pid, number)

    assert process.wait(30) == code
    with pytest.raises((OSError, http.client.HTTPException)):
        get_until_it_fails(address)
