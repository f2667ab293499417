import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tune_encoder.config import TrainConfig
from tune_encoder.data.scores import Styles
from tune_encoder.errors import TrainingDiverged
from tune_encoder.space import parse_space, sample_configs
from tune_encoder.training.probe import RANDOM_CONFIGS, first_config, probe

SMALL = {"hidden_dim": 8, "crop_seconds": 0.5, "device": "cpu", "use_tensorboard": False}


def space_of(**content):
    content["base"] = {**SMALL, **content.get("base", {})}
    return parse_space(content, "space.yaml", Path())


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_first_config_and_a_few_random_ones_are_timed_and_leave_nothing(packed, scratch):
    space = space_of(space={"num_layers": {"choice": [1, 2]}}, start=[{"num_layers": 1}])

    timings = list(probe(space, packed))

    assert len(timings) == 1 + RANDOM_CONFIGS
    assert all(timing.seconds_per_epoch > 0 for timing in timings)
    assert list(scratch.glob("tune_encoder*")) == []


def test_a_larger_config_has_a_larger_checkpoint(packed, scratch):
    small, large = (
        next(probe(space_of(base={"num_layers": n_layers}), packed)) for n_layers in (1, 4)
    )

    assert large.checkpoint_bytes > small.checkpoint_bytes


def test_a_slow_probe_ends_with_the_first_config(packed, scratch, monkeypatch):
    monkeypatch.setattr("tune_encoder.training.probe.MAX_PROBE_S", 0.0)

    assert len(list(probe(space_of(base={"num_layers": 1}), packed))) == 1


def test_the_first_config_is_that_of_the_first_trial():
    space = space_of(
        space={"num_layers": {"int": [2, 4]}, "dropout": {"float": [0.2, 0.4]}},
        start=[{"num_layers": 3}, {"num_layers": 2}],
    )

    config = first_config(space)

    assert (config.num_layers, config.hidden_dim) == (3, 8)
    assert 0.2 <= config.dropout <= 0.4  # what `start` leaves open is drawn
    assert config.dropout == first_config(space).dropout


def test_without_start_the_first_config_is_the_default():
    space = parse_space({"space": {"dropout": {"float": [0.0, 0.4]}}}, "space.yaml", Path())

    assert first_config(space) == TrainConfig(epochs=space.budget.epochs)


# --- divergence ----------------------------------------------------------------------------------

# With styles as large as these, a weight of 1e4 overflows the loss and a weight of 1 does not.
LARGE = 3e17


@pytest.fixture
def large(packed):
    known = packed.train.unique_styles
    styles = Styles(known.ttl.astype(np.float32) * np.float32(LARGE), known.dp)
    return dataclasses.replace(
        packed, train=dataclasses.replace(packed.train, unique_styles=styles)
    )


def space_that_starts_with(weight):
    return space_of(
        base={"num_layers": 1, "lambda_cosine": 0.0},
        space={"lambda_ttl": {"choice": [1.0, 1e4]}},
        start=[{"lambda_ttl": weight}],
    )


def test_a_first_config_that_diverges_is_reported(large, scratch):
    with pytest.raises(
        TrainingDiverged, match=r"loss is inf at step 1 of epoch 1; lower learning_"
    ):
        list(probe(space_that_starts_with(1e4), large))


def test_a_random_config_that_diverges_is_left_out(large, scratch):
    space = space_that_starts_with(1.0)
    weights = [settings["lambda_ttl"] for settings in sample_configs(space, RANDOM_CONFIGS)]
    assert weights.count(1.0) < RANDOM_CONFIGS

    assert len(list(probe(space, large))) == 1 + weights.count(1.0)
