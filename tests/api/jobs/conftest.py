import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import own_port

CANARY = "canary-in-the-environment"
START_S = 90


@dataclass(frozen=True)
class Head:
    """A Ray head of its own, as `ray start` makes it, and what it writes."""

    address: str
    token: str
    folder: Path


@pytest.fixture(scope="module")
def head(cache):
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: sockets lie below it
    token = f"canary-token-{secrets.token_hex(16)}"
    (folder / "token").write_text(token)
    port = own_port()
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "AWS_SECRET_ACCESS_KEY": CANARY,
    }
    ray = str(Path(sys.executable).parent / "ray")
    options = {
        "port": 0,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": port,
        "ray-client-server-port": own_port(),
        "dashboard-agent-listen-port": 0,
        "num-cpus": 2,
        "temp-dir": folder / "session",
    }
    command = [ray, "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process)
        yield Head(address, token, folder)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(address, process):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head ended"
        try:
            with urllib.request.urlopen(f"{address}/api/authentication_mode", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no head at {address} after {START_S} s")


@pytest.fixture
def ours(head, monkeypatch):
    """The head, in an environment that has its token and a secret."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    return head
