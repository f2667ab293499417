"""Addresses, and clusters that require no token; those that do are in test_jobs."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.ports import own_port
from tune_encoder.api.jobs.client import Client
from tune_encoder.api.jobs.connection import DEFAULT_ADDRESS, choose_address
from tune_encoder.errors import ConfigError, StorageError


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
    address = f"http://127.0.0.1:{own_port()}"

    with pytest.raises(StorageError, match=r"no Ray cluster answers \(.*refused\); start one"):
        Client(address)


def test_a_cluster_that_asks_for_no_token_is_refused(open_cluster):
    with pytest.raises(StorageError, match=r"requires no token, so anyone who .* RAY_AUTH_MODE"):
        Client(open_cluster)
