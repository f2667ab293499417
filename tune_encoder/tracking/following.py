"""Follows a search while it runs: a process of its own sends it to trackers and notifies.

A client of a tracker may block, use a processor, or install handlers of its own. In another
process, which reads the record and nothing else, none of that can stop or slow a search.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from tune_encoder.config import TrackingSettings, to_mapping
from tune_encoder.errors import Interrupted, error_line
from tune_encoder.experiment.commands import command_line
from tune_encoder.tracking.notification import END, FAILURE, STOPPED, Outcome
from tune_encoder.tracking.sender import TRACKING, check_installed

END_S = 30.0  # the longest that the end of a search waits for its last epochs to be sent
STOPPED_S = 5.0  # the same after a signal: Docker waits ten

_warned_of: set[str] = set()  # of what this launch has warned


@contextmanager
def following(
    path: Path, tracking: TrackingSettings, notify: str = "", *, results: bool = False
) -> Iterator[None]:
    """Send the experiment at `path`, which may not exist yet, while the block runs its search.

    Whatever goes wrong is one warning; the block is neither stopped nor slowed.

    Args:
        path: Folder of the experiment.
        tracking: Where to send it.
        notify: Command or address to notify; empty: none.
        results: Whether the block does not run the search, but makes its report and its model,
            which are sent too, unless a tracker failed before.

    Raises:
        ConfigError: before the block, if a tracker's client is not installed.
    """
    check_installed(tracking)
    if not results:
        _warned_of.clear()
    if not (tracking.is_wanted or notify) or (results and TRACKING in _warned_of):
        yield
        return
    try:
        follower = _Follower(path, {**to_mapping(tracking), "notify": notify, "results": results})
    except OSError as error:  # no memory for it, or no room for its log
        _warn(path, f"{TRACKING}: its process does not start ({error.strerror})")
        yield
        return
    try:
        yield
    except BaseException as error:
        follower.end(_outcome(error), STOPPED_S)
        raise
    follower.end(Outcome(END, f"the search {path.name} has ended"), END_S)


def _outcome(error: BaseException) -> Outcome:
    """Return how a search ended that raised an error."""
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    return Outcome(STOPPED if stopped else FAILURE, error_line(error) or type(error).__name__)


class _Follower:
    """The process, and a thread that passes its warnings on."""

    def __init__(self, path: Path, told: dict[str, object]) -> None:
        self._path = path
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed at the end)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tune_encoder.tracking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # Ctrl-C is ours; it ends when we do
        )
        self._tell({"path": str(path.absolute()), **told})
        self._reader = Thread(target=self._pass_warnings_on, daemon=True)
        self._reader.start()

    def end(self, outcome: Outcome, within_s: float) -> None:
        """Let it send what is left, for so many seconds at most."""
        self._tell({"event": outcome.event, "message": outcome.message})
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            code = 0
            self._warn(f"{TRACKING}: not all was sent in time")
        finally:
            self._kill()
        self._reader.join()
        if code:
            why = self._last_words() or f"its process ended with exit code {code}"
            self._warn(f"{TRACKING}: {why}")
        self._log.close()

    def _kill(self) -> None:
        """End it with all that it started, if anything is left."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _tell(self, content: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has died; that is said at the end
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()

    def _pass_warnings_on(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._warn(line.strip())

    def _warn(self, words: str) -> None:
        _warn(self._path, words)

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def _warn(path: Path, words: str) -> None:
    """Print a warning: one of all trackers, and one of who is notified."""
    what = words.partition(":")[0]
    if what in _warned_of:
        return
    _warned_of.add(what)
    words += "; the search is not affected"
    if what == TRACKING:
        later = command_line("track", path)
        words += f", and what is missing is sent later, at the latest by `{later}`"
    print(f"warning: {words}", file=sys.stderr, flush=True)  # noqa: T201
