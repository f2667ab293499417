"""Settings that an older program stored."""

import dataclasses

import pytest

from tune_encoder.config import (
    TrainConfig,
    changed_defaults,
    load_config,
    stored_config,
    to_mapping,
    write_yaml,
)

# Every setting of the first version; one that is newer has to be in `MEANT_BEFORE`.
FIRST = set(
    [
        "sample_rate",
        "n_fft",
        "hop_length",
        "n_mels",
        "encoder_type",
        "hidden_dim",
        "num_layers",
        "num_heads",
        "kernel_size",
        "dropout",
        "pooling",
        "head",
        "pca_components",
        "head_rank",
        "gradient_checkpointing",
        "lambda_ttl",
        "lambda_dp",
        "lambda_cosine",
        "loss_scale",
        "epochs",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "warmup_epochs",
        "gradient_clip",
        "early_stopping_patience",
        "use_amp",
        "amp_dtype",
        "gradient_accumulation",
        "augment_prob",
        "augment_noise_snr_min",
        "augment_noise_snr_max",
        "augment_gain_db",
        "augment_bandlimit_hz",
        "spec_augment_time_mask",
        "spec_augment_freq_mask",
        "augment_time_stretch",
        "augment_pitch_shift",
        "data_dir",
        "checkpoint_dir",
        "crop_seconds",
        "seed",
        "device",
        "num_threads",
        "num_workers",
        "save_interval",
        "keep_checkpoints",
        "use_tensorboard",
    ]
)


def of_the_first_version(**changes):
    config = TrainConfig(head="pca", **changes)
    return {name: value for name, value in to_mapping(config).items() if name in FIRST}


def test_a_stored_config_means_what_it_meant():
    config = stored_config(of_the_first_version(dropout=0.3), "trial 3")

    before = TrainConfig(head="pca", epoch_of="clips", steps_per_epoch=1, remove_dc=False)
    assert config == dataclasses.replace(before, dropout=0.3)


def test_the_defaults_of_a_search_do_not_name_what_is_newer_than_it():
    stored = {name: value for name, value in to_mapping(TrainConfig()).items() if name in FIRST}

    assert changed_defaults({**stored, "epoch_of": "audio", "steps_per_epoch": 16}) == {
        "remove_dc": False
    }


def test_the_config_of_an_old_run_trains_as_before(tmp_path):
    (tmp_path / "config.yaml").write_text(write_yaml(of_the_first_version()))

    config = load_config(tmp_path / "config.yaml", {"epochs": 7})

    assert (config.epoch_of, config.epochs) == ("clips", 7)


def test_an_old_checkpoint_continues_as_before():
    assert load_config(None, {}, of_the_first_version()).epoch_of == "clips"


@pytest.mark.parametrize("start", [None, {}, to_mapping(TrainConfig(dropout=0.2))])
def test_new_settings_mean_what_they_say(tmp_path, start):
    (tmp_path / "config.yaml").write_text("head: linear\n")

    config = load_config(tmp_path / "config.yaml", {}, start)

    assert config == dataclasses.replace(TrainConfig(**(start or {})), head="linear")
