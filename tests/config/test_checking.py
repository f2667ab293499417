import dataclasses
import re

import pytest

from tune_encoder.config import (
    BudgetSettings,
    ResourceSettings,
    SchedulerSettings,
    SearcherSettings,
    TrainConfig,
    from_mapping,
    to_mapping,
)
from tune_encoder.errors import ConfigError
from tune_encoder.system.files import cache_dir

# The settings that the training guide names, with other values than the defaults.
GUIDE_SETTINGS = {
    "lambda_ttl": 2.0,
    "lambda_dp": 0.5,
    "lambda_cosine": 0.2,
    "use_amp": False,
    "learning_rate": 1e-4,
    "warmup_epochs": 2.0,
    "early_stopping_patience": 20,
    "gradient_clip": 0.5,
    "save_interval": 10,
    "batch_size": 16,
    "epochs": 200,
    "use_tensorboard": False,
    "augment_prob": 0.3,
    "augment_noise_snr_min": 10.0,
    "augment_noise_snr_max": 30.0,
    "spec_augment_time_mask": 30,
    "spec_augment_freq_mask": 15,
    "encoder_type": "transformer",
    "hidden_dim": 128,
    "num_layers": 6,
    "num_heads": 8,
    "dropout": 0.2,
    "weight_decay": 1e-3,
}


@pytest.mark.parametrize(
    "kind", [TrainConfig, BudgetSettings, SchedulerSettings, SearcherSettings, ResourceSettings]
)
def test_every_default_lies_within_its_own_limits(kind):
    assert from_mapping(kind, to_mapping(kind()), "defaults") == kind()


def test_every_setting_has_a_help_text():
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))


@pytest.mark.parametrize(("name", "value"), GUIDE_SETTINGS.items())
def test_every_setting_of_the_guide_is_accepted_under_its_name(name, value):
    config = from_mapping(TrainConfig, {name: value}, "run.yaml")

    assert getattr(config, name) == value != getattr(TrainConfig(), name)


@pytest.mark.parametrize("value", [1e-8, 10.0])
def test_both_ends_of_a_range_belong_to_it(value):
    assert from_mapping(TrainConfig, {"learning_rate": value}, "run.yaml").learning_rate == value


def test_a_whole_number_serves_as_a_number():
    rate = from_mapping(TrainConfig, {"learning_rate": 1}, "run.yaml").learning_rate

    assert isinstance(rate, float)
    assert rate == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_epoch": 1}, "unknown setting 'warmup_epoch'; did you mean 'warmup_epochs'?"),
        ({"zzz": 1}, "unknown setting 'zzz'; known: amp_dtype, augment_bandlimit_hz, "),
        ({"learning_rate": "1e-3"}, "learning_rate is '1e-3'; it must be a number from 1e-08 to"),
        ({"learning_rate": None}, "learning_rate is None; it must be a number from 1e-08 to 10"),
        ({"learning_rate": [1]}, "learning_rate is [1]; it must be a number from 1e-08 to 10"),
        ({"learning_rate": True}, "learning_rate is True; it must be a number from 1e-08 to 10"),
        ({"learning_rate": 10**400}, "000; it must be a number from 1e-08 to 10"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a number from 1e-08"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; it must be a number from 1e-08"),
        ({"learning_rate": 9e-9}, "learning_rate is 9e-09; it must be a number from 1e-08 to 10"),
        ({"learning_rate": 10.1}, "learning_rate is 10.1; it must be a number from 1e-08 to 10"),
        ({"epochs": "9"}, "epochs is '9'; it must be a whole number from 1 to 100000"),
        ({"epochs": True}, "epochs is True; it must be a whole number from 1 to 100000"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number from 1 to 100000"),
        ({"epochs": 0}, "epochs is 0; it must be a whole number from 1 to 100000"),
        ({"epochs": 100_001}, "epochs is 100001; it must be a whole number from 1 to 100000"),
        ({"use_amp": 1}, "use_amp is 1; it must be true or false"),
        ({"use_amp": "yes"}, "use_amp is 'yes'; it must be true or false"),
        ({"data_dir": 2024}, "data_dir is 2024; it must be a text"),
        ({"encoder_type": "rnn"}, "encoder_type is 'rnn'; it must be one of convnext, cnn, tra"),
        ({"loss_scale": False}, "loss_scale is False; it must be one of variance, none"),
        ({"hop_length": 2048}, "hop_length is 2048; it must be at most n_fft (1024)"),
        ({"kernel_size": 4}, "kernel_size is 4; it must be odd"),
        (
            {"encoder_type": "transformer", "hidden_dim": 100, "num_heads": 8},
            "hidden_dim is 100; it must be a multiple of num_heads (8)",
        ),
        (
            {"head": "query", "hidden_dim": 100, "num_heads": 8},
            "hidden_dim is 100; it must be a multiple of num_heads (8)",
        ),
        (
            {"crop_seconds": 1.0, "crop_seconds_min": 1.5},
            "crop_seconds_min is 1.5; it must be at most crop_seconds (1)",
        ),
        (
            {"augment_noise_snr_min": 41},
            "augment_noise_snr_min is 41; it must be at most augment_noise_snr_max (40)",
        ),
    ],
)
def test_a_bad_setting_is_refused_with_its_file_its_value_and_what_is_allowed(settings, message):
    with pytest.raises(ConfigError, match=rf"^run\.yaml: .*{re.escape(message)}"):
        from_mapping(TrainConfig, settings, "run.yaml")


def test_heads_need_not_divide_the_channels_of_an_encoder_without_attention():
    assert TrainConfig(hidden_dim=100, num_heads=8).num_heads == 8


def test_the_cache_lies_where_the_environment_says_and_else_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path

    monkeypatch.setenv("TUNE_ENCODER_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "tune_encoder"
