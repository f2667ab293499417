"""The winner of a search trained again, on real data of a few voices."""

import os
import shutil
import signal
from types import SimpleNamespace

import pytest

from tests.export.conftest import TORCH, rows_by_loss
from tune_encoder.config import RetrainSettings, TrainConfig
from tune_encoder.data.pack import merge_train_and_val, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, DataError, Interrupted, StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export.retraining import plan_retraining, retrain
from tune_encoder.export.verifying import verify
from tune_encoder.model.folder import load_model
from tune_encoder.system.lock import lock_experiment
from tune_encoder.training.checkpoints import load_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TWO = RetrainSettings(epochs=3, seeds=2)


def ignore(seed, row):
    """Watch nothing."""


def test_the_winners_config_gets_new_seeds_the_searchs_epochs_and_no_patience(searched):
    planned = plan_retraining(searched, RetrainSettings())
    trial, _ = rows_by_loss(searched)[0]

    assert planned.seeds == [1, 2, 3]  # the search had 0
    assert planned.config.epochs == 6
    assert planned.config.early_stopping_patience == 0
    assert planned.config.learning_rate == trial.settings["learning_rate"]


def test_other_epochs_and_other_splits_are_trained_in_other_folders(searched):
    settings = [
        RetrainSettings(),
        RetrainSettings(epochs=7),
        RetrainSettings(with_val=True),
        RetrainSettings(seeds=9),
    ]
    default, longer, more_clips, more_seeds = (
        plan_retraining(searched, each).folder for each in settings
    )

    assert len({default, longer, more_clips}) == 3
    assert more_seeds == default


@pytest.fixture(scope="module")
def retrained(searched, tmp_path_factory):
    """A search of which the winner was retrained with two seeds: what was told and what came out.

    Not to be changed.
    """
    folder, told = tmp_path_factory.mktemp("retrained"), []
    shutil.copytree(searched.path, folder / "runs" / searched.name)
    experiment = Experiment(folder / "runs" / searched.name)
    planned, model = plan_retraining(experiment, TWO), folder / "model"
    metrics = retrain(experiment, planned, model, TORCH, lambda *each: told.append(each))
    return SimpleNamespace(told=told, metrics=metrics, model=model, planned=planned)


def test_the_best_of_the_seeds_is_exported_and_compared_on_the_test_split(retrained):
    told, metrics, model = retrained.told, retrained.metrics, retrained.model

    assert [(seed, row["epoch"]) for seed, row in told] == [
        (seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)
    ]
    best_seed, best = min(told, key=lambda each: each[1]["val_loss"])
    assert (metrics["seed"], metrics["epoch"]) == (best_seed, best["epoch"])
    assert metrics["scores"]["val"]["model"]["skill"] == pytest.approx(best["val_skill"], abs=1e-5)
    found = metrics["retrained"]
    assert (found["epochs"], found["seeds"], found["split"]) == (3, [1, 2], "test")
    assert found["exported_skill"] == found["skills"][best_seed - 1]
    assert found["exported_skill"] == pytest.approx(
        metrics["scores"]["test"]["model"]["skill"], abs=1e-6
    )
    assert found["difference_95"] is not None
    low, high = found["difference_95"]
    assert low <= found["exported_skill"] - found["search_skill"] <= high
    assert metrics["trained_in"].startswith("made/retrain/")
    assert verify(model).mismatches == []
    assert "retrained mean" in (model / "MODEL_CARD.md").read_text()


def test_of_each_seed_the_best_epoch_is_kept_and_not_the_last(experiment, tmp_path):
    planned = plan_retraining(experiment, RetrainSettings(seeds=2))

    retrain(experiment, planned, tmp_path / "model", TORCH, ignore)

    for seed in planned.seeds:
        folder = planned.folder / f"{seed:04d}"
        history = load_state(folder / "final_checkpoint.pt")["history"]
        best = min(history, key=lambda row: row["val_loss"])
        assert best is not history[-1], "the last epoch is the best, so this test shows nothing"
        assert load_state(folder / "best_model.pt")["epoch"] == best["epoch"]


