"""The export of a search over folds: one encoder, trained on all voices."""

import dataclasses
import json
import os
import shutil
import signal

import pytest
import torch

from tests.builders import new_experiment
from tests.export.conftest import SPACE, TORCH, run_trial, trained_on_all
from tune_encoder.config import RetrainSettings, TrainConfig
from tune_encoder.data.fold_scores import baselines_over_folds
from tune_encoder.data.folds import all_voices, make_folds
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, Interrupted, StorageError
from tune_encoder.experiment.epoch_row import validation_scores
from tune_encoder.experiment.folder import Experiment
from tune_encoder.export import export
from tune_encoder.export.choosing import choose
from tune_encoder.export.refitting import refit_models
from tune_encoder.export.retraining import plan_retraining
from tune_encoder.export.verifying import verify
from tune_encoder.model.folder import load_model
from tune_encoder.report import write_report
from tune_encoder.space import parse_space
from tune_encoder.system.lock import lock_experiment
from tune_encoder.training.checkpoints import load_state
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.start import versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def folded_search(packed, data_dir, tmp_path_factory):
    """A finished search of two trials over three folds, made without Ray."""
    start = [{"learning_rate": 1.0e-8}, {"learning_rate": 2.0e-2}]
    content = {**SPACE, "validation": {"voices": 3}, "start": start}
    space = parse_space(content, "test", data_dir)
    folds = make_folds(packed, 3)
    experiment = new_experiment(
        tmp_path_factory.mktemp("runs"),
        "folded",
        space,
        data_dir=str(data_dir.resolve()),
        fingerprint=packed.info["fingerprint"],
        versions=versions(),
        baselines=baselines_over_folds(folds),
    )
    record = Record.open(experiment, space)
    for _ in range(space.budget.trials):
        run_trial(record, record.ask(), folds, worse_at=space.budget.epochs)
    return experiment


@pytest.fixture(scope="module")
def exported(folded_search, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "best"
    return folder, export(folded_search, folder, TORCH)[0]


@pytest.fixture
def experiment(folded_search, tmp_path):
    """A copy to change, of which nothing is exported yet."""
    shutil.copytree(folded_search.path, tmp_path / "runs" / folded_search.name)
    shutil.rmtree(tmp_path / "runs" / folded_search.name / "refit", ignore_errors=True)
    return Experiment(tmp_path / "runs" / folded_search.name)


def winner(experiment):
    return min(
        ((trial, row) for trial in experiment.trials() for row in trial.rows),
        key=lambda pair: pair[1]["val_loss"],
    )


def test_the_best_config_is_trained_on_all_voices_up_to_the_best_epoch(
    exported, folded_search, packed, tmp_path
):
    folder, metrics = exported
    trial, row = winner(folded_search)
    assert row["epoch"] < folded_search.space().budget.epochs

    again = trained_on_all(folded_search, trial.number, row["epoch"], all_voices(packed), tmp_path)

    assert (metrics["trial"], metrics["epoch"]) == (trial.number, row["epoch"])
    weights = load_model(folder)[0].state_dict()
    torch.testing.assert_close(weights, again.state_dict(), rtol=0, atol=0)
    assert metrics["trained_in"].startswith(f"folded/refit/{trial.number:04d}_{row['epoch']:06d}_")


def test_its_scores_are_those_over_the_folds_and_on_test(exported, folded_search):
    folder, metrics = exported
    _, row = winner(folded_search)

    assert list(metrics["scores"]) == ["folds", "test"]
    assert metrics["voices"] == {"folds": "new", "test": "new"}
    assert metrics["folded"]["folds"] == 3
    assert metrics["folded"]["scores"]["model"] == validation_scores(row)
    for rows in metrics["scores"].values():
        assert set(rows) == {"mean", "ridge", "statistics", "model"}
    over_folds = metrics["scores"]["folds"]
    assert over_folds["model"]["skill"] == row["val_skill"]
    assert over_folds["ridge"]["skill"] == folded_search.fold_baselines()["ridge"]["skill"]
    low, high = metrics["skill_interval_95"]["folds"]
    assert low < row["val_skill"] < high
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))


