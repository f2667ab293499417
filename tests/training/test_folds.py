import dataclasses
import json
from statistics import fmean

import numpy as np
import pytest
import torch

from tests.training.runs import (
    CONSTANT,
    assert_equal_folds,
    ignore,
    poisoned,
    tiny,
    train_in_parts,
    without_clocks,
)
from tune_encoder.data.fold_scores import fold_scales, mean_over_folds
from tune_encoder.data.folds import make_folds
from tune_encoder.errors import StorageError, TrainingDiverged
from tune_encoder.experiment.epoch_row import validation_scores
from tune_encoder.training.folds import train_folds
from tune_encoder.training.loop import ending_at, train, train_two_steps

ERRORS = {"val_loss_se", "val_skill_se", "val_skill_ttl_se", "val_skill_dp_se"}


@pytest.fixture(scope="module")
def folds(packed):
    return make_folds(packed, 3)


def test_each_fold_is_trained_as_a_run_of_its_own(folds, tmp_path):
    config = tiny(epochs=2, dropout=0.3, augment_prob=0.5)

    state = train_folds(config, folds, tmp_path / "folds", ignore)

    for number, (fold, data) in enumerate(zip(state.folds, folds.folds, strict=True)):
        alone = train(config, data, tmp_path / str(number), ignore)
        for part in ("model", "optimizer", "schedule"):
            actual, expected = (getattr(each, part).state_dict() for each in (fold, alone))
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        rows = [{k: v for k, v in row.items() if k != "finished"} for row in alone.history]
        assert without_clocks(fold.history) == without_clocks(rows)


def test_an_epoch_of_all_folds_is_a_row_with_the_scores_over_them(folds, tmp_path):
    rows = []

    state = train_folds(tiny(epochs=2), folds, tmp_path, lambda row, _: rows.append(row))

    assert rows == state.history
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert written == rows
    for epoch, row in enumerate(rows):
        own = [fold.history[epoch] for fold in state.folds]
        assert set(row) == {*own[0], *ERRORS, "finished"}
        scores = mean_over_folds([validation_scores(each) for each in own], fold_scales(folds))
        assert validation_scores(row) == scores
        assert row["epoch"] == epoch + 1
        assert row["train_loss"] == fmean(each["train_loss"] for each in own)
        assert row["seconds"] == sum(each["seconds"] for each in own)
        assert row["val_loss_se"] > 0


@pytest.mark.parametrize("from_model", [False, True])
def test_folds_resumed_after_every_epoch_equal_uninterrupted_ones(
    folds, model_dir, tmp_path, from_model
):
    changes = {"init_from": str(model_dir), "num_heads": 4} if from_model else {}
    config = tiny(epochs=4, dropout=0.3, augment_prob=0.5, **changes)
    whole = train_folds(config, folds, tmp_path / "whole", ignore)

    resumed = train_in_parts(config, folds, tmp_path / "cut", ends=(1, 2, 3), train=train_folds)

    assert_equal_folds(resumed, whole)
    files = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    first, second = ([json.loads(line) for line in text.splitlines()] for text in files)
    assert without_clocks(first) == without_clocks(second)


def test_folds_reopened_with_more_epochs_go_on_from_their_last(folds, tmp_path):
    short = train_folds(tiny(epochs=2), folds, tmp_path, ignore)
    again = train_folds(tiny(epochs=2), folds, tmp_path / "again", ignore)
    longer = tiny(epochs=3)

    first, second = (
        train_folds(longer, folds, tmp_path / name, ignore, state.state_dict())
        for name, state in (("a", short), ("b", again))
    )

    assert_equal_folds(first, second)
    assert [row["epoch"] for row in first.history] == [1, 2, 3]
    assert [row["finished"] for row in first.history] == [False, True, True]


def test_patience_counts_the_loss_over_all_folds(folds, tmp_path):
    config = tiny(epochs=10, early_stopping_patience=2, **CONSTANT)

    state = train_folds(config, folds, tmp_path, ignore)

    assert [row["finished"] for row in state.history] == [False, False, True]


def test_a_run_that_ends_at_an_epoch_has_trained_as_one_that_goes_on(packed, tmp_path):
    config = tiny(epochs=4)
    whole = train(config, packed, tmp_path / "whole", ignore)
    states = []

    with ending_at(2) as check:

        def report(row, state):
            states.append(state)
            check(row)

        train(config, packed, tmp_path / "part", report)

    assert without_clocks(states[-1].history) == without_clocks(whole.history[:2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_fold_that_diverges_ends_the_training(packed, tmp_path, value):
    broken = make_folds(poisoned(packed, "val", value), 3)

    with pytest.raises(TrainingDiverged, match=r"lower learning_rate \(now"):
        train_folds(tiny(epochs=1), broken, tmp_path, ignore)


def test_a_checkpoint_of_folds_is_refused_by_a_run_of_one_and_the_other_way_round(
    packed, folds, tmp_path
):
    of_folds = train_folds(tiny(epochs=1), folds, tmp_path / "folds", ignore).state_dict()
    of_one = train(tiny(epochs=1), packed, tmp_path / "one", ignore).state_dict()

    with pytest.raises(StorageError, match=r"trained on other data: folds was 3, is None; use the"):
        train(tiny(epochs=2), packed, tmp_path, ignore, of_folds)
    for other, words in ((of_one, "folds was None, is 3"), (of_folds, "folds was 3, is 2")):
        wanted = make_folds(packed, 2) if other is of_folds else folds
        with pytest.raises(StorageError, match=f"trained on other data: {words}; use the same"):
            train_folds(tiny(epochs=2), wanted, tmp_path, ignore, other)


def test_another_architecture_is_refused_as_without_folds(folds, tmp_path):
    state = train_folds(tiny(epochs=1), folds, tmp_path, ignore).state_dict()
    wider = dataclasses.replace(tiny(epochs=2), hidden_dim=16)

    with pytest.raises(StorageError, match=r"another architecture: hidden_dim was 8, is 16"):
        train_folds(wider, folds, tmp_path, ignore, state)


def test_two_steps_of_every_fold_train_and_validate(folds):
    train_two_steps(tiny(), *folds.folds)
