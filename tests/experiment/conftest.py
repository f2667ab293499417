"""Searches made up: their records are written as a search writes them, nothing is trained."""

import os
from pathlib import Path

import pytest

from tests.builders import MadeSearch, new_experiment
from tune_encoder.cli import main
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.space import parse_space

CONTENT = {
    "budget": {"trials": 6, "epochs": 4},
    "base": {"warmup_epochs": 1, "early_stopping_patience": 2},
    "space": {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "head": {"choice": ["pca", "linear"]},
        "pca_components": {"int": [4, 128], "when": {"head": "pca"}},
    },
    "start": [
        {"learning_rate": 0.003, "head": "linear"},
        {"learning_rate": 0.001, "head": "pca", "pca_components": 16},
        *({"learning_rate": 0.002 + n / 1000, "head": "linear"} for n in range(4)),
    ],
}


def space_of(**changes):
    return parse_space({**CONTENT, **changes}, "test", Path())


def row(number: int, epoch: int, loss: float) -> EpochRow:
    return {
        "epoch": epoch,
        "val_loss": loss,
        "val_skill": 1 - loss,
        "val_skill_ttl": 0.5,
        "val_skill_dp": 0.25,
        "val_retrieval": loss / 10,
        "seconds": 60.0,
        "gradient_norm": float("inf"),
        "finished": False,
        "checkpoint": f"1/{number:04d}/checkpoint_{epoch:06d}",
    }


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Of `mine` a trial is complete, one pruned, one failed, one the best, one running and one
    not begun; nothing of `new` has begun."""
    folder = tmp_path_factory.mktemp("runs")
    made = MadeSearch(folder, space_of(), row_of=row)
    made.trial([0.9, 0.5, 0.6, 0.55], "COMPLETE")
    made.trial([0.95, 0.9], "PRUNED")
    made.trial([], "FAIL", "TrainingDiverged: the loss is nan")
    made.trial([0.4, 0.5, 0.6], "COMPLETE")
    made.trial([0.7])
    new_experiment(folder, "new", space_of())
    for number, epoch in ((0, 2), (0, 4), (3, 1)):
        file = made.experiment.checkpoint_file(row(number, epoch, 0.5))
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    os.utime(folder / "new" / "search.yaml", (1, 1))  # older than mine
    return folder


@pytest.fixture
def say(root, capsys):
    """Run a command on the fabricated experiments; returns what it prints."""

    def run(words, at=root):
        with pytest.raises(SystemExit) as ended:
            main([*words.split(), "--root", str(at)])
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return said.out

    return run