def test_provenance_and_card_say_what_it_was_trained_on_and_what_the_scores_are_of(exported):
    folder, _ = exported
    origin = json.loads((folder / "provenance.json").read_text())
    card = (folder / "MODEL_CARD.md").read_text()

    assert (origin["trained_on"], origin["folds"]) == (["train", "val"], 3)
    assert origin["data"]["voices"]["train"] == 32
    assert (
        "The model was trained on all voices of train and val. The scores of *folds* are of" in card
    )
    assert (
        "3 encoders with its settings and epochs, each on voices that it was not trained on" in card
    )


def test_a_verification_scores_the_model_on_test_as_when_it_was_exported(exported):
    found = verify(exported[0])

    assert found.mismatches == []
    assert found.scores == 4 * 8


def test_a_second_export_trains_nothing(exported, folded_search, tmp_path):
    file = next(folded_search.path.glob("refit/*/final_checkpoint.pt"))
    trained_at = file.stat().st_mtime_ns

    export(folded_search, tmp_path / "again", TORCH)

    assert file.stat().st_mtime_ns == trained_at
    for name in ("model.safetensors", "config.yaml", "metrics.json"):
        assert (tmp_path / "again" / name).read_bytes() == (exported[0] / name).read_bytes()


def test_a_stopped_export_goes_on_from_its_last_epoch_and_ends_as_an_uninterrupted_one(
    experiment, exported, packed, tmp_path
):
    choices, told = choose(experiment, 1), []

    def stop(row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"saved; resume with `tune-encoder export folded --root"):
        refit_models(experiment, choices, TORCH, packed, stop)
    (file,) = experiment.path.glob("refit/*/final_checkpoint.pt")
    assert load_state(file)["epoch"] == 2

    refit_models(experiment, choices, TORCH, packed, lambda row: told.append(row["epoch"]))

    assert told == list(range(3, choices[0].row["epoch"] + 1))
    whole, resumed = load_state(exported[0] / "model.pt"), load_state(file)
    for part in ("model", "optimizer", "schedule"):
        torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0)


def test_two_processes_do_not_refit_the_same(experiment, packed, tmp_path):
    refit_models(experiment, choose(experiment, 1), TORCH, packed, lambda row: None)
    (folder,) = experiment.path.glob("refit/*")

    with lock_experiment(folder), pytest.raises(StorageError, match=r"in use by pid \d+ on"):
        export(experiment, tmp_path / "model", TORCH)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("average", dataclasses.replace(TORCH, average=2)),
        ("ensemble", dataclasses.replace(TORCH, ensemble=2)),
        ("refit", dataclasses.replace(TORCH, refit="none")),
        ("refit_seeds", dataclasses.replace(TORCH, refit_seeds=2)),
    ],
)
def test_checkpoints_of_folds_are_neither_combined_nor_exported(
    experiment, tmp_path, name, settings
):
    with pytest.raises(
        ConfigError, match=rf"{name} is (2|none), but folded was scored on folds: its check"
    ):
        export(experiment, tmp_path / "model", settings)
    assert not (experiment.path / "refit").exists()


def test_a_search_over_folds_is_confirmed_and_not_retrained(experiment):
    with pytest.raises(
        ConfigError, match=r"scored on 3 folds of voices, .* `tune-encoder confirm f"
    ):
        plan_retraining(experiment, RetrainSettings())


def test_data_without_test_voices_are_exported_with_the_scores_over_folds(
    experiment, data_dir, tmp_path
):
    shutil.copytree(data_dir, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "test")
    fingerprint = open_pack(pack_data(tmp_path / "two", TrainConfig())).info["fingerprint"]
    content = experiment.read_search()
    experiment.write_search(
        {**content, "data_dir": str(tmp_path / "two"), "fingerprint": fingerprint}
    )

    (metrics,) = export(experiment, tmp_path / "model", TORCH)

    assert list(metrics["scores"]) == ["folds"]
    assert "| folds | new | model |" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert verify(tmp_path / "model").mismatches == []


def test_the_report_shows_the_scores_over_folds_and_says_why_there_is_no_single_winner(experiment):
    page = write_report(experiment).read_text()

    _, row = winner(experiment)
    assert f"On the left-out voices it has a new-voice skill of {row['val_skill']:.3f}" in page
    assert "The winner is 3 encoders, each trained without the voices of one fold" in page
