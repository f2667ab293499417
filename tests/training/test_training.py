import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import (
    covering_windows,
    crop_frames,
    steps_per_epoch,
    to_features,
    training_batches,
)
from tune_encoder.errors import StorageError, TrainingDiverged
from tune_encoder.model.device import pick_device
from tune_encoder.model.prediction import predict_pack
from tune_encoder.training.checkpoints import load_state, save_state
from tune_encoder.training.epoch import hash_seed, train_epoch
from tune_encoder.training.loop import train
from tune_encoder.training.state import amp_type, is_finished, learning_rate_factor, start_run

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
        "device": "cpu",
        "use_tensorboard": False,
    }
    return TrainConfig(**{**small, **changes})


def ignore(row, state):
    pass


class Cut(Exception):
    """What a report raises to end a run."""


def train_in_parts(config, packed, folder, ends):
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


# --- the same again ----------------------------------------------------------------------------


def test_equal_seeds_give_equal_runs(packed, tmp_path):
    config = tiny(epochs=2, seed=4)

    first, again = (train(config, packed, tmp_path / name, ignore) for name in "ab")

    assert_equal_runs(again, first)


def test_another_seed_gives_another_run(packed, tmp_path):
    first, other = (
        train(tiny(epochs=1, seed=seed), packed, tmp_path / str(seed), ignore) for seed in (4, 5)
    )

    assert first.history[0]["train_loss"] != other.history[0]["train_loss"]
    name = "backbone.0.weight"
    assert not torch.equal(first.model.state_dict()[name], other.model.state_dict()[name])


@pytest.mark.parametrize("encoder_type", ["convnext", "cnn", "transformer"])
def test_a_run_resumed_after_every_epoch_equals_an_uninterrupted_one(
    packed, tmp_path, encoder_type
):
    config = tiny(encoder_type=encoder_type, epochs=5, dropout=0.3, augment_prob=0.5)
    whole = train(config, packed, tmp_path / "whole", ignore)

    resumed = train_in_parts(config, packed, tmp_path / "cut", ends=(1, 2, 3, 4))

    assert_equal_runs(resumed, whole)
    files = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    rows = [[json.loads(line) for line in text.splitlines()] for text in files]
    assert without_clocks(rows[0]) == without_clocks(rows[1])


def test_a_finished_run_that_is_resumed_trains_no_further(packed, tmp_path):
    state = train(tiny(epochs=2), packed, tmp_path, ignore)
    rows = []

    again = train(
        tiny(epochs=2), packed, tmp_path, lambda row, _: rows.append(row), state.state_dict()
    )

    assert rows == []
    assert_equal_runs(again, state)


def test_the_seed_of_an_epoch_mixes_both_numbers():
    seeds = {hash_seed(seed, epoch) for seed in range(20) for epoch in range(20)}

    assert hash_seed(1, 2) != hash_seed(2, 1)
    assert len(seeds) == 400


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"fingerprint": "0123456789abcdef"}, r"fingerprint was [0-9a-f]{16}, is 0123456789abcdef"),
        ({"clips": {"train": 23, "val": 8, "test": 8}}, "train_clips was 24, is 23"),
        ({"frontend": {"hop_length": 128}}, "hop_length was 256, is 128"),
    ],
    ids=str,
)
def test_a_checkpoint_of_other_data_is_refused_with_the_difference(
    packed, tmp_path, change, difference
):
    state = train(tiny(epochs=1), packed, tmp_path, ignore).state_dict()
    other = dataclasses.replace(packed, info={**packed.info, **change})

    with pytest.raises(StorageError, match=f"on other data: {difference}; give it that"):
        train(tiny(), other, tmp_path, ignore, state)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"hidden_dim": 16}, "hidden_dim was 8, is 16"),
        ({"encoder_type": "cnn"}, "encoder_type was convnext, is cnn"),
        ({"head": "linear"}, "head was pca, is linear"),
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


# --- the end -----------------------------------------------------------------------------------


def test_a_run_stops_when_patience_is_used_up(packed, tmp_path):
    config = tiny(epochs=10, early_stopping_patience=3, **CONSTANT)

    state = train(config, packed, tmp_path, ignore)

    assert [row["finished"] for row in state.history] == [False, False, False, True]
    assert state.best == state.history[0]


