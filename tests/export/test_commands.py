"""export, verify and retrain as commands, and the same from Python."""

import json
import os
import signal
import sys

import pytest

from tune_encoder import Experiment
from tune_encoder.cli import main
from tune_encoder.config import ExportSettings, from_mapping
from tune_encoder.errors import ConfigError
from tune_encoder.model.folder import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    return said.out


def test_the_command_says_what_was_exported_why_and_how_good_it_is(experiment, best_epoch, capsys):
    root = experiment.path.parent
    said = run(capsys, "export", "made", "--root", root, "--formats", "torch", "--average", "2")

    lines = said.splitlines()
    metrics = json.loads((experiment.path / "best" / "metrics.json").read_text())
    kind = "average of " if metrics["kind"] == "average" else ""
    more = " and 1 more" if kind else ""
    assert lines[1:3] == [
        f"exported: {kind}trial 1, epoch {best_epoch}{more}",
        "because:  the lowest val_loss of 2 trials",
    ]
    assert lines[3].startswith("average of 2: val_loss ")
    assert any(line.split()[:2] == ["model", "test"] for line in lines)
    assert any(line.startswith("new-voice skill on test: 95 % between") for line in lines)
    assert lines[-2] == f"model:     {experiment.path / 'best'}"
    assert max(map(len, lines[:-2])) <= 80


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_finished_search_is_exported_says_how_to_export_it(
    experiment, monkeypatch, capsys, number, code
):
    monkeypatch.setattr(Experiment, "export", lambda *_, **__: os.kill(os.getpid(), number))

    with pytest.raises(SystemExit) as ended:
        main(["resume", "made", "--root", str(experiment.path.parent)])

    assert ended.value.code == code
    assert capsys.readouterr().err == (
        "tune-encoder: stopped, the search is complete; export its model with `tune-encoder export "
        f"made --root {experiment.path.parent}`\n"
    )


def test_the_best_trials_are_folders_the_best_first(experiment, best_epoch, tmp_path, capsys):
    to = tmp_path / "models"
    root = experiment.path.parent
    arguments = ["export", "made", "--root", root, "--to", to, "--top-k", "3", "--formats", "torch"]

    said = run(capsys, *arguments)

    assert sorted(path.name for path in to.iterdir()) == ["1", "2"]
    trials = [json.loads((to / n / "metrics.json").read_text())["trial"] for n in ("1", "2")]
    assert trials == [1, 0]
    for name in ("1", "2"):
        load_model(to / name)
    lines = said.splitlines()
    assert lines[2].startswith(f"1  trial 1, epoch {best_epoch}  ")
    assert lines[3].startswith("2  trial 0, epoch ")
    assert "2 of 3: no other trial has a usable checkpoint" in lines
    assert max(map(len, lines[:-2])) <= 80

    run(capsys, *arguments[:-4], "--formats", "torch")  # an older export of several gives way
    assert (to / "metrics.json").is_file()


def test_python_exports_with_the_options_of_the_command_line(experiment):
    found = Experiment(experiment.path)

    assert found.export(formats="torch", top_k=1) == experiment.path / "best"
    assert (experiment.path / "best" / "provenance.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 3}, r"export\(\): unknown setting 'top'; did you mean 'top_k'\?"),
        ({"top_k": 0}, r"export\(\): top_k is 0; it must be a whole number from 1 to 1000"),
        ({"formats": "tflite"}, r"formats is 'tflite'; it must be one of auto, torch, onnx, "),
        (
            {"formats": "torch", "int8": True},
            r"int8 needs ONNX files, but formats is torch; add onnx",
        ),
        (
            {"top_k": 2, "average": 2},
            r"top_k is 2; average and ensemble make a single model, so set",
        ),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_written(
    experiment, options, message
):
    with pytest.raises(ConfigError, match=message):
        Experiment(experiment.path).export(**options)
    assert not (experiment.path / "best").exists()


def test_onnx_without_its_extra_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)

    with pytest.raises(
        ConfigError, match=r"formats is onnx, but onnxscript cannot be .*tune-encoder\[onnx\]`"
    ):
        from_mapping(ExportSettings, {"formats": "onnx"}, "export()")
    assert not ExportSettings().onnx


@pytest.mark.parametrize("several", ["top_k", "ensemble"])
def test_a_trial_asked_for_together_with_several_is_refused(several):
    with pytest.raises(
        ConfigError, match=r"^export\(\): trial is 3; top_k and ensemble are of sev"
    ):
        from_mapping(ExportSettings, {"trial": 3, several: 2}, "export()")


def test_retraining_prints_its_runs_the_comparison_and_the_export(experiment, capsys):
    root = experiment.path.parent
    arguments = ["--epochs", "2", "--seeds", "2", "--formats", "torch"]

    said = run(capsys, "retrain", "made", "--root", root, *arguments)

    lines = said.splitlines()
    assert lines[0] == "retraining: the lowest val_loss of 2 trials"
    assert lines[1].startswith("2 runs of 2 epochs, in ")
    assert [line.split(",")[0] for line in lines[2:4]] == ["seed 1: 2 epochs", "seed 2: 2 epochs"]
    assert lines[5].startswith("new-voice skill on test: search ")
    assert lines[6].endswith("significant")
    assert lines[8].startswith("exported: trial 1 of made/retrain/")
    assert (experiment.path / "retrained" / "provenance.json").is_file()
