"""Runs by hand and retrained seeds in `list` and `status`, from folders made without training."""

import json

import pytest

from tests.builders import MadeSearch
from tune_encoder.cli import main
from tune_encoder.cli.retrain import RetrainingProgress
from tune_encoder.config import TrainConfig, to_mapping, write_yaml
from tune_encoder.experiment.run import Run, find_run
from tune_encoder.system.lock import lock_experiment

LOSSES = [0.9, 0.5, 0.6]


def make_run(folder, losses=LOSSES, epochs=5, finished=False):
    """The folder of a run of these losses."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(write_yaml(to_mapping(TrainConfig(epochs=epochs))))
    rows = [
        {"epoch": n, "val_loss": loss, "val_skill": 1 - loss, "seconds": 4.0, "finished": False}
        for n, loss in enumerate(losses, start=1)
    ]
    if finished:
        rows[-1]["finished"] = True
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "final_checkpoint.pt").write_bytes(b"")
    return folder


def said(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return printed.out.splitlines()


def test_status_of_a_stopped_run_says_how_to_resume_it(tmp_path, capsys):
    folder = make_run(tmp_path / "hand")

    assert said(capsys, "status", folder) == [
        "hand: a run by hand, stopped",
        "epochs: 3 of 5 epochs",
        "best:   epoch 2, val loss 0.5000, skill 0.500",
        "",
        f"resume it:  tune-encoder train --resume {folder / 'final_checkpoint.pt'}",
    ]


def test_status_of_a_finished_run_says_how_to_export_it(tmp_path, capsys):
    folder = make_run(tmp_path / "hand", finished=True)

    lines = said(capsys, "status", "hand", "--root", tmp_path)

    assert lines[0] == "hand: a run by hand, finished"
    assert lines[-1] == f"export it:  tune-encoder export {folder}"


def test_status_of_a_running_run_says_how_long_it_will_take(tmp_path, capsys):
    folder = make_run(tmp_path / "hand")
    with lock_experiment(folder):
        lines = said(capsys, "status", folder)
        view = json.loads("\n".join(said(capsys, "status", folder, "--json")))

    assert lines[0].startswith("hand: a run by hand, running, pid ")
    assert lines[1] == "epochs: 3 of 5 epochs, 0:08 left"
    assert (view["state"], view["epochs"], view["epochs_budget"]) == ("running", 3, 5)
    assert view["best"] == {"epoch": 2, "val_loss": 0.5, "skill": 0.5}
    assert view["seconds_left"] == 8.0


def test_a_run_that_has_just_begun_has_no_best_epoch(tmp_path, capsys):
    folder = make_run(tmp_path / "hand", losses=[])
    (folder / "final_checkpoint.pt").unlink()
    (folder / "metrics.jsonl").unlink()
    with lock_experiment(folder):
        lines = said(capsys, "status", folder)

    assert lines[1:3] == ["epochs: 0 of 5 epochs", ""]


def test_watching_a_run_that_has_ended_shows_its_end(tmp_path, capsys):
    folder = make_run(tmp_path / "hand", finished=True)

    assert said(capsys, "status", folder, "--watch")[0] == "hand: a run by hand, finished"


def test_list_names_runs_by_hand_below_the_experiments(tmp_path, capsys):
    MadeSearch(tmp_path, name="mine").trial([0.4])
    make_run(tmp_path / "hand")
    make_run(tmp_path / "broken")
    (tmp_path / "broken" / "metrics.jsonl").write_text("{")

    lines = said(capsys, "list", "--root", tmp_path)

    assert lines[1].startswith("mine  ")
    assert lines[2:] == ["", "runs by hand", "hand  stopped  3 of 5 epochs  0.500"]
    entries = json.loads("\n".join(said(capsys, "list", "--root", tmp_path, "--json")))
    assert [entry["name"] for entry in entries] == ["mine", "hand"]


def test_status_of_a_search_shows_its_retraining(tmp_path, capsys):
    experiment = MadeSearch(tmp_path, name="mine").experiment
    make_run(experiment.path / "retrain" / "4f0c9a51" / "0001", finished=True)
    make_run(experiment.path / "retrain" / "4f0c9a51" / "0002", losses=LOSSES[:1])
    with lock_experiment(experiment.path / "retrain" / "4f0c9a51"):
        lines = said(capsys, "status", "mine", "--root", tmp_path)

    best = "best epoch 2, val loss 0.5000, skill 0.500"
    assert f"retraining 4f0c9a51/0001: finished, 3 of 5 epochs, {best}" in lines
    best = "best epoch 1, val loss 0.9000, skill 0.100"
    assert f"retraining 4f0c9a51/0002: running, 1 of 5 epochs, 0:16 left, {best}" in lines


def test_an_experiment_comes_before_a_run_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "mine")

    assert find_run(tmp_path / "runs", "mine") == Run((tmp_path / "mine").relative_to(tmp_path))
    MadeSearch(tmp_path / "runs", name="mine")
    assert find_run(tmp_path / "runs", "mine") is None


def test_retraining_prints_a_line_now_and_then_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr("tune_encoder.cli.retrain.PLAIN_LINE_S", 0.0)

    def row(epoch, loss, finished=False):
        scores = {"val_loss": loss, "val_skill": 1 - loss}
        return {"epoch": epoch, **scores, "seconds": 30.0, "finished": finished}

    with RetrainingProgress(4, with_skill=True) as progress:
        progress.watch(1, row(1, 0.4))
        progress.watch(1, row(2, 0.6, finished=True))
        progress.watch(2, row(1, 0.7))

    assert capsys.readouterr().out.splitlines() == [
        "seed 1: epoch 1, best 0.600, 1:30 left",
        "seed 1: 2 epochs, final skill on val 0.400",
        "seed 2: epoch 1, best 0.300, 0:30 left",
    ]
