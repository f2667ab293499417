"""`tune-encoder train` as a process of its own, with real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.training.test_run_folder import weights_sha256
from tune_encoder.cli import main
from tune_encoder.training.checkpoints import load_state
from tune_encoder.training.run_folder import periodic_checkpoints

SMALL: dict[str, Any] = {
    "hidden_dim": 8,
    "num_layers": 1,
    "epochs": 12,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "crop_seconds": 0.5,
    "warmup_epochs": 1.5,
    "dropout": 0.2,
    "augment_prob": 0.8,
    "save_interval": 1,
    "keep_checkpoints": 100,
    "device": "cpu",
    "num_threads": 1,
    "use_tensorboard": False,
}


def options(data_dir, folder, **changes):
    settings = {**SMALL, **changes}
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return ["train", "--data-dir", str(data_dir), "--checkpoint-dir", str(folder), *sets]


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tune_encoder", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def signal_after(process, epochs, number):
    """Send a signal when so many epochs have been told; returns all that was said on stderr."""
    told = 0
    for line in process.stdout:
        told += line.startswith("Epoch ")
        if told == epochs:
            os.kill(process.pid, number)
            break
    return process.communicate(timeout=60)[1]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("from_model", [False, True])
def test_a_run_killed_after_every_epoch_has_the_weights_of_one_that_was_not(
    data_dir, model_dir, tmp_path, from_model
):
    # So that it ends soon after its fifth epoch: each kill costs a start of torch.
    patience: dict[str, Any] = {"early_stopping_patience": 4, "learning_rate": 0.5}
    patience["warmup_epochs"] = 4.0  # the first epoch is the best, on any processor
    if from_model:
        patience = {"early_stopping_patience": 2, "learning_rate": 3e-2, "init_from": model_dir}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _, error = (process := start(options(data_dir, whole, **patience))).communicate()
    assert process.returncode == 0, error
    epochs = [path.name for path in periodic_checkpoints(whole)]
    assert 5 <= len(epochs) < SMALL["epochs"], "the patience was not used up, or too early"

    signal_after(start(options(data_dir, killed, **patience)), 1, signal.SIGKILL)
    for _ in epochs[:-2]:
        signal_after(start(["train", "--resume", str(newest(killed))]), 1, signal.SIGKILL)
    _, error = (process := start(["train", "--resume", str(newest(killed))])).communicate()
    assert process.returncode == 0, error

    assert [path.name for path in periodic_checkpoints(killed)] == epochs
    for name in (*epochs, "best_model.pt", "final_checkpoint.pt"):
        assert weights_sha256(killed / name) == weights_sha256(whole / name), name


def newest(folder):
    return periodic_checkpoints(folder)[-1]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_ends_a_run_within_five_seconds_with_the_last_epoch_saved(
    data_dir, tmp_path, processes
):
    process = start([*options(data_dir, tmp_path, epochs=1000), "--workers", str(processes)])
    began = []
    for line in process.stdout:
        if line.startswith("Epoch 2/"):
            began.append(time.monotonic())
            os.kill(process.pid, signal.SIGTERM)
            break
    _, error = process.communicate(timeout=60)

    assert process.returncode == 143
    assert time.monotonic() - began[0] < 5
    final = tmp_path / "final_checkpoint.pt"
    assert error.strip().endswith(f"resume with `tune-encoder train --resume {final}`")
    assert error.count("\n") == 1
    rows = json.loads((tmp_path / "training_history.json").read_text())
    assert load_state(final)["epoch"] >= 2
    assert len(rows) in (load_state(final)["epoch"], load_state(final)["epoch"] - 1)
    assert not [line for line in process_table() if str(tmp_path) in line]


def process_table():
    table = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return table.stdout.splitlines()


def test_a_run_that_predicts_one_style_for_all_voices_says_so(data_dir, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(options(data_dir, tmp_path, epochs=6, learning_rate=1e-8))

    said = capsys.readouterr().out
    assert said.count("warning: all voices get nearly the same style; raise learning_rate") == 2


def test_a_run_that_learns_says_nothing_of_it(data_dir, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(options(data_dir, tmp_path, epochs=6, hidden_dim=32, batch_size=4))

    assert "warning" not in capsys.readouterr().out
