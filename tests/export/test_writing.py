import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import torch
from safetensors.torch import load_file

from tests.export.conftest import TORCH, change_row, rows_by_loss
from tune_encoder.config import TrainConfig, from_mapping, load_config
from tune_encoder.errors import ConfigError, DataError, SearchFailed, StorageError
from tune_encoder.export import export
from tune_encoder.model.folder import load_model
from tune_encoder.system.manifest import PROVENANCE
from tune_encoder.training.checkpoints import load_state
from tune_encoder.training.run_folder import train_to_folder
from tune_encoder.tuning.start import versions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # the first trains and exports
SCORES = {
    *("skill", "skill_se", "skill_ttl", "skill_dp"),
    *("centered_cosine", "retrieval", "retrieval_chance", "loss"),
}


def test_an_export_is_a_folder_of_settings_weights_checkpoint_and_scores(exported):
    folder, metrics = exported

    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "model.safetensors",
        "model.pt",
        "voices.npz",
        "novelty.npz",
        "metrics.json",
        "provenance.json",
        "MODEL_CARD.md",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["best"]
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_the_scores_stand_beside_baselines_cost_and_origin(exported, searched, packed):
    _, metrics = exported

    assert set(metrics["scores"]) == {"val", "test"}
    for scores in metrics["scores"].values():
        assert set(scores) == {"mean", "ridge", "statistics", "model"}
        assert all(set(each) == SCORES for each in scores.values())
        assert scores["mean"]["skill"] == pytest.approx(0, abs=1e-6)
    assert metrics["scores"]["val"]["ridge"]["skill"] == packed.baselines["ridge"]["skill"]
    assert metrics["experiment"] == "made"
    assert metrics["search"]["trials"] == {"COMPLETE": 2}
    assert metrics["search"]["epochs"] == sum(len(trial.rows) for trial in searched.trials())
    assert metrics["search"]["trial_hours"] >= 0
    assert metrics["seed"] == 0
    assert metrics["fingerprint"] == packed.info["fingerprint"]
    assert metrics["versions"] == versions()


def test_the_best_epoch_of_all_trials_is_exported_and_not_the_last(exported, searched):
    folder, metrics = exported
    trial, row = rows_by_loss(searched)[0]
    assert row["epoch"] < len(trial.rows), "the last epoch is the best, so this test shows nothing"

    assert (metrics["trial"], metrics["epoch"]) == (trial.number, row["epoch"])
    assert metrics["scores"]["val"]["model"]["skill"] == pytest.approx(row["val_skill"], abs=1e-5)
    state = load_state(folder / "model.pt")
    assert state["epoch"] == row["epoch"]
    weights = load_file(folder / "model.safetensors")
    torch.testing.assert_close(weights, dict(state["model"]), rtol=0, atol=0)


def test_the_exported_config_trains_the_same_again(exported, searched, tmp_path):
    folder, metrics = exported
    rows = searched.trials()[metrics["trial"]].rows
    config = load_config(folder / "config.yaml", {"checkpoint_dir": str(tmp_path)})

    watched: list[float] = []

    train_to_folder(config, lambda config, history: watched.append(history[-1]["val_loss"]))

    assert watched == [row["val_loss"] for row in rows]


def test_a_damaged_best_checkpoint_gives_way_to_the_next_and_the_target_is_replaced(
    experiment, tmp_path
):
    (_, best), (trial, second), *_ = rows_by_loss(experiment)
    damaged = experiment.checkpoint_file(best)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    target = tmp_path / "target"
    target.mkdir()
    (target / "model.safetensors").write_text("old")

    (metrics,) = export(experiment, target, TORCH)

    assert (metrics["trial"], metrics["epoch"]) == (trial.number, second["epoch"])
    assert (target / "model.safetensors").stat().st_size > 1000
    assert (target / "metrics.json").exists()


