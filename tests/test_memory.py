import subprocess
import sys

import pytest

SEEN_LAST = """
import atexit, gc
atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000, gc.get_threshold()[0]))
from tune_encoder.memory import collect_seldom
collect_seldom()
collect_seldom()
"""

# As Tune runs a trial: in a thread, whose memory glibc manages apart from the main one's.
PAGES_A_STEP = """
import resource, sys, threading
import torch
from tune_encoder.memory import keep_freed

def steps():
    for _ in range(10):
        activations = [torch.ones(2**20) for _ in range(40)]  # 4 MB each

def measure():
    steps()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    steps()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)

if "keep" in sys.argv:
    keep_freed()
thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


def test_garbage_is_looked_for_seldom_and_not_at_the_end():
    assert printed(SEEN_LAST) == "True True 50000\n"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is what gives memory back")
def test_a_step_works_in_the_memory_that_the_last_one_freed():
    assert int(printed(PAGES_A_STEP)) > 500
    assert int(printed(PAGES_A_STEP, "keep")) < 10


def printed(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
