"""Processes that work side by side.

A worker is asked for one task after another over a pipe, and answers while it works. It draws
nothing on the terminal, and ends with the program, however that ends.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Generic, TypeVar

from tune_encoder.errors import StorageError, TuneEncoderError
from tune_encoder.system.events import listening

Task = TypeVar("Task")
Answer = TypeVar("Answer")
Work = Callable[[Task, Callable[[Answer], None]], None]
"""Does a task, and calls the function that it is given with every answer."""

_OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)
_PATIENCE_S = 1.0


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return len(usable(0))


def default_workers(maximum: int) -> int:
    """Return one worker for each usable core, up to a maximum, where workers can be started."""
    is_worker = multiprocessing.current_process().daemon  # which may start none
    return 1 if is_worker else min(maximum, usable_cores())


@dataclass(frozen=True)
class Workers(Generic[Task, Answer]):
    """How workers do tasks."""

    start: Callable[[], Work[Task, Answer]]
    """Called in each worker once; pickled, so no lambda and no inner function."""
    count: int
    advice: str
    """What to do if one dies."""
    ahead: int = 1
    """Tasks that a worker has; with one it waits while its answer is read."""

    def do(self, tasks: Sequence[Task]) -> Generator[Answer]:
        """Do all tasks, and yield the answers in any order.

        Close it if you do not need them all.

        Raises:
            OSError: of the disk, which a worker met.
            TuneEncoderError: which a worker met.
            StorageError: if a worker dies.
        """
        waiting = iter(tasks)
        workers: list[_Worker[Task, Answer]] = []
        try:
            for _ in range(min(self.count, len(tasks))):
                workers.append(_Worker(self))
            busy = {worker.pipe: worker for worker in workers}
            for worker in workers * self.ahead:
                worker.ask(waiting)
            while busy:
                for ready in wait([*busy]):
                    worker = busy[ready]  # type: ignore[index]  # these are the pipes it was given
                    answers = worker.hear()
                    yield from answers
                    if not answers:
                        worker.ask(waiting)
                    if not worker.asked:
                        del busy[worker.pipe]
        finally:
            for worker in workers:
                worker.end()


class _Worker(Generic[Task, Answer]):
    """A process that does tasks, seen from the program."""

    def __init__(self, workers: Workers[Task, Answer]) -> None:
        # Not forked: threads of torch, onnxruntime or numpy may hold locks.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._advice = workers.advice
        self._process: BaseProcess = context.Process(
            target=_work, args=(theirs, workers.start), daemon=True
        )
        with _without_main(), _without_signals():
            self._process.start()
        theirs.close()  # so that the pipe breaks when the worker dies
        self.asked = 0

    def ask(self, tasks: Iterator[Task]) -> None:
        """Ask for the next task, if there is one."""
        for task in itertools.islice(tasks, 1):
            try:
                self.pipe.send(task)
            except ConnectionError:
                while True:  # why it ended comes after its answers
                    self.hear()
            self.asked += 1

    def hear(self) -> list[Answer]:
        """Wait for an answer: one, or none if the task is done; raises what the worker met."""
        try:
            said = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise self._died() from None
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, list)
        if not said:
            self.asked -= 1
        return said

    def _died(self) -> StorageError:
        self._process.join()
        return StorageError(f"a worker died (exit code {self._process.exitcode}); {self._advice}")

    def end(self) -> None:
        """End the process, whatever it does; it may remove a file that it has half written."""
        self.pipe.close()
        self._process.terminate()
        self._process.join(_PATIENCE_S)
        self._process.kill()
        self._process.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program's main module, which a new process would run again.

    Nothing here needs it, and a script need not protect its lines with `__name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _without_signals() -> Iterator[None]:
    """Let a new process wait with the signals of a terminal, until it ignores them.

    They reach all processes, and the program ends its workers.
    """
    resource_tracker.ensure_running()  # which would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, start: Callable[[], Work[Task, Answer]]) -> None:
    """Do what is asked for, until the pipe breaks."""
    for number in _OF_TERMINALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_TERMINALS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    threading.Thread(target=_end_with_program, daemon=True).start()
    try:
        try:
            with listening(lambda *_: None):  # so that nothing is drawn
                work = start()
                while True:
                    work(pipe.recv(), lambda answer: pipe.send([answer]))
                    pipe.send([])
        except (TuneEncoderError, OSError) as error:
            if not isinstance(error, ConnectionError):
                pipe.send(error)
    except (EOFError, ConnectionError):
        pass  # the program has ended


def _end_with_program() -> None:
    program = multiprocessing.parent_process()
    assert program is not None
    program.join()
    os._exit(1)
