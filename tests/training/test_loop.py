import dataclasses
import json

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from tests.training.runs import (
    CONSTANT,
    assert_equal_runs,
    ignore,
    tiny,
    train_in_parts,
    without_clocks,
)
from tune_encoder.training.loop import train
from tune_encoder.training.state import is_finished

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


@pytest.mark.parametrize(
    ("encoder_type", "from_model"),
    [("convnext", False), ("cnn", False), ("transformer", False), ("convnext", True)],
)
def test_a_run_resumed_after_every_epoch_equals_an_uninterrupted_one(
    packed, model_dir, tmp_path, encoder_type, from_model
):
    first = {"init_from": str(model_dir), "num_heads": 4} if from_model else {}
    config = tiny(encoder_type=encoder_type, epochs=5, dropout=0.3, augment_prob=0.5, **first)
    whole = train(config, packed, tmp_path / "whole", ignore)

    resumed = train_in_parts(config, packed, tmp_path / "cut", ends=(1, 2, 3, 4))

    assert_equal_runs(resumed, whole)
    files = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    rows = [[json.loads(line) for line in text.splitlines()] for text in files]
    assert without_clocks(rows[0]) == without_clocks(rows[1])


def test_a_resumed_run_of_audio_equals_an_uninterrupted_one(packed, tmp_path):
    config = tiny(epochs=3, epoch_of="audio", steps_per_epoch=25, augment_prob=0.5, num_workers=2)
    whole = train(dataclasses.replace(config, num_workers=0), packed, tmp_path / "whole", ignore)

    resumed = train_in_parts(config, packed, tmp_path / "cut", ends=(1, 2))

    assert whole.schedule.last_epoch == 3 * 25
    whole.config = config
    assert_equal_runs(resumed, whole)


def test_a_finished_run_that_is_resumed_trains_no_further(packed, tmp_path):
    state = train(tiny(epochs=2), packed, tmp_path, ignore)
    rows = []

    again = train(
        tiny(epochs=2), packed, tmp_path, lambda row, _: rows.append(row), state.state_dict()
    )

    assert rows == []
    assert_equal_runs(again, state)


# --- the end -----------------------------------------------------------------------------------


def test_a_run_stops_when_patience_is_used_up(packed, tmp_path):
    config = tiny(epochs=10, early_stopping_patience=3, **CONSTANT)

    state = train(config, packed, tmp_path, ignore)

    assert [row["finished"] for row in state.history] == [False, False, False, True]
    assert state.best == state.history[0]


def test_patience_continues_counting_after_a_resume(packed, tmp_path):
    config = tiny(epochs=10, early_stopping_patience=3, **CONSTANT)

    state = train_in_parts(config, packed, tmp_path, ends=(2, 3))

    assert [row["finished"] for row in state.history] == [False, False, False, True]


def test_a_patience_of_zero_never_stops_a_run(packed, tmp_path):
    config = tiny(epochs=4, early_stopping_patience=0, **CONSTANT)

    state = train(config, packed, tmp_path, ignore)

    assert [row["finished"] for row in state.history] == [False, False, False, True]
    assert is_finished(state)


# --- rows --------------------------------------------------------------------------------------


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


def test_training_lowers_the_loss_and_beats_the_mean_voice(packed, tmp_path):
    config = tiny(hidden_dim=16, encoder_type="cnn", epochs=10, learning_rate=3e-3, dropout=0.0)

    history = train(config, packed, tmp_path, ignore).history

    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.05
    assert max(row["val_skill"] for row in history) > 0.02


@pytest.mark.parametrize(("num_threads", "used"), [(0, 1), (2, 2)])
def test_a_run_uses_one_thread_unless_told_otherwise(packed, tmp_path, num_threads, used):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threadpool_limits(3, "blas"):
            noted = []
            config = tiny(epochs=1, num_threads=num_threads)
            train(config, packed, tmp_path, lambda row, state: noted.append(threads_of_numpy()))
            assert torch.get_num_threads() == used
            assert threads_of_numpy() == {3}
        assert noted == [{used}]
    finally:
        torch.set_num_threads(before)


def threads_of_numpy():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_made_ahead_change_nothing(packed, tmp_path, num_workers):
    alone = train(tiny(), packed, tmp_path / "a", ignore)
    ahead = train(tiny(num_workers=num_workers), packed, tmp_path / "b", ignore)

    assert without_clocks(ahead.history) == without_clocks(alone.history)