def test_a_stopped_retraining_resumes_and_ends_as_an_uninterrupted_one(
    experiment, retrained, tmp_path
):
    planned, told = plan_retraining(experiment, TWO), []

    def stop(seed, row):
        if (seed, row["epoch"]) == (2, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(
        Interrupted, match=r"the last epoch is saved; resume with `tune-encoder retrain made --root"
    ):
        retrain(experiment, planned, tmp_path / "model", TORCH, stop)
    assert not (tmp_path / "model").exists()
    retrain(experiment, planned, tmp_path / "model", TORCH, lambda s, r: told.append((s, r)))

    cut, whole = (
        load_state(each.folder / "0002" / "final_checkpoint.pt")
        for each in (planned, retrained.planned)
    )
    assert [row["val_loss"] for row in cut["history"]] == [
        row["val_loss"] for row in whole["history"]
    ]
    assert [(seed, row["epoch"]) for seed, row in told] == [
        (seed, epoch) for seed in (1, 2) for epoch in (1, 2, 3)
    ]


def test_a_model_trained_on_val_too_is_scored_on_test_alone(experiment, packed, tmp_path):
    planned = plan_retraining(experiment, RetrainSettings(epochs=2, seeds=1, with_val=True))

    metrics = retrain(experiment, planned, tmp_path / "model", TORCH, ignore)

    assert set(metrics["scores"]) == {"test"}
    assert metrics["epoch"] == 2  # the last: nothing tells which is better
    state = load_state(planned.folder / "0001" / "final_checkpoint.pt")
    assert state["data"]["train_clips"] == len(packed.train) + len(packed.val)
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert "The model was trained on val too, so only the test scores are meaningful." in card
    assert verify(tmp_path / "model").mismatches == []
    load_model(tmp_path / "model")


def test_training_on_val_without_a_test_split_is_refused(experiment, data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "test")
    content = experiment.read_search()
    fingerprint = open_pack(pack_data(tmp_path / "two", TrainConfig())).info["fingerprint"]
    experiment.write_search(
        {**content, "data_dir": str(tmp_path / "two"), "fingerprint": fingerprint}
    )
    planned = plan_retraining(experiment, RetrainSettings(epochs=1, seeds=1, with_val=True))

    with pytest.raises(DataError, match=r"two: has no test split, so a model trained on val could"):
        retrain(experiment, planned, tmp_path / "model", TORCH, ignore)
    assert not planned.folder.exists()


def test_a_folder_of_something_else_is_refused_before_anything_is_trained(experiment, tmp_path):
    (tmp_path / "thesis.txt").write_text("years")

    with pytest.raises(ConfigError, match=r"exists and is not empty; remove it or name another"):
        retrain(experiment, plan_retraining(experiment, TWO), tmp_path, TORCH, ignore)
    assert not (experiment.path / "retrain").exists()


def test_two_processes_do_not_train_the_same(experiment, tmp_path):
    planned = plan_retraining(experiment, TWO)
    planned.folder.mkdir(parents=True)

    with (
        lock_experiment(planned.folder),
        pytest.raises(StorageError, match=r"in use by pid \d+ on"),
    ):
        retrain(experiment, planned, tmp_path / "model", TORCH, ignore)


def test_clips_of_val_follow_those_of_train(packed):
    joined = merge_train_and_val(packed).train
    n = len(packed.train)

    assert len(joined) == n + len(packed.val)
    assert joined.voices == [*packed.train.voices, *packed.val.voices]
    for i, (pack, j) in {
        0: (packed.train, 0),
        n - 1: (packed.train, n - 1),
        n: (packed.val, 0),
        len(joined) - 1: (packed.val, len(packed.val) - 1),
    }.items():
        assert (joined.clip(i) == pack.clip(j)).all()
        assert (joined.styles.ttl[i] == pack.styles.ttl[j]).all()
        assert (joined.styles.dp[i] == pack.styles.dp[j]).all()
