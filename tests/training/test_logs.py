import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.runs import ignore, tiny
from tune_encoder.experiment.epoch_row import score_of
from tune_encoder.training.logs import Logged
from tune_encoder.training.loop import train


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
        assert points == [
            (row["epoch"], pytest.approx(score_of(row, name))) for row in state.history
        ]


def test_without_tensorboard_no_logs_are_written(packed, tmp_path):
    train(tiny(epochs=1, use_tensorboard=False), packed, tmp_path, ignore)

    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


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
    train(tiny(use_tensorboard=True), packed, tmp_path, ignore, logged=Logged(["dropout"]))

    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()

    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"dropout" in plugin
    assert b"learning_rate" not in plugin
