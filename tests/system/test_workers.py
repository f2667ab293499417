"""Processes that work side by side: what they meet is said, and none outlives the program."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil
import pytest

from tune_encoder.errors import DataError, StorageError
from tune_encoder.system import workers as system_workers
from tune_encoder.system.events import is_heard
from tune_encoder.system.workers import Workers, _Worker, default_workers, usable_cores

pytestmark = pytest.mark.timeout(60)


def counting(offset=0):
    return partial(count, offset)


def count(offset, task, answer):
    """Answer the numbers below a task."""
    for number in range(task):
        answer((os.getpid(), offset + number))


def heard(task, answer):
    answer(is_heard())


def hearing():
    return heard


def available(task, answer):
    answer(default_workers(task))


def counting_workers():
    return available


def refuse():
    raise DataError("there.npz: is no sample")


def end(task, answer):
    os._exit(task)


def ending():
    return end


def workers(start=counting, n=2, **more):
    return Workers(start, n, "use fewer", **more)


@pytest.mark.parametrize("ahead", [1, 2])
def test_every_answer_comes_from_so_many_other_processes(ahead):
    found = list(workers(partial(counting, 10), ahead=ahead).do([3, 0, 2, 1]))

    pids, numbers = zip(*found, strict=True)
    assert sorted(numbers) == [10, 10, 10, 11, 11, 12]
    assert len({*pids}) <= 2
    assert os.getpid() not in pids
    assert not multiprocessing.active_children()


def test_there_are_no_more_than_tasks():
    assert len({pid for pid, _ in workers(n=9).do([2])}) == 1
    assert list(workers().do([])) == []


def test_a_worker_draws_nothing():
    assert not is_heard()
    assert list(workers(hearing).do([1, 1])) == [True, True]


def test_there_is_one_for_each_core_up_to_a_maximum_but_none_for_a_worker(monkeypatch):
    monkeypatch.setattr(system_workers, "usable_cores", lambda: 5)

    assert [default_workers(n) for n in (3, 8)] == [3, 5]
    assert list(workers(counting_workers, n=1).do([3])) == [1]


def test_what_a_worker_meets_is_raised():
    with pytest.raises(DataError, match=r"^there\.npz: is no sample$"):
        list(workers(refuse).do([1, 2]))


def test_a_worker_that_has_ended_says_why_even_if_it_is_asked_afterwards():
    worker = _Worker(workers(refuse))
    worker._process.join()

    with pytest.raises(DataError, match=r"there\.npz: is no sample"):
        worker.ask(iter([1]))


def test_of_a_worker_that_dies_the_exit_code_and_the_advice_are_said():
    with pytest.raises(StorageError, match=r"^a worker died \(exit code 7\); use fewer$"):
        list(workers(ending).do([7, 7]))


def test_where_not_all_workers_start_none_is_left(monkeypatch):
    start, started = SpawnProcess.start, []

    def start_one(process):
        if started:
            raise OSError("no room for another process")
        started.append(process)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", start_one)
    with pytest.raises(OSError, match="no room for another process"):
        list(workers().do([1, 1]))

    assert len(started) == 1
    assert not multiprocessing.active_children()


def test_it_uses_the_cores_that_it_may():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes to cores")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


SCRIPT = """
from tests.system.test_workers import counting, sleeping
from tune_encoder.system.workers import Workers

print("begun", flush=True)
try:
    for answer in Workers({start}, 2, "use fewer").do([1, 1]):
        print(answer, flush=True)
except KeyboardInterrupt:
    print("stopped")
"""


def script(start, folder):
    """Run a script whose lines are not protected by `__name__ == "__main__"`."""
    path = folder / "script.py"
    path.write_text(SCRIPT.format(start=start))
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, path],
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment,
        start_new_session=True,
    )


def test_a_plain_script_is_not_run_again(tmp_path):
    with script("counting", tmp_path) as process:
        printed, errors = process.communicate()

    assert (process.returncode, errors) == (0, "")
    assert printed.count("begun") == 1
    assert len(printed.splitlines()) == 3


def sleep(task, answer):
    answer(os.getpid())
    time.sleep(600)


def sleeping():
    return sleep


def test_no_worker_outlives_a_program_that_is_killed(tmp_path):
    with script("sleeping", tmp_path) as process:
        assert process.stdout.readline() == "begun\n"
        pids = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGKILL)

    until = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("after", [0.05, 0.1, 0.2, 0.4])
def test_a_signal_of_the_terminal_is_for_the_program_alone_even_while_workers_start(
    tmp_path, after
):
    with script("sleeping", tmp_path) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(after)
        os.killpg(process.pid, signal.SIGINT)
        printed, errors = process.communicate()

    assert (process.returncode, errors) == (0, "")
    assert printed.splitlines()[-1] == "stopped"
