import subprocess
import sys

import pytest

from tune_encoder.config import TrainConfig
from tune_encoder.data.packing import pack_data

SEEN_LAST = """
import atexit, gc
atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000, gc.get_threshold()[0]))
from tune_encoder.system.memory import collect_garbage_rarely
collect_garbage_rarely()
collect_garbage_rarely()
"""

PAGES_A_STEP = """
import resource, sys, threading
from pathlib import Path
import torch
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.training.loop import train

def steps():
    for _ in range(10):
        activations = [torch.ones(2**20) for _ in range(40)]  # 4 MB each

def measure():
    config = TrainConfig(epochs=1, hidden_dim=8, num_layers=1, use_tensorboard=False)
    train(config, open_pack(Path(sys.argv[1])), Path(sys.argv[2]), lambda row, state: None)
    steps()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    steps()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)

if "thread" in sys.argv:
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
else:
    measure()
"""


def test_garbage_is_looked_for_seldom_and_not_at_the_end():
    assert printed(SEEN_LAST) == "True True 50000\n"


# Tune runs a trial in a thread, whose memory glibc manages apart from the main one's.
@pytest.mark.skipif(sys.platform != "linux", reason="glibc is what gives memory back")
@pytest.mark.parametrize("where", ["thread", "main"])
def test_training_works_in_the_memory_that_was_freed(data_dir, cache, tmp_path, where):
    pack = pack_data(data_dir, TrainConfig())

    assert int(printed(PAGES_A_STEP, str(pack), str(tmp_path), where)) < 100  # else 300 to 9,000


def printed(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
