"""Addresses and tokens, and clusters that require no token."""

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tune_encoder.api.jobs.client import Client
from tune_encoder.api.jobs.connection import DEFAULT_ADDRESS, choose_address
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.system.ports import free_port


@pytest.fixture
def open_cluster():
    """What a Ray head without a token answers."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"authentication_mode": "disabled"}).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_is_that_given_or_that_of_the_environment_or_of_this_machine(monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert choose_address(None) == DEFAULT_ADDRESS

    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://there:8265/")
    assert choose_address(None) == "http://there:8265"
    assert choose_address("https://elsewhere/ray/") == "https://elsewhere/ray"


@pytest.mark.parametrize("address", ["ray://there:10001", "there:8265", "auto"])
def test_an_address_that_jobs_do_not_know_is_refused(address):
    with pytest.raises(ConfigError, match=f"^address {address}: jobs are submitted over HTTP"):
        Client(address)


def test_where_nothing_answers_it_is_said_how_to_start_a_cluster():
    address = f"http://127.0.0.1:{free_port(21_000)}"

    with pytest.raises(StorageError, match=r"no Ray cluster answers \(.*refused\); start one"):
        Client(address)


def test_a_cluster_that_asks_for_no_token_is_refused(open_cluster):
    with pytest.raises(StorageError, match=r"requires no token, so anyone who .* RAY_AUTH_MODE"):
        Client(open_cluster)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", ["api/jobs/", "api/version", "nodes"])
def test_the_cluster_answers_nobody_without_the_token(head, path):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{head.address}/{path}", timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_wrong_token_and_none_are_refused_in_one_line(head, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "not this")
    with pytest.raises(StorageError, match="rejects this token; put the cluster's token into "):
        Client(head.address)

    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"none: no token there \(No such file or directory\)"):
        Client(head.address)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_address_given_counts_more_than_those_of_rays_environment(ours, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")

    assert Client(ours.address).jobs() == Client(ours.address).jobs()
