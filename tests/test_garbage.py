import subprocess
import sys

SEEN_LAST = """
import atexit, gc
atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000, gc.get_threshold()[0]))
from tune_encoder.garbage import collect_seldom
collect_seldom()
collect_seldom()
"""


def test_garbage_is_looked_for_seldom_and_not_at_the_end():
    done = subprocess.run([sys.executable, "-c", SEEN_LAST], capture_output=True, text=True)

    assert done.stdout == "True True 50000\n", done.stderr
