"""An export that is killed in the middle, as a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tune_encoder.model.folder import load_model
from tune_encoder.system.manifest import PROVENANCE

DEADLINE_S = 60


def killed_once(experiment, target, name):
    """Start an export and kill it as soon as the file `name` has been written."""
    root = experiment.path.parent
    command = ["export", experiment.name, "--root", str(root), "--to", str(target)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_encoder", *command, "--formats", "torch"],
        start_new_session=True,  # its checking process dies with it
        stdout=subprocess.DEVNULL,
    )
    began = time.monotonic()
    while not list(target.parent.glob(f".{target.name}.{process.pid}.partial/{name}")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() - began < DEADLINE_S
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    return process.pid


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json"])
def test_a_kill_leaves_none_or_the_old_folder_and_the_next_export_tidies_up(
    experiment, exported, tmp_path, name
):
    target = tmp_path / "models" / "best"

    first = killed_once(experiment, target, name)
    assert [path.name for path in target.parent.iterdir()] == [f".best.{first}.partial"]

    target.mkdir()
    for path in exported[0].iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    killed_once(experiment, target, name)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before

    command = ["export", experiment.name, "--root", str(experiment.path.parent), "--to", target]
    subprocess.run(
        [sys.executable, "-m", "tune_encoder", *map(str, command), "--formats", "torch"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert [path.name for path in target.parent.iterdir()] == ["best"]
    assert (target / PROVENANCE).read_bytes() != before[PROVENANCE]  # made at another time
    load_model(target)
