"""Parts of a batch, batches made ahead, HParams, and what the machine lacks."""

import dataclasses

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.test_training import ignore, tiny, without_clocks
from tune_encoder.errors import ConfigError, OutOfMemory
from tune_encoder.model.device import pick_device
from tune_encoder.training.loop import train


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


@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_made_ahead_change_nothing(packed, tmp_path, num_workers):
    alone = train(tiny(), packed, tmp_path / "a", ignore)
    ahead = train(tiny(num_workers=num_workers), packed, tmp_path / "b", ignore)

    assert without_clocks(ahead.history) == without_clocks(alone.history)


def test_tensorboard_gets_settings_and_scores_for_its_hparams_tab(packed, tmp_path):
    train(tiny(use_tensorboard=True), packed, tmp_path, ignore)

    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()

    assert {"val_loss", "val_skill", "val/cosine", "train/ttl", "run/gradient_norm"} <= set(
        events.Tags()["scalars"]
    )
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"learning_rate" in plugin
    assert len(events.Scalars("val_loss")) == 3


def test_hparams_are_those_that_were_searched(packed, tmp_path):
    train(tiny(use_tensorboard=True), packed, tmp_path, ignore, shown=["dropout"])

    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()

    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"dropout" in plugin
    assert b"learning_rate" not in plugin


def test_out_of_memory_names_the_settings_that_help(packed, tmp_path):
    class Full:
        """A split whose first clip does not fit."""

        def __len__(self):
            return 8

        def clip(self, i):
            raise torch.OutOfMemoryError("full")

    with pytest.raises(
        OutOfMemory,
        match=r"cpu is out of memory; lower batch_size \(now 8\) or crop_seconds \(now 0\.5\), "
        r"raise gradient_accumulation \(now 1\), or set gradient_checkpointing: true",
    ):
        train(tiny(), dataclasses.replace(packed, train=Full()), tmp_path, ignore)


def test_a_device_the_machine_lacks_is_refused():
    if torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    with pytest.raises(ConfigError, match=r"device is mps, which torch does not find here; use au"):
        pick_device("mps")
