"""The batch script for Slurm, run by a real Slurm of two nodes on this machine."""

import json
import sys
import time
from types import SimpleNamespace

import pytest

from tests.slurm import Slurm, missing
from tune_encoder.cli import main
from tune_encoder.experiment.folder import Experiment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,  # three minutes
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
EPOCHS = 60
SPACE = {
    "budget": {"trials": 2, "epochs": EPOCHS},
    "scheduler": {"name": "none"},
    "searcher": {"closed_form": False},
    "validation": {"voices": 1},
    "report": {"at_end": False},
    "base": {
        "early_stopping_patience": 0,
        "encoder_type": "cnn",
        "hidden_dim": 16,
        "num_layers": 2,
    },
    "space": {"learning_rate": {"float": [1e-3, 1e-2]}},
}


@pytest.fixture(scope="module")
def slurm():
    slurm = Slurm()
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


@pytest.fixture(scope="module")
def search(slurm, data_dir, tmp_path_factory):
    """Prints the script of a search, in a folder of its own, and submits it."""
    folder = tmp_path_factory.mktemp("slurm")
    space = folder / "space.yaml"
    space.write_text(json.dumps(SPACE))

    def prepare(name, capsys):
        words = ["--name", name, "--space", str(space), "--root", str(folder / "runs")]
        with pytest.raises(SystemExit, match="0"):
            main(["submit", "--print", "slurm", *words, "--data-dir", str(data_dir)])
        script = folder / f"{name}.sh"
        script.write_text(capsys.readouterr().out)
        environment = {
            "TUNE_ENCODER_VENV": sys.prefix,
            "RAY_AUTH_TOKEN_PATH": str(folder / "secret" / "token"),
        }
        return SimpleNamespace(
            submit=lambda *options: slurm.submit(script, *options, **environment),
            experiment=Experiment(folder / "runs" / name),
            log=folder / f"{name}.log",
            ray_log=folder / "runs" / f"{name}.ray.log",
            token=folder / "secret" / "token",
        )

    return prepare


def losses(experiment):
    """The validation losses of every epoch on record, by trial."""
    if not experiment.study_path.exists():
        return {}
    return {
        trial.number: [(row["epoch"], row["val_loss"]) for row in trial.rows]
        for trial in experiment.trials()
    }


def wait_for_epochs(search, count, seconds=240):
    """Wait until each of two trials has so many epochs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        known = losses(search.experiment)
        if len(known) == 2 and all(len(rows) >= count for rows in known.values()):
            return known
        time.sleep(0.1)
    raise AssertionError(f"no {count} epochs: {search.log.read_text()}")


def test_a_search_that_is_cancelled_and_submitted_again_ends_with_every_epoch_once(
    slurm, search, capsys
):
    mine = search("mine", capsys)
    first = mine.submit()
    seen = wait_for_epochs(mine, 2)
    slurm.control("scancel", first)
    slurm.wait(first, "CANCELLED", 60)  # and not PENDING, to be started again
    saved = losses(mine.experiment)

    assert "tune-encoder: stopped, everything is saved" in mine.log.read_text()
    assert all(saved[number][: len(rows)] == rows for number, rows in seen.items())
    assert "RUNNING" in {trial.state for trial in mine.experiment.trials()}  # one has not ended

    second = mine.submit()
    slurm.wait(second, "COMPLETED", 400)

    assert_whole(losses(mine.experiment), saved)
    assert (mine.experiment.path / "best" / "model.safetensors").is_file()
    assert mine.ray_log.read_text().count("Ray runtime started") == 2  # a head, and a worker
    assert mine.token.stat().st_mode & 0o777 == 0o600
    assert mine.token.read_text() not in mine.log.read_text()


def assert_whole(final, saved):
    """Each trial has each epoch once, and what was saved before is as it was."""
    assert {number: [epoch for epoch, _ in rows] for number, rows in final.items()} == {
        number: list(range(1, EPOCHS + 1)) for number in range(2)
    }
    assert all(final[number][: len(rows)] == rows for number, rows in saved.items())
