import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import requests

from tests.builders import make_search
from tests.tuning.conftest import TINY_SPACE
from tune_encoder.space import parse_space
from tune_encoder.tuning.cluster.ray_settings import (
    ENVIRONMENT,
    protect_token,
    reach_loopback_directly,
    read_token,
)


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_what_goes_to_this_machine_passes_no_proxy(name, monkeypatch):
    for each in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(each, "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv(name, "inside.example")

    reach_loopback_directly()

    for host in ("127.0.0.1:8265", "localhost:8265", "inside.example"):
        assert urllib.request.proxy_bypass(host)
        assert requests.utils.should_bypass_proxies(f"http://{host}", no_proxy=None)
    assert not requests.utils.should_bypass_proxies("http://outside.example", no_proxy=None)


@pytest.fixture
def token(tmp_path, monkeypatch):
    """Where a user who has no home folder wants Ray's token."""
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "secret" / "token"))
    return tmp_path / "secret" / "token"


def test_a_token_is_made_where_the_environment_says_for_its_owner_only(token):
    protect_token()

    assert read_token() == token.read_text()
    assert len(read_token()) == 64
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_token_that_is_there_stays_as_it_is(token):
    token.parent.mkdir()
    token.write_text("a cluster's\n")
    token.chmod(0o440)

    protect_token()

    assert read_token() == "a cluster's"
    assert token.stat().st_mode & 0o777 == 0o440


def test_a_token_of_the_environment_needs_no_file(token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a cluster's")

    protect_token()

    assert not token.exists()


def test_a_token_in_the_home_folder_that_others_can_read_is_protected(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("mine")
    file.chmod(0o644)

    protect_token()

    assert file.stat().st_mode & 0o777 == 0o600


# Ends a program where it first imports Ray, and says what Ray would have read there.
STOP_AT_RAY = """
import json, os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            print("=" + json.dumps(dict(os.environ)))
            sys.stdout.flush()
            os._exit(0)

sys.meta_path.insert(0, Watch())
import tune_encoder
from tune_encoder.cli import main

root, data_dir, space = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
"""
WAYS = {
    "search": "tune_encoder.search(space, data_dir, 'new', root)",
    "resume": "tune_encoder.resume('mine', root)",
    "fork": "tune_encoder.fork('mine', 'forked', space, root)",
    "confirm": "main(['confirm', 'mine', '--root', root, '--seeds', '2'])",
    "a cluster": "tune_encoder.search(space, data_dir, 'new', root, address='127.0.0.1:1')",
    "jobs": "tune_encoder.Client('http://127.0.0.1:1').jobs()",
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_imports_ray_has_set_what_ray_then_reads(way, data_dir, packed, tmp_path):
    space = parse_space(TINY_SPACE, "test", Path())
    fingerprint = packed.info["fingerprint"]
    trials = [("COMPLETE", {"learning_rate": 1e-3}, [0.4] * 6)]
    make_search(tmp_path, space, trials, data_dir=str(data_dir), fingerprint=fingerprint)
    command = [
        sys.executable,
        "-c",
        STOP_AT_RAY + WAYS[way],
        str(tmp_path),
        str(data_dir),
        json.dumps(TINY_SPACE),
    ]
    clean = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}

    done = subprocess.run(command, capture_output=True, text=True, env=clean)

    answers = [line[1:] for line in done.stdout.splitlines() if line.startswith("=")]
    assert answers, done.stdout + done.stderr
    assert json.loads(answers[0]).items() >= ENVIRONMENT.items()
