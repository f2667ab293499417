import contextlib
import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pytest

from tests.fabricate import write_wav
from tune_encoder.config import TrainConfig, load_config
from tune_encoder.errors import ConfigError, Interrupted, StorageError
from tune_encoder.training.checkpoints import load_state
from tune_encoder.training.run_folder import periodic_checkpoints, read_checkpoint, train_to_folder


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


def ignore(config, history):
    pass


def rows_of(folder):
    return json.loads((folder / "training_history.json").read_text())


def losses(rows):
    return [(row["epoch"], row["train_loss"], row["val_loss"]) for row in rows]


@pytest.fixture(scope="module")
def run(data_dir, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    config = tiny(data_dir, folder, use_tensorboard=True)
    train_to_folder(config, ignore)
    return folder


def test_a_run_leaves_its_settings_checkpoints_and_metrics(run):
    names = {path.name for path in run.iterdir()}

    assert names == {
        "config.yaml",
        "best_model.pt",
        "final_checkpoint.pt",
        "manifest.json",
        "metrics.jsonl",
        "training_history.json",
        "checkpoint_epoch_5.pt",
        "logs",
        "lock",
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

    train_to_folder(config, ignore)

    assert losses(rows_of(tmp_path)) == losses(rows_of(run))


def test_a_relative_data_folder_is_found_from_the_config_too(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(data_dir.parent)
    config = tiny(data_dir.name, tmp_path / "run", epochs=1)

    train_to_folder(config, ignore)

    assert load_config(tmp_path / "run" / "config.yaml", {}).data_dir == str(data_dir.resolve())


def test_a_relative_folder_of_noise_is_found_from_the_config_too(data_dir, tmp_path, monkeypatch):
    noise = tmp_path / "noise" / "hiss.wav"
    noise.parent.mkdir()
    write_wav(noise, 0.1 * np.random.default_rng(0).standard_normal(24_000))
    monkeypatch.chdir(tmp_path)
    config = tiny(data_dir, tmp_path / "run", epochs=1, augment_copies=1, copy_noise_dir="noise")

    train_to_folder(config, ignore)

    assert load_config(tmp_path / "run" / "config.yaml", {}).copy_noise_dir == str(noise.parent)


def test_a_resumed_run_with_more_epochs_continues_at_the_next(run, tmp_path):
    state, said = read_checkpoint(run / "final_checkpoint.pt")
    changes = {"epochs": 8, "checkpoint_dir": str(tmp_path)}
    watched = []

    config = load_config(None, changes, state["config"])
    train_to_folder(config, lambda config, rows: watched.append(rows[-1]["epoch"]), state)

    assert said == []
    assert watched == [7, 8]
    assert losses(rows_of(tmp_path))[:6] == losses(rows_of(run))
    assert load_state(tmp_path / "final_checkpoint.pt")["epoch"] == 8


class Cut(Exception):
    """What a watcher raises to end a run."""


def cut_after(epoch):
    def watch(config, history):
        if len(history) == epoch:
            raise Cut

    return watch


@pytest.mark.parametrize("epoch", range(1, 6))
def test_a_run_cut_after_any_epoch_and_resumed_ends_with_the_same_weights(
    run, data_dir, tmp_path, epoch
):
    config = tiny(data_dir, tmp_path)
    with pytest.raises(Cut):
        train_to_folder(config, cut_after(epoch))
    state, _ = read_checkpoint(tmp_path / "final_checkpoint.pt")
    train_to_folder(config, ignore, state)

    assert losses(rows_of(tmp_path)) == losses(rows_of(run))
    for name in ("best_model.pt", "final_checkpoint.pt"):
        assert weights_sha256(tmp_path / name) == weights_sha256(run / name)


def weights_sha256(path):
    digest = hashlib.sha256()
    for name, tensor in load_state(path)["model"].items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def test_a_damaged_checkpoint_falls_back_to_the_next_older_and_says_so(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    newest = tmp_path / "run" / "final_checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:-100])

    state, said = read_checkpoint(newest)

    assert state["epoch"] == 5
    assert "final_checkpoint.pt: damaged, its SHA-256" in said[0]
    assert said[0].endswith("resuming from checkpoint_epoch_5.pt, after epoch 5")


def test_a_checkpoint_with_nothing_usable_beside_it_is_refused(run, tmp_path):
    broken = tmp_path / "final_checkpoint.pt"
    broken.write_bytes((run / broken.name).read_bytes()[:-100])
    (tmp_path / "manifest.json").write_bytes((run / "manifest.json").read_bytes())

    with pytest.raises(StorageError, match=r"final_checkpoint\.pt: damaged, its SHA-256"):
        read_checkpoint(broken)


def test_only_the_newest_periodic_checkpoints_are_kept(data_dir, tmp_path):
    train_to_folder(tiny(data_dir, tmp_path, save_interval=1, keep_checkpoints=2), ignore)

    assert [path.name for path in periodic_checkpoints(tmp_path)] == [
        "checkpoint_epoch_5.pt",
        "checkpoint_epoch_6.pt",
    ]
    assert load_state(tmp_path / "best_model.pt")
    assert load_state(tmp_path / "final_checkpoint.pt")["epoch"] == 6


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_processes_train_as_one_does(data_dir, tmp_path):
    """In float32: bfloat16 rounds their halves of a batch by more than this."""
    same = {"dropout": 0.0, "learning_rate": 3e-3, "epochs": 3, "use_amp": False}
    train_to_folder(tiny(data_dir, tmp_path / "one", **same), ignore)
    train_to_folder(tiny(data_dir, tmp_path / "two", **same), ignore, processes=2)

    one, two = (losses(rows_of(tmp_path / name)) for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_error_in_one_of_two_processes_ends_both_with_its_words(data_dir, tmp_path):
    config = tiny(data_dir, tmp_path, batch_size=1)

    with pytest.raises(ConfigError, match=r"a batch has 1 clip for 2 processes; raise batch_si"):
        train_to_folder(config, ignore, processes=2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_its_code_and_how_to_resume(data_dir, tmp_path, number, code):
    def watch(config, history):
        if len(history) == 2:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"the last epoch is saved; resume with `tune-encoder tr"):
        train_to_folder(tiny(data_dir, tmp_path), watch)

    assert load_state(tmp_path / "final_checkpoint.pt")["epoch"] == 2
    assert Interrupted("", number).exit_code == code
    assert signal.getsignal(number) is handler


def test_a_full_disk_ends_a_run_and_says_how_to_resume(data_dir, small_disk):
    folder = small_disk(50)

    def fill(config, history):
        if len(history) == 2:
            with contextlib.suppress(OSError):
                for number in range(50):
                    (folder / f"other{number}").touch()

    said = r"No space left on device.*; make room .*; stopped, the last epoch is saved; resume with"
    with pytest.raises(StorageError, match=said):
        train_to_folder(tiny(data_dir, folder), fill)

    assert load_state(folder / "final_checkpoint.pt")["epoch"] == 2


FAST = """\
# fast_train.yaml
batch_size: 64
epochs: 20
learning_rate: 1e-3
warmup_epochs: 2
early_stopping_patience: 5
save_interval: 2
"""
PRODUCTION = """\
# prod_train.yaml
batch_size: 32
epochs: 200
learning_rate: 5e-5
warmup_epochs: 10
early_stopping_patience: 20
save_interval: 10
gradient_clip: 1.0
use_amp: true
"""


@pytest.mark.parametrize(("text", "rate"), [(FAST, 1e-3), (PRODUCTION, 5e-5)])
def test_the_example_configs_of_the_guide_train(data_dir, tmp_path, text, rate):
    (tmp_path / "guide.yaml").write_text(text)
    small = {"epochs": 2, "hidden_dim": 8, "num_layers": 1, "data_dir": str(data_dir)}
    run = {**small, "checkpoint_dir": str(tmp_path / "run")}

    config = load_config(tmp_path / "guide.yaml", run)
    train_to_folder(config, ignore)

    assert config.learning_rate == rate
    assert [row["epoch"] for row in rows_of(tmp_path / "run")] == [1, 2]


def test_a_folder_that_holds_a_run_is_refused_without_resume(run, data_dir):
    with pytest.raises(
        ConfigError, match=r"already holds a run; resume it with --resume .*final_check"
    ):
        train_to_folder(tiny(data_dir, run), ignore)


def test_more_processes_than_cores_are_refused(data_dir, tmp_path):
    with pytest.raises(ConfigError, match=r"4096 processes on cpu: must be from 1 to \d+"):
        train_to_folder(tiny(data_dir, tmp_path), ignore, processes=4096)
