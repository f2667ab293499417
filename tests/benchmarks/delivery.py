"""How long a node without the pack waits for it: the first of its trials, and those after.

Run it as root, as `python -m tests.benchmarks.delivery [MEGABYTES]`: two nodes on this machine, of
which one does not see the folder with the pack.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.tuning.cluster.test_cluster_search import a_head, node, wait_for_cpus
from tune_encoder.tuning.cluster.ray_settings import ENVIRONMENT
from tune_encoder.tuning.worker.pack_transfer import INFO, fetch_pack

TRIALS = 4


DRIVER = """
import sys
from pathlib import Path
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tests.benchmarks.delivery import TRIALS, timed

address, pack, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
ray.init(address, log_to_driver=False)
home = ray.get_runtime_context().get_node_id()
far = next(each["NodeID"] for each in ray.nodes() if each["NodeID"] != home)
there = NodeAffinitySchedulingStrategy(far, soft=False)
fetch = ray.remote(num_cpus=1, scheduling_strategy=there)(timed)
waits = ray.get([fetch.remote(pack, home, cache) for _ in range(TRIALS)])
print(f"{TRIALS} trials at once waited", *(f"{seconds:.1f}" for seconds in waits), "s")
print(f"one after them {ray.get(fetch.remote(pack, home, cache)):.4f} s")
"""


def timed(pack: Path, home: str, cache: Path) -> float:
    """Seconds until the pack is on the node."""
    os.environ["TUNE_ENCODER_CACHE"] = str(cache)
    began = time.perf_counter()
    fetch_pack(pack, home)
    return time.perf_counter() - began


def main() -> None:
    """Print what each trial waited."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder, a_head(0) as head:
        pack = Path(folder) / "pack"
        pack.mkdir()
        (pack / "train.npy").write_bytes(bytes(2**20) * megabytes)
        (pack / INFO).write_text("{}")
        with node(head, TRIALS, pack):
            wait_for_cpus(head, TRIALS)
            print(f"{megabytes} MB:", flush=True)
            command = [sys.executable, "-c", DRIVER, head.address, str(pack), f"{folder}/cache"]
            subprocess.run(command, env={**os.environ, **ENVIRONMENT}, check=True)


if __name__ == "__main__":
    main()
