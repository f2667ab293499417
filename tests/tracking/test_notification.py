"""Who is told of a search, and how."""

import json
import sys

import pytest

from tests.builders import SPACE, make_search
from tests.tracking.conftest import closed_port
from tune_encoder.config import LaunchSettings
from tune_encoder.errors import ConfigError
from tune_encoder.tracking.notification import NotNotified, content_of, notify
from tune_encoder.tracking.tracked_search import TrackedSearch

TRIALS = [("COMPLETE", {"dropout": 0.2}, [0.9, 0.5]), ("PRUNED", {"dropout": 0.4}, [0.8])]
WRITE = "import json, os, sys; json.dump([sys.argv, dict(os.environ), json.load(sys.stdin)], "


@pytest.fixture
def content(tmp_path):
    experiment = make_search(tmp_path, SPACE, TRIALS)
    search = TrackedSearch.read(experiment, is_running=False, has_results=False)
    return content_of("end", "it's over; `$(date)`", "mine", search)


def test_a_command_gets_json_and_variables_and_no_shell_reads_them(content, tmp_path):
    file = tmp_path / "told by.json"

    notify(f"{sys.executable} -c \"{WRITE}open('{file}', 'w'))\" $HOME ;ls", content)

    arguments, variables, told = json.loads(file.read_text())
    assert arguments[1:] == ["$HOME", ";ls"]
    assert told == content
    assert variables["TUNE_ENCODER_EVENT"] == "end"
    assert variables["TUNE_ENCODER_MESSAGE"] == "it's over; `$(date)`"
    assert variables["TUNE_ENCODER_BEST_TRIAL"] == "0"
    assert variables["TUNE_ENCODER_BEST_VALUE"] == "0.5"


def test_an_address_gets_json(content, listener):
    notify(listener.url, content)

    assert listener.posted == [("application/json", content)]
    assert (content["trials"], content["epochs"]) == (2, 3)
    assert content["best"]["settings"] == {"dropout": 0.2}


@pytest.mark.parametrize(
    ("status", "message"), [(500, "answered 500"), (302, "answered 302"), (404, "answered 404")]
)
def test_an_answer_that_is_no_success_is_said_and_no_other_address_asked(
    content, listener, status, message
):
    listener.status = status

    with pytest.raises(NotNotified, match=message) as raised:
        notify(listener.url, content)

    assert "secret" not in str(raised.value)
    assert len(listener.posted) == 1


def test_an_address_that_does_not_answer_is_said_without_its_secret(content):
    with pytest.raises(NotNotified, match=r"did not answer \(ConnectionError\)") as raised:
        notify(f"http://127.0.0.1:{closed_port()}/secret", content)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("import time; time.sleep(60)", "did not end within 1 seconds"),
    ],
)
def test_a_command_that_fails_or_hangs_is_said(content, monkeypatch, script, message):
    monkeypatch.setattr("tune_encoder.tracking.notification.TIMEOUT_S", 1.0)

    with pytest.raises(NotNotified, match=message):
        notify(f"{sys.executable} -c '{script}'", content)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ftp://host/secret", "ftp:// is not an address that can be told; write http://HOST/PATH"),
        ("http:///secret", "http:// is not an address that can be told"),
        ("https://host:notaport/secret", "https:// is not an address"),
        ("no-such-program --now", "no-such-program is not a program that can be run; name one of"),
        ("echo 'open", r"No closing quotation\); end each quotation that it begins"),
        ("  ", "notify is blank; name a command or an address"),
    ],
)
def test_what_can_never_be_told_is_refused(target, message):
    with pytest.raises(ConfigError, match=message) as raised:
        LaunchSettings(notify=target)

    assert "secret" not in str(raised.value)
