"""Commands that take long: processes of their own, which outlive the page, and their output.

ROOT/.page/NAME/
  resume.log      the output of the newest `resume` of the experiment NAME

A process holds the lock of its log as long as it runs, so that any server of the page knows.
"""

import fcntl
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.errors import ConfigError
from tune_encoder.system.files import files_with_suffix
from tune_encoder.system.lock import lock_file

RUNNING, ENDED = "running", "ended"
_FOLDER = ".page"  # never the name of an experiment
_END = "exit code "
_TAIL_BYTES = 16_384
_TAIL_LINES = 15


@dataclass(frozen=True)
class Job:
    """A command that was started on the page, and where its output is."""

    action: str
    """Its name, such as "resume"."""
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether it runs, also if an earlier server started it."""
        with self.log.open("rb") as file:
            return not _is_free(file.fileno())

    def lines(self) -> list[str]:
        """Return the last lines of its output, without what was overwritten in a terminal."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
        return [line for line in lines if line.strip()][-_TAIL_LINES:]


def describe_job(is_running: bool, lines: Sequence[str]) -> str:
    """Say whether a command runs, or how it has ended."""
    if is_running:
        return RUNNING
    code = lines[-1].removeprefix(_END) if lines and lines[-1].startswith(_END) else ""
    return {"": ENDED, "0": "done"}.get(code, f"failed, {_END}{code}")


class Jobs:
    """The commands that were started on the page, of all experiments of a root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()  # pages start and show them in different threads
        self._children: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, name: str, action: str, words: Sequence[str]) -> Job:
        """Start a command of this program in a session of its own.

        Args:
            name: The experiment that it is about.
            action: The command.
            words: What follows it.

        Raises:
            ConfigError: if the same command of this experiment runs already.
            OSError: if its log cannot be written.
        """
        log = self.root / _FOLDER / name / f"{action}.log"
        with self._lock:
            self._reap()
            self._start(name, log, [action, *words])
        return Job(action, log)

    def _start(self, name: str, log: Path, words: Sequence[str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if not lock_file(descriptor):
                raise ConfigError(f"{name}: `{words[0]}` runs already; wait until it has ended")
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"$ tune-encoder {shlex.join(words)}\n".encode())
            self._children[log] = _spawn(words, descriptor)
        finally:
            os.close(descriptor)  # the process keeps the lock

    def of(self, name: str) -> list[Job]:
        """Return the newest of each command of an experiment, the latest first."""
        with self._lock:
            self._reap()
        logs = files_with_suffix(self.root / _FOLDER / name, ".log")
        logs.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return [Job(path.stem, path) for path in logs]

    def _reap(self) -> None:
        for log, child in list(self._children.items()):
            if (code := child.poll()) is not None:
                del self._children[log]
                with log.open("a", encoding="utf-8") as file:
                    file.write(f"{_END}{code}\n")


def program(words: Sequence[str]) -> list[str]:
    """Return the command line of a command of this program."""
    return [sys.executable, "-m", "tune_encoder", *words]


def _spawn(words: Sequence[str], output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        program(words),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _is_free(descriptor: int) -> bool:
    """Whether no process has locked a file; locks it until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
