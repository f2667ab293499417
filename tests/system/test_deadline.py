import subprocess
import sys

PROGRAM = """
import sys, time
from tune_encoder.errors import StorageError
from tune_encoder.system.deadline import Deadline

state = "is there"
with Deadline() as deadline:
    deadline.start(60.0, lambda: StorageError("late"))
    deadline.start(0.2, lambda: StorageError(f"the disk {state}"))
    deadline.start(30.0, lambda: StorageError("later still"))
    state = "is gone"  # as it is in the end
    time.sleep(float(sys.argv[1]))
print("left in time")
time.sleep(float(sys.argv[2]))
"""


def run(within_s, after_s):
    command = [sys.executable, "-c", PROGRAM, str(within_s), str(after_s)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_block_that_is_not_left_in_time_ends_the_process_at_the_soonest_deadline():
    ended = run(30, 0)

    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr == "tune-encoder: the disk is gone\n"


def test_a_block_that_is_left_in_time_ends_nothing():
    ended = run(0, 0.5)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "left in time\n", "")
