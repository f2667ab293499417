"""Trackers of this machine: a server of MLflow, and servers that are none."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.tuning.conftest import Command

SERVER_S = 100  # the longest that MLflow may take to start on a loaded machine
# On such a machine an answer, too, may take longer than a search should wait for one.
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "WANDB_MODE": "offline"}


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory):
    """A server of MLflow with a database in SQLite; its address."""
    folder, port = tmp_path_factory.mktemp("mlflow"), closed_port()
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *place, *stores],
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + SERVER_S
        while not answers(f"{url}/health"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
        os.killpg(process.pid, 9)
        process.wait()


def answers(address):
    try:
        urlopen(address, timeout=5).close()
    except (URLError, OSError):
        return False
    return True


@pytest.fixture
def silent_server():
    """A server that takes connections and never answers; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class Listener(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers with a status."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted, self.status = [], 200
        self.url = f"http://127.0.0.1:{self.server_port}/hook/secret"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def listener():
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def command(tmp_path, data_dir):
    command = Command(tmp_path, data_dir)
    yield command
    command.close()
