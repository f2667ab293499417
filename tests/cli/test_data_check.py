"""`tune-encoder data check`, as a person runs it, and what it stops."""

import dataclasses
import os
import sys

import numpy as np
import pytest

from tests.cli.data_commands import run
from tests.fabricate import make_sample
from tune_encoder.cli import main
from tune_encoder.data.samples import write_sample

__all__ = ["run"]  # a fixture

DATA = 3


@pytest.fixture
def data_set(tmp_path):
    """Two clips to train on and one to validate, of different voices."""
    for seed, name in enumerate(("train/a", "train/b", "val/c")):
        path = tmp_path / "set" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sample(path, make_sample(seed, n_samples=24000))
    return tmp_path / "set"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_is_no_sample(data_set, run, make):
    make(data_set / "train" / "odd.npz")

    code, told, _ = run("check", data_set)

    assert code == DATA
    assert told[-1] == (
        f"error: {data_set}/train/odd.npz: is a pipe or device, not a file; copy its content to a "
        "file"
    )


@pytest.fixture
def one_style(data_set):
    write_sample(data_set / "train" / "b.npz", make_sample(0, n_samples=25000))
    return data_set


def test_training_clips_of_one_style_are_an_error(one_style, run):
    code, told, _ = run("check", one_style)

    assert code == DATA
    assert told[-1].endswith("2 clips of a single style_ttl and style_dp, which teaches nothing; "
                             "add clips of other voices")  # fmt: skip


@pytest.mark.parametrize(
    "command", ["train --checkpoint-dir {0}/run", "search --root {0} --space quick --name one"]
)
def test_nothing_is_trained_on_clips_of_one_style(
    one_style, tmp_path, monkeypatch, capsys, command
):
    monkeypatch.setitem(sys.modules, "ray", None)  # then importing it is an error

    with pytest.raises(SystemExit) as ended:
        main([*command.format(tmp_path / "runs").split(), "--data-dir", str(one_style)])

    (error,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == DATA
    assert error.startswith(f"tune-encoder: {one_style}/train: 2 clips of a single style_ttl")
    assert not (tmp_path / "runs").exists()


def test_clips_with_silent_ends_are_warned_of(data_set, run):
    clip = make_sample(0, n_samples=24000)
    silence = np.full(24000, 0.1, np.float32)  # an offset hides no silence
    audio = np.concatenate([silence, 0.1 + clip.audio, silence])
    write_sample(data_set / "train" / "a.npz", dataclasses.replace(clip, audio=audio))

    code, told, _ = run("check", data_set)

    assert code == 0
    assert [line for line in told if line.startswith("warning")] == [
        "warning: 1 clip of train, such as a.npz, with more than 0.5 s of silence at the ends, "
        "which `clone` cuts off: cut it off here too"
    ]
