"""The process that follows a search: told what to do on standard input, until that ends."""

import contextlib
import os
import signal
import sys
from threading import Event, Thread
from types import FrameType
from typing import TextIO

from tune_encoder.system.damage import parse_json
from tune_encoder.system.signals import STOP_SIGNALS
from tune_encoder.tracking.follower import Follower, end_process_soon
from tune_encoder.tracking.notification import STOPPED, Outcome

_NICE = 10  # training comes first
_KILLED = Outcome(STOPPED, "the program of the search was killed; resume it")


def main() -> None:
    """Follow a search until the program that runs it says how it ended, or dies."""
    for number in STOP_SIGNALS:
        signal.signal(number, _ignore)  # it ends when standard input does
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    warnings = _warnings_only()
    told = parse_json(sys.stdin.readline())
    ended = Event()
    follower = Follower(told, ended, lambda words: _say(words, warnings))
    Thread(target=_wait_for_end, args=(follower, ended), daemon=True).start()
    follower.run()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN, a command that is notified does not inherit it."""


def _warnings_only() -> TextIO:
    """Return standard output, on which nothing else is written from now on."""
    warnings = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # clients print
    return warnings


def _say(words: str, warnings: TextIO) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more
        print(words, file=warnings, flush=True)


def _wait_for_end(follower: Follower, ended: Event) -> None:
    line = sys.stdin.readline()
    end_process_soon()  # also if a client blocks
    follower.outcome = Outcome(**parse_json(line)) if line else _KILLED
    ended.set()


if __name__ == "__main__":
    main()
