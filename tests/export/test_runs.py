"""A run by hand as a model: exported, verified, evaluated, cloned with."""

import dataclasses
import json
import shutil
from typing import Any

import numpy as np
import pytest

from tests.export.conftest import TORCH
from tests.fabricate import write_wav
from tests.training.test_run_folder import ignore, tiny, weights_sha256
from tune_encoder import Run
from tune_encoder.cli import main
from tune_encoder.config import load_config
from tune_encoder.errors import ConfigError, SearchFailed, StorageError
from tune_encoder.experiment import run as on_disk
from tune_encoder.export.runs import export_run
from tune_encoder.export.verifying import verify
from tune_encoder.training.checkpoints import load_state
from tune_encoder.training.run_folder import train_to_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # the first trains and exports


@pytest.fixture(scope="module")
def trained(data_dir, cache, tmp_path_factory):
    """The folder of a run whose best epoch is not its last; copy it before changing it."""
    folder = tmp_path_factory.mktemp("by_hand") / "hand"
    train_to_folder(tiny(data_dir, folder, save_interval=1, keep_checkpoints=100), ignore)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy to change."""
    shutil.copytree(trained, tmp_path / "hand")
    return on_disk.Run(tmp_path / "hand")


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    to = tmp_path_factory.mktemp("exported") / "model"
    export_run(on_disk.Run(trained), to, TORCH)
    return to


def best_row(run):
    return min(run.rows(), key=lambda row: row["val_loss"])


def command(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return ended.value.code, capsys.readouterr()


def test_the_best_epoch_of_a_run_is_exported_with_its_scores_beside_the_baselines(model, trained):
    metrics = json.loads((model / "metrics.json").read_text())
    best = best_row(on_disk.Run(trained))

    assert best["epoch"] < 6, "the last epoch is the best, so this test shows nothing"
    assert (metrics["experiment"], metrics["trained_in"]) == ("hand", "hand")
    assert metrics["trial"] is None
    assert (metrics["epoch"], metrics["seed"]) == (best["epoch"], 0)
    assert metrics["why"] == "the lowest val_loss of 6 epochs"
    assert metrics["run"]["epochs"] == metrics["run"]["budget"] == 6
    assert metrics["run"]["settings"]["hidden_dim"] == 8
    assert set(metrics["versions"]) == {"tune-encoder", "torch", "numpy"}
    for scores in metrics["scores"].values():
        assert {"mean", "ridge", "model"} <= set(scores)
    assert metrics["scores"]["val"]["model"]["loss"] == pytest.approx(best["val_loss"], abs=1e-4)
    assert weights_sha256(model / "model.pt") == weights_sha256(trained / "best_model.pt")
    assert verify(model).mismatches == []


def test_the_card_says_that_it_was_one_run(model):
    card = (model / "MODEL_CARD.md").read_text()

    assert "| checkpoint | the run hand, epoch " in card
    assert "One run by hand with seed 0, without a search: 6 epochs of at most 6, 0:0" in card
    assert "| hidden_dim | 8 |" in card
    assert "| val | new | ridge |" in card


def test_the_exported_config_trains_the_same_again(model, trained, tmp_path):
    config = load_config(model / "config.yaml", {})
    assert config.checkpoint_dir == "checkpoints"

    train_to_folder(load_config(model / "config.yaml", {"checkpoint_dir": str(tmp_path)}), ignore)

    assert weights_sha256(tmp_path / "best_model.pt") == weights_sha256(trained / "best_model.pt")


def test_a_damaged_best_checkpoint_gives_way_to_the_next_best(run, tmp_path):
    epochs = [row["epoch"] for row in sorted(run.rows(), key=lambda row: row["val_loss"])]
    for name in ("best_model.pt", f"checkpoint_epoch_{epochs[0]}.pt"):
        (run.path / name).write_bytes((run.path / name).read_bytes()[:-100])

    metrics = export_run(run, tmp_path / "model", TORCH)

    assert metrics["epoch"] == epochs[1]
    assert metrics["why"] == "the lowest val_loss of 6 epochs with a usable checkpoint"


def test_a_run_without_a_usable_checkpoint_is_refused_with_what_to_do(run, tmp_path):
    for path in run.path.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(
        SearchFailed, match=r"hand: no usable checkpoint \(.*best_model.pt: damaged.*train --resume"
    ):
        export_run(run, tmp_path / "model", TORCH)


def test_a_run_whose_data_has_changed_is_refused(run, data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "other")
    next((tmp_path / "other" / "train").iterdir()).unlink()
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace(str(data_dir.resolve()), str(tmp_path / "other")))

    with pytest.raises(
        StorageError, match=r"other: not the data that hand was trained on; restore"
    ):
        export_run(run, tmp_path / "model", TORCH)


@pytest.mark.parametrize("option", ["top_k", "average", "ensemble"])
def test_several_checkpoints_of_one_run_are_refused(trained, tmp_path, option):
    changes: dict[str, Any] = {option: 2}
    settings = dataclasses.replace(TORCH, **changes)

    with pytest.raises(ConfigError, match=r"hand: is one run, of which the best epoch is exported"):
        export_run(on_disk.Run(trained), tmp_path / "model", settings)


def test_a_damaged_file_of_epochs_is_refused_with_what_to_do(run, tmp_path):
    (run.path / "metrics.jsonl").write_text("{")

    with pytest.raises(StorageError, match=r"metrics.jsonl: damaged; resume the run, which writes"):
        export_run(run, tmp_path / "model", TORCH)


def test_the_command_leads_from_a_run_to_a_clone(run, data_dir, voices, tmp_path, capsys):
    write_wav(tmp_path / "voice.wav", np.tile(voices[0], 3)[:96000])
    code, said = command(capsys, "export", run.path, "--formats", "torch")
    assert code == 0, said.err
    lines = said.out.splitlines()
    assert lines[1] == f"exported: the run hand, epoch {best_row(run)['epoch']}"
    assert lines[-2] == f"model:     {run.path / 'best'}"

    code, said = command(capsys, "evaluate", run.path / "best", "--data-dir", data_dir)
    assert code == 0, said.err
    to = ["-o", tmp_path / "v.json"]
    code, said = command(capsys, "clone", run.path / "best", tmp_path / "voice.wav", *to)
    assert code == 0, said.err
    assert set(json.loads((tmp_path / "v.json").read_text())) >= {"style_ttl", "style_dp"}


def test_a_run_within_the_root_of_experiments_is_exported_by_its_name(run, capsys):
    code, said = command(capsys, "export", "hand", "--root", run.path.parent, "--formats", "torch")

    assert code == 0, said.err
    assert (run.path / "best" / "model.safetensors").is_file()


def test_python_exports_a_run_and_has_its_curve(run):
    found = Run(run.path)

    assert list(found.curve()["epoch"]) == [1, 2, 3, 4, 5, 6]
    assert found.export(formats="torch") == run.path / "best"
    assert load_state(run.path / "best" / "model.pt")["epoch"] == best_row(run)["epoch"]
    with pytest.raises(ConfigError, match=r"best: no run here; name the checkpoint_dir of a"):
        Run(run.path / "best")


@pytest.mark.parametrize("words", [["evaluate"], ["clone", "-o", "v.json"], ["verify"]])
def test_a_run_or_experiment_instead_of_a_model_is_refused_with_what_leads_there(
    run, experiment, capsys, words
):
    for folder, leads in (
        (run.path, f"a run, not a model; make one with `tune-encoder export {run.path}`"),
        (experiment.path, "an experiment, not a model; make one with `tune-encoder export made --"),
    ):
        wav = ["voice.wav"] if words[0] == "clone" else []
        code, said = command(capsys, words[0], folder, *wav, *words[1:])

        assert code == 4
        assert said.err.startswith(f"tune-encoder: {folder}: {leads}")
        assert said.err.count("\n") == 1
    (run.path / "best").mkdir()
    (run.path / "best" / "provenance.json").write_text("{}")
    _, said = command(capsys, words[0], run.path, *wav, *words[1:])
    assert (
        said.err
        == f"tune-encoder: {run.path}: a run, not a model; its model is {run.path / 'best'}\n"
    )
