import dataclasses

import numpy as np
import pytest
import torch

from tests.training.runs import (
    CPU,
    ignore,
    tiny,
)
from tune_encoder.config import FrontendSettings, to_mapping
from tune_encoder.data.crops import steps_per_epoch
from tune_encoder.errors import StorageError
from tune_encoder.model.device import pick_device
from tune_encoder.training.loop import train
from tune_encoder.training.state import autocast_dtype, learning_rate_factor, start_run

FRONTEND = to_mapping(FrontendSettings(hop_length=128))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"fingerprint": "0123456789abcdef"}, r"fingerprint was [0-9a-f]{16}, is 0123456789abcdef"),
        ({"clips": {"train": 23, "val": 8, "test": 8}}, "train_clips was 24, is 23"),
        ({"frontend": FRONTEND}, "hop_length was 256, is 128"),
    ],
    ids=str,
)
def test_a_checkpoint_of_other_data_is_refused_with_the_difference(
    packed, tmp_path, change, difference
):
    state = train(tiny(epochs=1), packed, tmp_path, ignore).state_dict()
    other = dataclasses.replace(packed, info={**packed.info, **change})

    with pytest.raises(StorageError, match=f"on other data: {difference}; use the same data"):
        train(tiny(), other, tmp_path, ignore, state)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"hidden_dim": 16}, "hidden_dim was 8, is 16"),
        ({"encoder_type": "cnn"}, "encoder_type was convnext, is cnn"),
        ({"head": "linear"}, "head was joint, is linear"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_architecture_is_refused_with_the_difference(
    packed, tmp_path, change, difference
):
    state = train(tiny(epochs=1), packed, tmp_path, ignore).state_dict()

    with pytest.raises(
        StorageError,
        match=rf"has another architecture: {difference}$",
    ):
        train(tiny(**change), packed, tmp_path, ignore, state)


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (2.5, 10), (5, 10), (1, 2)])
def test_the_learning_rate_begins_above_zero_reaches_its_peak_and_ends_near_zero(warmup, total):
    rates = [learning_rate_factor(step, warmup, total) for step in range(total)]

    assert rates[0] > 0
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert all(0 <= rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert learning_rate_factor(total, warmup, total) == pytest.approx(0.0, abs=1e-12)


def test_past_the_end_the_learning_rate_stays_zero():
    rates = [learning_rate_factor(step, 5, 50) for step in range(50, 200)]

    np.testing.assert_allclose(rates, 0.0, atol=1e-12)


def test_a_warm_up_longer_than_the_run_is_capped_at_half_of_it(packed):
    state = start_run(tiny(epochs=4, warmup_epochs=100.0, learning_rate=1e-2), packed, CPU)
    n_steps = 4 * steps_per_epoch(packed.train.lengths, state.config)

    rates = [state.schedule.lr_lambdas[0](step) for step in range(n_steps + 1)]

    assert rates.index(max(rates)) == n_steps // 2
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_mixed_precision_takes_float16_on_cuda_alone():
    config = tiny(use_amp=True)

    assert autocast_dtype(config, torch.device("cuda")) == torch.float16
    assert autocast_dtype(config, torch.device("mps")) is None
    assert autocast_dtype(config, CPU) in (None, torch.bfloat16)
    assert autocast_dtype(tiny(use_amp=False), torch.device("cuda")) is None


def test_the_scaler_of_float16_is_off_on_the_cpu(packed):
    assert not start_run(tiny(use_amp=True), packed, CPU).scaler.is_enabled()
    assert pick_device("cpu") == CPU
