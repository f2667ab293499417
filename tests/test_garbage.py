import subprocess
import sys

from tune_encoder.garbage import collect_seldom

SEEN_LAST = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1000, gc.get_threshold()[0]))
from tune_encoder.garbage import collect_seldom
collect_seldom()
collect_seldom()
"""


def test_garbage_is_looked_for_seldom_and_not_at_the_end():
    done = subprocess.run([sys.executable, "-c", SEEN_LAST], capture_output=True, text=True)

    assert done.stdout == "True 50000\n", done.stderr


def test_it_stays_on():
    import gc

    before = gc.get_threshold()
    try:
        collect_seldom()
        assert gc.isenabled()
        assert gc.get_threshold()[1:] == before[1:]
    finally:
        gc.set_threshold(*before)
