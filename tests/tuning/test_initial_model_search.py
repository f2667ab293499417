"""Searches whose networks start from an exported model."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fabricate import SMALL_ENCODER, write_model
from tests.training.runs import ignore, without_clocks
from tests.tuning.conftest import TINY_SPACE
from tune_encoder.cli import main
from tune_encoder.config import TrainConfig, from_mapping
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.model.folder import load_model
from tune_encoder.system.manifest import sha256_of
from tune_encoder.training.loop import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EPOCHS = 10
SPACE: dict[str, Any] = {
    "budget": {"trials": 2, "epochs": EPOCHS},
    "scheduler": {"name": "none"},
    "searcher": {"name": "random", "closed_form": False},
    "resources": {"concurrent": 1},
    "base": {**TINY_SPACE["base"], "init_from": "model"},
}


@pytest.fixture
def model(model_dir, command):
    """A copy beside the file of the space."""
    return shutil.copytree(model_dir, command.folder / "model")


def test_a_killed_search_from_a_model_ends_as_runs_from_it_that_were_not(
    command, model, data_dir, tmp_path
):
    error = command.stop_after(command.start(*command.search_options(SPACE)), 6, signal.SIGKILL)
    assert "Traceback" not in error
    ended = command.run("resume", "tiny", "--no-export")
    assert ended.returncode == 0, ended.stderr

    base = command.experiment.space().base
    assert base["init_from"] == str(model)
    assert base["init_sha256"] == sha256_of((model / "model.safetensors").read_bytes())
    assert base["num_heads"] == SMALL_ENCODER.num_heads
    data = open_pack(pack_data(data_dir, TrainConfig()))
    for trial in command.experiment.trials():
        config = from_mapping(TrainConfig, trial.settings, "trial")
        alone = train(config, data, tmp_path / str(trial.number), ignore).history
        assert len(trial.rows) == EPOCHS
        assert losses(trial.rows) == losses(without_clocks(alone))

    weights = {name: 2 * tensor for name, tensor in load_model(model)[0].state_dict().items()}
    write_model(model, SMALL_ENCODER, weights)
    refused = command.run("resume", "tiny", "--trials", "3", "--no-export")
    assert refused.returncode == 4
    assert refused.stderr.count("\n") == 1
    assert "model: not the model that training began with, the SHA-256 of its" in refused.stderr


def losses(rows):
    return [(row["epoch"], row["train_loss"], row["val_loss"]) for row in rows]


@pytest.mark.parametrize(
    ("base", "damage", "code", "words"),
    [
        ({"hidden_dim": 32}, False, 2, "hidden_dim is 8 there and 32 here; leave out these sett"),
        ({"hop_length": 512}, False, 2, "hop_length is 256 there and 512 here"),
        ({}, True, 4, "not a usable model ("),
        ({"init_from": "nothing"}, False, 4, "nothing: not an exported model ("),
        ({"init_from": "runs"}, False, 4, "runs: not an exported model ("),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_in_one_line_before_ray_starts(
    command, model, monkeypatch, capsys, base, damage, code, words
):
    monkeypatch.chdir(command.folder)
    if damage:
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4] + b"0000")
    options = command.search_options({**SPACE, "base": {**SPACE["base"], **base}})

    with pytest.raises(SystemExit) as ended:
        main(options)

    said = capsys.readouterr().err
    assert ended.value.code == code
    assert words in said
    assert said.count("\n") == 1
    assert not command.experiment.path.exists()


def test_a_searched_network_is_refused(command, model, monkeypatch, capsys):
    monkeypatch.chdir(command.folder)
    space = {**TINY_SPACE["space"], "hidden_dim": {"choice": [8, 16]}}
    Path("own.yaml").write_text(yaml.safe_dump({**SPACE, "space": space}))

    with pytest.raises(SystemExit, match="2"):
        main(["space", "own.yaml"])

    said = "base.init_from fixes the network, so hidden_dim cannot be searched"
    assert said in capsys.readouterr().err
