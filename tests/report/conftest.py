"""A search made up, with clocks and workers, and one whose winner can be loaded."""

import functools
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from tests.builders import epoch_row, make_search, new_experiment
from tune_encoder.config import TrainConfig
from tune_encoder.model.encoder import build_encoder
from tune_encoder.report.contents import read_contents
from tune_encoder.report.facts import read_facts
from tune_encoder.space import parse_space
from tune_encoder.training.checkpoints import save_state

SVG = "{http://www.w3.org/2000/svg}"
BEGAN = 1_700_000_000.0
EPOCH_S, TRAINING_S = 2.0, 1.5
CONTENT: dict[str, Any] = {
    "budget": {"trials": 15, "epochs": 9},
    "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 3},
    "base": {"hidden_dim": 8, "num_layers": 1, "crop_seconds": 1.0},
    "space": {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "head": {"choice": ["pca", "linear"]},
        "pca_components": {"int": [4, 128], "when": {"head": "pca"}},
        "dropout": {"float": [0.0, 0.4]},
    },
}
SPACE = parse_space(CONTENT, "test", Path())
SHOCK = "TrainingDiverged: <script>alert('boo')</script> & the loss is nan"
BEST = 3  # its number: at the upper end of the learning rates


def pca(lr, dropout, k=16):
    return {"learning_rate": lr, "head": "pca", "pca_components": k, "dropout": dropout}


def linear(lr, dropout):
    return {"learning_rate": lr, "head": "linear", "dropout": dropout}


def falling(start, epochs, by=0.05):
    return [start - by * epoch for epoch in range(epochs)]


TRIALS: list[tuple[Any, ...]] = [
    ("COMPLETE", pca(0.001, 0.1), falling(0.95, 9)),
    ("PRUNED", linear(0.0002, 0.2), falling(0.99, 1)),
    ("PRUNED", pca(0.0005, 0.3), falling(0.97, 3)),
    ("COMPLETE", linear(0.01, 0.0), falling(0.9, 9, 0.06)),
    ("FAIL", linear(0.009, 0.4), [0.98, 0.1], SHOCK),
    ("FAIL", pca(0.0095, 0.4, 8), [], SHOCK),
    ("PRUNED", pca(0.0003, 0.15, 100), falling(0.985, 1)),
    ("PRUNED", linear(0.0004, 0.25), falling(0.96, 1)),
    ("PRUNED", pca(0.0006, 0.35, 64), falling(0.94, 3)),
    ("PRUNED", linear(0.0007, 0.05), falling(0.93, 1)),
    ("PRUNED", pca(0.0008, 0.12, 32), falling(0.92, 3)),
    ("PRUNED", linear(0.0009, 0.22), falling(0.975, 1)),
    ("COMPLETE", pca(0.002, 0.02, 20), falling(0.91, 9, 0.045)),
    ("RUNNING", linear(0.003, 0.03), falling(0.89, 2)),
]


class Clock:
    """Gives rows a time and a worker: trials of even number on one, the others on another."""

    def __init__(self, space):
        self.space = space
        self.now = [BEGAN, BEGAN]

    def __call__(self, number, epoch, value):
        lane = number % 2
        self.now[lane] += EPOCH_S
        at = self.now[lane]
        place = {"checkpoint": f"1/{number:04d}/checkpoint_{epoch:06d}"}
        return {
            **epoch_row(epoch, value, self.space),
            **place,
            "order": 10 * int(at - BEGAN) + lane,
            "seconds": TRAINING_S,
            "recorded_at": at,
            "worker": f"host:{100 + lane}",
        }


def made_search(root, trials=TRIALS, space=SPACE, data_dir="", **more):
    more["data_dir"] = str(data_dir)
    if trials is not TRIALS or space is not SPACE:
        return make_search(root, space, trials, row_of=Clock(space), **more)
    made = new_experiment(root, space=space, **more)
    made.study_path.write_bytes(usual_study())
    return made


@functools.cache
def usual_study():
    """The record of the usual trials; most tests want it, and it takes a second to write."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_search(Path(folder), SPACE, TRIALS, row_of=Clock(SPACE))
        return made.study_path.read_bytes()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """No process runs it and its data is gone; not to be changed."""
    return made_search(tmp_path_factory.mktemp("runs"), data_dir="/gone", fingerprint="0" * 64)


@pytest.fixture(scope="session")
def facts(made):
    return read_facts(made)


def with_checkpoint(found, data_dir, packed, noise):
    """The search with the checkpoint of its best epoch: the mean voice, give or take the noise."""
    best = found.trials()[BEST]
    config = TrainConfig(**{**best.settings, "data_dir": str(data_dir)})
    torch.manual_seed(0)
    model = build_encoder(config, packed.statistics)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights), alpha=noise)
    state = {"model": model.state_dict(), "epoch": 9, "config": {}, "data": {}, "history": []}
    save_state(found.checkpoint_file(best.rows[-1]), state)
    return found


@pytest.fixture(scope="session")
def trained(tmp_path_factory, data_dir, packed):
    """Its data is there, and so is the checkpoint of its best epoch; not to be changed."""
    root = tmp_path_factory.mktemp("trained")
    found = made_search(root, data_dir=data_dir, fingerprint=packed.info["fingerprint"])
    return with_checkpoint(found, data_dir, packed, noise=0.02)


@pytest.fixture(scope="session")
def contents(trained):
    return read_contents(trained)


def marks(figure):
    """The marks of a figure: elements that say what they stand for."""
    root = ElementTree.fromstring(figure.svg)
    return [each for each in root.iter() if each.get("class") == "mark"]


def tips(figure):
    return [mark.findtext(f"{SVG}title") for mark in marks(figure)]


def words(figure):
    """The letters in a figure."""
    root = ElementTree.fromstring(figure.svg)
    return [each.text for each in root.iter(f"{SVG}text")]


def trials_of(figure):
    return [int(mark.get("data-trial")) for mark in marks(figure)]


def numbers(figure):
    """The data that a figure was drawn from."""
    assert figure.table is not None
    return figure.table