def test_patience_goes_on_counting_after_a_resume(packed, tmp_path):
    config = tiny(epochs=10, early_stopping_patience=3, **CONSTANT)

    state = train_in_parts(config, packed, tmp_path, ends=(2, 3))

    assert [row["finished"] for row in state.history] == [False, False, False, True]


def test_a_patience_of_zero_never_stops_a_run(packed, tmp_path):
    config = tiny(epochs=4, early_stopping_patience=0, **CONSTANT)

    state = train(config, packed, tmp_path, ignore)

    assert [row["finished"] for row in state.history] == [False, False, False, True]
    assert is_finished(state)


@pytest.mark.parametrize(
    ("poison", "gradient_clip", "shown"), [(math.inf, 2.0, "2"), (math.nan, 0.0, "0, off")]
)
def test_a_diverged_loss_is_refused_with_its_step_and_the_settings_to_lower(
    packed, tmp_path, poison, gradient_clip, shown
):
    data = poisoned(packed, "train", poison)
    config = tiny(
        learning_rate=10.0, gradient_clip=gradient_clip, crop_seconds=6.0, augment_prob=0.0
    )

    with pytest.raises(
        TrainingDiverged,
        match=r"loss is nan at step 1 of epoch 1; lower learning_rate \(now 10\) or "
        rf"gradient_clip \(now {shown}\)",
    ):
        train(config, data, tmp_path, ignore)

    assert not (tmp_path / "metrics.jsonl").exists()


def test_divergence_names_the_first_bad_step_of_its_epoch(packed):
    config = tiny(crop_seconds=6.0, augment_prob=0.0)  # a crop that holds every clip whole
    state = start_run(config, packed, CPU)
    state.history.append(train_epoch(state, packed, CPU))
    second = list(training_batches(packed.train, config, epoch=2))[1]
    styles = packed.train.styles.ttl
    clip = next(i for i in range(len(styles)) if np.array_equal(styles[i], second.ttl[0]))

    with pytest.raises(TrainingDiverged, match=r"loss is nan at step 2 of epoch 2;"):
        train_epoch(state, poisoned(packed, "train", math.nan, clips=[clip]), CPU)


def test_a_validation_loss_that_is_not_finite_is_divergence_too(packed, tmp_path):
    with pytest.raises(
        TrainingDiverged, match=r"validation loss is nan after epoch 1; lower learning_rate \(now"
    ):
        train(tiny(), poisoned(packed, "val", math.nan), tmp_path, ignore)

    assert not (tmp_path / "metrics.jsonl").exists()


# --- rate and precision ------------------------------------------------------------------------


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
    n_steps = 4 * steps_per_epoch(packed.train, state.config)

    rates = [state.schedule.lr_lambdas[0](step) for step in range(n_steps + 1)]

    assert rates.index(max(rates)) == n_steps // 2
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("batch_size", "steps"), [(8, 3), (7, 4), (24, 1), (1000, 1)])
def test_an_epoch_takes_a_step_for_every_batch_of_all_clips(packed, batch_size, steps):
    state = start_run(tiny(batch_size=batch_size), packed, CPU)

    train_epoch(state, packed, CPU)

    assert state.schedule.last_epoch == steps
    assert {int(s["step"]) for s in state.optimizer.state.values()} == {steps}


def test_mixed_precision_takes_float16_on_cuda_alone():
    config = tiny(use_amp=True)

    assert amp_type(config, torch.device("cuda")) == torch.float16
    assert amp_type(config, torch.device("mps")) is None
    assert amp_type(config, CPU) in (None, torch.bfloat16)
    assert amp_type(tiny(use_amp=False), torch.device("cuda")) is None


def test_the_scaler_of_float16_is_off_on_the_cpu(packed):
    assert not start_run(tiny(use_amp=True), packed, CPU).scaler.is_enabled()
    assert pick_device("cpu") == CPU


def test_a_step_whose_gradients_overflow_is_skipped_and_leaves_a_finite_row(packed):
    state = start_run(tiny(batch_size=24, use_amp=False), packed, CPU)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = {name: p.clone() for name, p in state.model.state_dict().items()}

    row = train_epoch(state, packed, CPU)

    torch.testing.assert_close(dict(state.model.state_dict()), before, rtol=0, atol=0)
    assert state.schedule.last_epoch == 0
    json.dumps(row, allow_nan=False)


