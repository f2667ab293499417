import json

import pytest
import torch

from tune_encoder.checkpoints import load_state
from tune_encoder.config import TrainConfig, load_config, to_mapping
from tune_encoder.errors import StorageError
from tune_encoder.run_folder import prepare, settings_of, train_by_hand


def tiny(data_dir, folder, **changes):
    small = {
        "data_dir": str(data_dir),
        "checkpoint_dir": str(folder),
        "hidden_dim": 8,
        "num_layers": 1,
        "epochs": 6,
        "batch_size": 8,
        "learning_rate": 3e-2,  # too high, so that the best epoch is not the last
        "crop_seconds": 0.5,
        "warmup_epochs": 0.0,
        "device": "cpu",
        "use_tensorboard": False,
    }
    return TrainConfig(**{**small, **changes})


def ignore(row):
    pass


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(rows):
    return [(row["epoch"], row["train_loss"], row["val_loss"]) for row in rows]


@pytest.fixture(scope="module")
def run(data_dir, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    config = tiny(data_dir, folder, use_tensorboard=True)
    train_by_hand(config, prepare(config), ignore)
    return folder


def test_a_run_leaves_its_settings_checkpoints_and_metrics(run):
    names = {path.name for path in run.iterdir()}

    assert names == {
        "config.yaml",
        "best_model.pt",
        "final_checkpoint.pt",
        "manifest.json",
        "metrics.jsonl",
        "logs",
    }
    assert [row["epoch"] for row in rows_of(run)] == [1, 2, 3, 4, 5, 6]


def test_the_best_model_is_that_of_the_lowest_validation_loss(run):
    rows = rows_of(run)
    best = min(rows, key=lambda row: row["val_loss"])

    assert best["epoch"] < 6, "the last epoch is the best, so this test shows nothing"
    assert load_state(run / "best_model.pt")["epoch"] == best["epoch"]
    assert load_state(run / "final_checkpoint.pt")["epoch"] == 6


def test_its_config_trains_again_as_it_is(run, tmp_path):
    config = load_config(run / "config.yaml", {"checkpoint_dir": str(tmp_path)})

    train_by_hand(config, prepare(config), ignore)

    assert losses(rows_of(tmp_path)) == losses(rows_of(run))


def test_a_relative_data_folder_is_found_from_the_config_too(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(data_dir.parent)
    config = tiny(data_dir.name, tmp_path / "run", epochs=1)

    train_by_hand(config, prepare(config), ignore)

    assert load_config(tmp_path / "run" / "config.yaml", {}).data_dir == str(data_dir.resolve())


def test_a_resumed_run_with_more_epochs_goes_on_at_the_next(run, data_dir, tmp_path):
    last = run / "final_checkpoint.pt"
    config = load_config(None, {"epochs": 8}, settings_of(last))
    watched = []

    state = train_by_hand(tiny(data_dir, tmp_path, epochs=8), prepare(config), watched.append, last)

    assert config == tiny(str(data_dir.resolve()), run, epochs=8, use_tensorboard=True)
    assert [row["epoch"] for row in watched] == [7, 8]
    assert losses(rows_of(tmp_path))[:6] == losses(rows_of(run))
    assert load_state(tmp_path / "final_checkpoint.pt")["epoch"] == state.epoch == 8


def test_a_run_cut_short_and_resumed_leaves_the_files_of_an_uninterrupted_one(
    run, data_dir, tmp_path
):
    class Cut(Exception):
        pass

    def cut(row):
        if row["epoch"] == 4:
            raise Cut

    config = tiny(data_dir, tmp_path)
    data = prepare(config)
    with pytest.raises(Cut):
        train_by_hand(config, data, cut)
    train_by_hand(config, data, ignore, tmp_path / "final_checkpoint.pt")

    assert losses(rows_of(tmp_path)) == losses(rows_of(run))
    for name in ("best_model.pt", "final_checkpoint.pt"):
        resumed, whole = load_state(tmp_path / name), load_state(run / name)
        torch.testing.assert_close(resumed["model"], whole["model"], rtol=0, atol=0)


def test_the_settings_of_a_checkpoint_are_those_it_was_trained_with(run, data_dir):
    settings = settings_of(run / "best_model.pt")

    assert settings == to_mapping(tiny(data_dir.resolve(), run, use_tensorboard=True))


def test_a_damaged_checkpoint_is_refused_before_the_folder_is_touched(run, data_dir, tmp_path):
    broken = tmp_path / "final_checkpoint.pt"
    broken.write_bytes((run / broken.name).read_bytes()[:-100])
    (tmp_path / "manifest.json").write_bytes((run / "manifest.json").read_bytes())
    config = tiny(data_dir, tmp_path / "new")

    with pytest.raises(StorageError, match=r"final_checkpoint\.pt: damaged, its SHA-256"):
        train_by_hand(config, prepare(config), ignore, broken)

    assert not (tmp_path / "new").exists()
