"""Notifications of a search: a command that is run, or an address that JSON is posted to."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tune_encoder.config import is_address, notify_words
from tune_encoder.experiment.status import best_of
from tune_encoder.tracking.tracked_search import TrackedSearch

BEST, END, STOPPED, FAILURE = "best", "end", "stopped", "failure"
TIMEOUT_S = 10.0  # of a command or an address
_PREFIX = "TUNE_ENCODER_"
_LONGEST = 100  # characters of an answer's reason


class NotNotified(Exception):
    """A command failed or an address did not take a notification; says why."""


@dataclass(frozen=True)
class Outcome:
    """How a launch ended."""

    event: str
    message: str


def content_of(event: str, message: str, name: str, search: TrackedSearch | None) -> dict[str, Any]:
    """Return what is told of an event, as values for JSON.

    Args:
        event: One of those above.
        message: What happened, in a line.
        name: The experiment's.
        search: The search, unless it had not begun.
    """
    content = {"event": event, "experiment": name, "message": message}
    if search is None:
        return content
    voices = search.content.get("voices")
    return {
        **content,
        "folder": str(search.experiment.path.absolute()),
        "trials": len(search.trials),
        "epochs": sum(len(trial.rows) for trial in search.trials),
        "best": best_of(search.space, search.trials, voices),
    }


def notify(target: str, content: dict[str, Any]) -> None:
    """Tell a command or an address.

    Raises:
        NotNotified: saying why that was not possible, without the address, which may be a secret.
    """
    if is_address(target):
        _post(target, content)
    else:
        _run(target, content)


def _post(address: str, content: dict[str, Any]) -> None:
    import requests

    try:
        with requests.post(
            address, json=content, timeout=TIMEOUT_S, allow_redirects=False, stream=True
        ) as answer:
            status, reason = answer.status_code, answer.reason
    except requests.RequestException as error:
        raise NotNotified(f"the address did not answer ({type(error).__name__})") from error
    if not 200 <= status < 300:
        raise NotNotified(f"the address answered {status} {reason}"[:_LONGEST])


def _run(command: str, content: dict[str, Any]) -> None:
    """Run a command; what it is told reaches it as JSON and in variables, never in its words."""
    words = notify_words(command)
    try:
        done = subprocess.run(
            words,
            input=json.dumps(content).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what it leaves running outlives us
            env={**os.environ, **dict(_variables(content))},
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotNotified(f"{words[0]} did not end within {TIMEOUT_S:.0f} seconds") from error
    except OSError as error:
        raise NotNotified(f"{words[0]} cannot be run ({error.strerror})") from error
    if done.returncode:
        raise NotNotified(f"{words[0]} ended with exit code {done.returncode}")


def _variables(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each environment variable, such as TUNE_ENCODER_EVENT."""
    best = content.get("best") or {}
    values = {**content, **{f"best_{name}": value for name, value in best.items()}}
    for name, value in values.items():
        if isinstance(value, str | int | float):
            yield f"{_PREFIX}{name.upper()}", str(value).replace("\0", "")