# --- rows --------------------------------------------------------------------------------------


def test_the_validation_loss_does_not_depend_on_the_weights_of_the_training_loss(packed):
    weights = {"lambda_ttl": 7.0, "lambda_dp": 3.0, "lambda_cosine": 2.0, "loss_scale": "none"}
    state = start_run(tiny(**weights), packed, CPU)

    row = train_epoch(state, packed, CPU)

    predicted = predict_pack(state.model, packed.val, crop_frames(state.config), CPU)
    a, b = predicted.joined(), packed.val.styles.joined()
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    expected = (
        ((predicted.ttl - packed.val.styles.ttl) ** 2).mean() / packed.statistics.ttl_variance
        + ((predicted.dp - packed.val.styles.dp) ** 2).mean() / packed.statistics.dp_variance
        + 0.1 * (1 - cosine.mean())
    )
    assert row["val_loss"] == pytest.approx(expected, rel=1e-4)
    parts = (row["train_ttl"], row["train_dp"], 1 - row["train_cosine"])
    assert row["train_loss"] == pytest.approx(np.dot((7, 3, 2), parts), rel=1e-4)


def test_every_epoch_leaves_one_row_of_strict_json(packed, tmp_path):
    def refuse(constant):
        raise AssertionError(constant)

    reported = []

    train(tiny(), packed, tmp_path, lambda row, _: reported.append(dict(row)))

    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert rows == reported
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["finished"] for row in rows] == [False, False, True]
    assert rows[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)


def test_rows_are_on_disk_before_they_are_reported(packed, tmp_path):
    n_lines = []

    def count(row, state):
        n_lines.append(len((tmp_path / "metrics.jsonl").read_text().splitlines()))

    train(tiny(), packed, tmp_path, count)

    assert n_lines == [1, 2, 3]


def test_tensorboard_reads_the_scalars_of_every_epoch(packed, tmp_path):
    state = train(tiny(epochs=2, use_tensorboard=True), packed, tmp_path, ignore)

    events = EventAccumulator(str(tmp_path / "logs")).Reload()

    for tag, name in (
        ("val/loss", "val_loss"),
        ("val/skill", "val_skill"),
        ("train/loss", "train_loss"),
        ("run/learning_rate", "learning_rate"),
    ):
        points = [(event.step, event.value) for event in events.Scalars(tag)]
        assert points == [(row["epoch"], pytest.approx(row[name])) for row in state.history]


def test_without_tensorboard_no_logs_are_written(packed, tmp_path):
    train(tiny(epochs=1, use_tensorboard=False), packed, tmp_path, ignore)

    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_training_lowers_the_loss_and_beats_the_mean_voice(packed, tmp_path):
    config = tiny(hidden_dim=16, encoder_type="cnn", epochs=10, learning_rate=3e-3, dropout=0.0)

    history = train(config, packed, tmp_path, ignore).history

    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.05
    assert max(row["val_skill"] for row in history) > 0.02


# --- predicting --------------------------------------------------------------------------------


def test_a_clip_is_predicted_as_the_mean_of_the_windows_that_cover_it(packed):
    state = start_run(tiny(learning_rate=1e-2), packed, CPU)
    train_epoch(state, packed, CPU)
    n_frames = crop_frames(state.config)

    predicted = predict_pack(state.model, packed.val, n_frames, CPU)

    for i in range(len(packed.val)):
        cut = covering_windows(packed.val.clip(i), n_frames)
        assert len(cut) > 1
        with torch.no_grad():
            ttl, dp = state.model.eval()(to_features(cut))
        np.testing.assert_allclose(predicted.ttl[i], ttl.mean(dim=0), atol=1e-5)
        np.testing.assert_allclose(predicted.dp[i], dp.mean(dim=0), atol=1e-5)


def test_predicting_uses_no_dropout(packed):
    state = start_run(tiny(dropout=0.9), packed, CPU)
    train_epoch(state, packed, CPU)
    state.model.train()

    first, again = (predict_pack(state.model, packed.val, 47, CPU) for _ in range(2))

    np.testing.assert_array_equal(first.ttl, again.ttl)
