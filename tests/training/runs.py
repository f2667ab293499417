"""Runs of training small enough for a test, and data that makes them diverge."""

import dataclasses

import numpy as np
import pytest
import torch

from tune_encoder.config import TrainConfig
from tune_encoder.training.checkpoints import load_state, save_state
from tune_encoder.training.loop import train

CPU = torch.device("cpu")


CLOCKS = ("seconds", "clips_per_s", "step_seconds", "predict_seconds", "score_seconds")


CONSTANT = {  # without a loss no weight moves, and every epoch is as good as the first
    "lambda_ttl": 0.0,
    "lambda_dp": 0.0,
    "lambda_cosine": 0.0,
    "weight_decay": 0.0,
}


def tiny(**changes):
    small = {
        "hidden_dim": 8,
        "num_layers": 1,
        "num_heads": 2,
        "epochs": 3,
        "batch_size": 8,
        "crop_seconds": 0.5,
        "warmup_epochs": 1.0,
        "epoch_of": "clips",
        "device": "cpu",
        "use_tensorboard": False,
    }
    return TrainConfig(**{**small, **changes})


def ignore(row, state):
    pass


class Cut(Exception):
    """What a report raises to end a run."""


def train_in_parts(config, packed, folder, ends, train=train):
    """Train, but with a new start from the disk after each of the epochs `ends`."""
    checkpoint = None
    for end in ends:

        def save_and_cut(row, state, end=end):
            if row["epoch"] == end:
                save_state(folder / "state.pt", state.state_dict())
                raise Cut

        with pytest.raises(Cut):
            train(config, packed, folder, save_and_cut, checkpoint)
        checkpoint = load_state(folder / "state.pt")
    return train(config, packed, folder, ignore, checkpoint)


def without_clocks(history):
    return [{name: v for name, v in row.items() if name not in CLOCKS} for row in history]


def assert_equal_folds(state, expected):
    """Equal states of training over folds: each fold's and the rows over all."""
    for fold, wanted in zip(state.folds, expected.folds, strict=True):
        assert_equal_runs(fold, wanted)
    assert without_clocks(state.history) == without_clocks(expected.history)


def assert_equal_runs(state, expected):
    for part in ("model", "optimizer", "schedule"):
        actual, wanted = (getattr(each, part).state_dict() for each in (state, expected))
        torch.testing.assert_close(actual, wanted, rtol=0, atol=0)
    assert without_clocks(state.history) == without_clocks(expected.history)


def poisoned(packed, split, value, clips=slice(None)):
    """The same data with one bad number in the features of each clip, or of some."""
    pack = getattr(packed, split)
    features = np.array(pack.features)
    features[pack.starts[:-1][clips], 3] = value
    return dataclasses.replace(packed, **{split: dataclasses.replace(pack, features=features)})
