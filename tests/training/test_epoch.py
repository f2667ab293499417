import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from tests.training.runs import (
    CPU,
    ignore,
    poisoned,
    tiny,
)
from tune_encoder.data.batches import training_batches
from tune_encoder.data.crops import crop_frames
from tune_encoder.errors import OutOfMemory, TrainingDiverged
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.model.prediction import predict_pack
from tune_encoder.training.epoch import hash_seed, train_epoch
from tune_encoder.training.loop import train
from tune_encoder.training.state import start_run


def test_the_seed_of_an_epoch_mixes_both_numbers():
    seeds = {hash_seed(seed, epoch) for seed in range(20) for epoch in range(20)}

    assert hash_seed(1, 2) != hash_seed(2, 1)
    assert len(seeds) == 400


@pytest.mark.parametrize(("batch_size", "steps"), [(8, 3), (7, 4), (24, 1), (1000, 1)])
def test_an_epoch_takes_a_step_for_every_batch_of_all_clips(packed, batch_size, steps):
    state = start_run(tiny(batch_size=batch_size), packed, CPU)

    train_epoch(state, packed, CPU)

    assert state.schedule.last_epoch == steps
    assert {int(s["step"]) for s in state.optimizer.state.values()} == {steps}


def test_a_row_has_the_keys_and_types_that_are_listed_for_the_training_loop(packed, tmp_path):
    (row,) = train(tiny(epochs=1), packed, tmp_path, ignore).history

    listed = EpochRow.__annotations__
    by_others = {"checkpoint_sha256", "checkpoint", "worker", "attempt", "recorded_at", "order",
                 "objective", "violation", "parameters", "clone_ms", "val_similarity"}  # fmt: skip
    over_folds = {"val_skill_ttl_se", "val_skill_dp_se"}
    assert set(row) == set(listed) - by_others - over_folds
    types = {name: type(value) for name, value in row.items()}
    assert types == {**{name: listed[name] for name in row}, "epoch": int, "val_loss": float}


def test_a_step_whose_gradients_overflow_is_skipped_and_leaves_a_finite_row(packed):
    state = start_run(tiny(batch_size=24, use_amp=False), packed, CPU)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = {name: p.clone() for name, p in state.model.state_dict().items()}

    row = train_epoch(state, packed, CPU)

    torch.testing.assert_close(dict(state.model.state_dict()), before, rtol=0, atol=0)
    assert state.schedule.last_epoch == 0
    json.dumps(row, allow_nan=False)


def test_the_validation_loss_does_not_depend_on_the_weights_of_the_training_loss(packed):
    weights = {"lambda_ttl": 7.0, "lambda_dp": 3.0, "lambda_cosine": 2.0, "loss_scale": "none"}
    state = start_run(tiny(**weights), packed, CPU)

    row = train_epoch(state, packed, CPU)

    predicted = predict_pack(state.model, packed.val, crop_frames(state.config), CPU)
    a, b = predicted.flatten(), packed.val.styles.flatten()
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    expected = (
        ((predicted.ttl - packed.val.styles.ttl) ** 2).mean() / packed.statistics.ttl_variance
        + ((predicted.dp - packed.val.styles.dp) ** 2).mean() / packed.statistics.dp_variance
        + 0.1 * (1 - cosine.mean())
    )
    assert row["val_loss"] == pytest.approx(expected, rel=1e-4)
    parts = (row["train_ttl"], row["train_dp"], 1 - row["train_cosine"])
    assert row["train_loss"] == pytest.approx(np.dot((7, 3, 2), parts), rel=1e-4)


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


def test_a_batch_in_parts_gives_the_gradients_of_the_whole(packed, tmp_path):
    """In float32: bfloat16 rounds the parts by more than this."""
    whole, parts = (
        train(
            tiny(dropout=0.0, use_amp=False, gradient_accumulation=n),
            packed,
            tmp_path / str(n),
            ignore,
        )
        for n in (1, 3)
    )

    for one, other in zip(whole.history, parts.history, strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], abs=1e-5)
        assert other["val_loss"] == pytest.approx(one["val_loss"], abs=1e-4)


def test_out_of_memory_names_the_settings_that_help(packed, tmp_path):
    class Full:
        """A split whose first clip does not fit."""

        lengths = np.full(8, 300)
        has_copies = False
        unique_styles = packed.train.unique_styles

        def __len__(self):
            return 8

        def versions(self, i):
            raise torch.OutOfMemoryError("full")

    with pytest.raises(
        OutOfMemory,
        match=r"cpu is out of memory; lower batch_size \(now 8\) or crop_seconds \(now 0\.5\), "
        r"raise gradient_accumulation \(now 1\), or set gradient_checkpointing: true",
    ):
        train(tiny(), dataclasses.replace(packed, train=Full()), tmp_path, ignore)
