"""Processes that make clips side by side.

A worker is asked for one clip after another over a pipe, two ahead, and answers each. When the
program dies the pipe breaks, so no worker outlives it for longer than a clip.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from threadpoolctl import threadpool_limits

from tune_encoder.errors import StorageError, TuneEncoderError
from tune_encoder.speech.clips import Clip, Made, Script, make_clip
from tune_encoder.speech.engine import Engine

_AHEAD = 2  # clips that a worker has; with one it would wait while its answer is read
MAX_DEFAULT_WORKERS = 8  # each holds the models, half a gigabyte


def default_workers() -> int:
    """Return one worker for each core that may be used, up to eight."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return min(MAX_DEFAULT_WORKERS, len(usable(0)))


@dataclass(frozen=True)
class Studio:
    """What a worker needs to make any clip."""

    model: str
    folder: Path
    script: Script

    def make_all(self, clips: Sequence[Clip], n_workers: int) -> Iterator[Made]:
        """Make all clips, in any order.

        Raises:
            OSError: of the disk.
            StorageError: if a worker dies.
        """
        n_workers = min(n_workers, len(clips))
        if n_workers > 1:
            yield from _in_processes(self, clips, n_workers)
            return
        engine = Engine(self.model, self.folder)
        # A sum of floats depends on how many threads share it.
        with threadpool_limits(1):
            for clip in clips:
                yield make_clip(engine, self.script, clip)


def _in_processes(studio: Studio, clips: Sequence[Clip], n_workers: int) -> Iterator[Made]:
    waiting = iter(clips)
    workers: list[_Worker] = []
    try:
        for _ in range(n_workers):
            workers.append(_Worker(studio))
        busy = {worker.pipe: worker for worker in workers}
        for worker in workers * _AHEAD:
            worker.ask(waiting)
        while busy:
            for ready in wait([*busy]):
                worker = busy[ready]  # type: ignore[index]  # these are the pipes it was given
                yield worker.answer()
                worker.ask(waiting)
                if not worker.asked:
                    del busy[worker.pipe]
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that makes clips, seen from the program."""

    def __init__(self, studio: Studio) -> None:
        # Not forked: threads of onnxruntime or numpy may hold locks.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work, args=(theirs, studio), daemon=True
        )
        self._process.start()
        theirs.close()  # so that the pipe breaks when the worker dies
        self.asked = 0

    def ask(self, clips: Iterator[Clip]) -> None:
        """Ask for the next clip, if there is one."""
        if clip := next(clips, None):
            try:
                self.pipe.send(clip)
            except ConnectionError:
                while True:  # why it ended comes after the clips that it made
                    self.answer()
            self.asked += 1

    def answer(self) -> Made:
        """Wait for a clip; raises what the worker met."""
        try:
            answer = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise self._died() from None
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Made)
        self.asked -= 1
        return answer

    def _died(self) -> StorageError:
        self._process.join()
        return StorageError(
            f"a worker died (exit code {self._process.exitcode}); if memory was short, use fewer "
            "--workers; the same command continues"
        )

    def end(self) -> None:
        """End the process; a clip that it has begun is made again."""
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _work(pipe: Connection, studio: Studio) -> None:
    """Make what is asked for, until the pipe breaks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the program ends its workers
    try:
        try:
            engine = Engine(studio.model, studio.folder)
            with threadpool_limits(1):
                while True:
                    pipe.send(make_clip(engine, studio.script, pipe.recv()))
        except (TuneEncoderError, OSError) as error:
            if not isinstance(error, ConnectionError):
                pipe.send(error)
    except (EOFError, ConnectionError):
        pass  # the program has ended