def test_a_score_that_cannot_be_reproduced_is_refused_and_the_old_export_stays(
    experiment, tmp_path
):
    trial, best = rows_by_loss(experiment)[0]
    change_row(experiment, trial.number, {**best, "val_loss": best["val_loss"] - 0.1})
    target = tmp_path / "target"
    target.mkdir()
    (target / "model.safetensors").write_text("old")

    claimed = f"{best['val_loss'] - 0.1:.5f}"
    with pytest.raises(
        StorageError,
        match=rf"has a loss of .* on val, its trial had {claimed}; check whether the data or",
    ):
        export(experiment, target, TORCH)

    assert [path.name for path in target.iterdir()] == ["model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "target"]


def test_data_that_is_gone_is_named_and_the_old_export_stays(experiment, tmp_path):
    text = (experiment.path / "search.yaml").read_text()
    moved = text.replace(experiment.read_search()["data_dir"], str(tmp_path / "gone"))
    (experiment.path / "search.yaml").write_text(moved)
    target = tmp_path / "target"
    target.mkdir()
    (target / "model.safetensors").write_text("old")

    with pytest.raises(DataError, match=r"gone: no such folder; it must hold train/ and val/"):
        export(experiment, target, TORCH)

    assert [path.name for path in target.iterdir()] == ["model.safetensors"]


def test_data_that_has_changed_are_refused(experiment, tmp_path):
    text = (experiment.path / "search.yaml").read_text()
    other = text.replace(experiment.read_search()["fingerprint"], "of-other-data")
    (experiment.path / "search.yaml").write_text(other)

    with pytest.raises(
        StorageError, match=r"demo: not the data that the search began with; restore it"
    ):
        export(experiment, tmp_path / "target", TORCH)

    assert not (tmp_path / "target").exists()


def test_a_stopped_search_without_any_checkpoint_is_advised_to_resume(experiment, tmp_path):
    shutil.rmtree(experiment.checkpoints)
    with closing(sqlite3.connect(experiment.study_path)) as database, database:
        database.execute("UPDATE trials SET state = 'RUNNING' WHERE number = 1")

    with pytest.raises(
        SearchFailed,
        match=r"no trial has a usable checkpoint; continue with `tune-encoder resume made --root",
    ):
        export(experiment, tmp_path / "target", TORCH)

    assert not (tmp_path / "target").exists()


def test_a_failed_trial_is_not_exported_however_good(experiment, tmp_path):
    with closing(sqlite3.connect(experiment.study_path)) as database, database:
        database.execute("UPDATE trials SET state = 'FAIL'")

    with pytest.raises(SearchFailed, match="no trial has a usable checkpoint"):
        export(experiment, tmp_path / "target", TORCH)


def test_the_recorded_settings_of_a_trial_are_a_whole_config(searched):
    trial, _ = rows_by_loss(searched)[0]

    config = from_mapping(TrainConfig, trial.settings, "trial")

    assert config.learning_rate == 1.0e-2
    assert config.epochs == 6


def test_a_folder_that_holds_no_model_is_never_replaced(experiment, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")

    with pytest.raises(ConfigError, match=r"mine: exists and is not empty; remove it or name ano"):
        export(experiment, tmp_path / "mine", TORCH)

    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


# --- killed in the middle ------------------------------------------------------------------------


DEADLINE_S = 60


def killed_once(experiment, target, name):
    """Start an export and kill it as soon as the file `name` has been written."""
    root = experiment.path.parent
    command = ["export", experiment.name, "--root", str(root), "--to", str(target)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_encoder", *command, "--formats", "torch"],
        start_new_session=True,  # its checking process dies with it
        stdout=subprocess.DEVNULL,
    )
    began = time.monotonic()
    while not list(target.parent.glob(f".{target.name}.{process.pid}.partial/{name}")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() - began < DEADLINE_S
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    return process.pid


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("before_any", "before_another"),
    [
        ("model.safetensors", "metrics.json"),
        ("metrics.json", "model.safetensors"),
    ],
)
def test_a_kill_leaves_none_or_the_old_folder_and_the_next_export_tidies_up(
    experiment, exported, tmp_path, before_any, before_another
):
    target = tmp_path / "models" / "best"

    first = killed_once(experiment, target, before_any)
    assert [path.name for path in target.parent.iterdir()] == [f".best.{first}.partial"]

    target.mkdir()
    for path in exported[0].iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    killed_once(experiment, target, before_another)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before

    export(experiment, target, TORCH)
    assert [path.name for path in target.parent.iterdir()] == ["best"]
    assert (target / PROVENANCE).read_bytes() != before[PROVENANCE]  # made at another time
    load_model(target)
