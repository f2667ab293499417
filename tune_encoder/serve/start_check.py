"""What is known of a search before it starts: its data, and what it will cost."""

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from tune_encoder.config import write_yaml
from tune_encoder.errors import TuneEncoderError
from tune_encoder.serve.jobs import program
from tune_encoder.space import SearchSpace, space_to_content
from tune_encoder.system.formats import count_noun, format_duration, format_size
from tune_encoder.system.signals import end_with_parent

_ERROR = "tune-encoder: "


class Cost(TypedDict, total=False):
    """What `plan --json` estimates, of which this is shown."""

    seconds: float | None
    workers: int
    seconds_per_epoch: float
    disk_bytes: int


class Checking:
    """Runs commands whose output is awaited; they end if nobody waits any more."""

    def __init__(self) -> None:
        self._running: set[asyncio.subprocess.Process] = set()
        self.is_cancelled = False
        """Whether nobody waits any more; what ended then has no result."""

    def cancel(self) -> None:
        """End what runs, and start nothing more."""
        self.is_cancelled = True
        for process in self._running:
            _kill(process)

    async def data(self, folder: str) -> str:
        """Return what `data check` says of a folder.

        Raises:
            TuneEncoderError: if it has errors, which it says.
        """
        code, out, err = await self._run(["data", "check", "--", folder])
        if code:
            raise TuneEncoderError("\n".join((*out.splitlines(), _error(err, code))))
        return out

    async def cost(self, space: SearchSpace, folder: str) -> Cost:
        """Time a few configs, and return what the search will cost.

        Raises:
            TuneEncoderError: if they cannot be trained.
        """
        with tempfile.TemporaryDirectory(prefix="plan-") as place:
            path = Path(place) / "space.yaml"
            path.write_text(write_yaml({**space_to_content(space)}), encoding="utf-8")
            data = [f"--data-dir={folder}"] if folder else []
            code, out, err = await self._run(["plan", str(path), *data, "--json"])
        if code:
            raise TuneEncoderError(_error(err, code))
        cost: Cost = json.loads(out)
        return cost

    async def _run(self, words: Sequence[str]) -> tuple[int, str, str]:
        self._check_awaited()
        process = await asyncio.create_subprocess_exec(
            *program(words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ},
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self._running.add(process)
        try:
            self._check_awaited()
            out, err = await process.communicate()
        finally:
            _kill(process)
            self._running.discard(process)
        return process.returncode or 0, out.decode(), err.decode()

    def _check_awaited(self) -> None:
        if self.is_cancelled:
            raise TuneEncoderError("nobody waits for the check any more; check it again")


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            process.kill()


def _error(written: str, code: int) -> str:
    """Return the error that a command wrote last, as it is on the command line."""
    lines = [line.rpartition("\r")[2] for line in written.split("\n")]
    said = [line for line in lines if line.startswith(_ERROR)]
    return said[-1].removeprefix(_ERROR) if said else f"it ended with exit code {code}"


def cost_rows(cost: Cost) -> dict[str, str]:
    """Return what is shown of a cost, with its names."""
    seconds, workers = cost.get("seconds"), cost.get("workers", 0)
    time = "this machine is too small for a trial; lower resources in the space"
    if seconds is not None:
        time = f"about {format_duration(seconds)}, {count_noun(workers, 'trial')} at once"
    return {
        "time": time,
        "an epoch": format_duration(cost["seconds_per_epoch"]),
        "disk": f"about {format_size(cost['disk_bytes'])}",
    }
