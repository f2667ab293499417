"""A search of few voices: its trials are scored on folds, without being told to."""

import json
from types import SimpleNamespace

import pytest

from tests.tuning.conftest import Command
from tune_encoder.experiment.folder import Experiment
from tune_encoder.model.folder import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

CHANGES = {
    "budget": {"trials": 2, "epochs": 2},
    "scheduler": {"name": "none"},
    "searcher": {"closed_form": True},
    "resources": {"concurrent": 1},
    "validation": {},
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory, data_dir):
    """A search that was not told what to score its trials on, its confirmation and its export."""
    command = Command(tmp_path_factory.mktemp("folds"), data_dir)
    options = [each for each in command.search_options(CHANGES) if each != "--no-export"]
    ended = command.run(*options)
    assert ended.returncode == 0, ended.stderr
    confirmed = command.run("confirm", "tiny", "--top", "1", "--seeds", "2")
    assert confirmed.returncode == 0, confirmed.stderr
    return SimpleNamespace(command=command, out=ended.stdout)


def test_the_choice_is_said_in_a_line_beside_the_baselines_over_the_folds(searched):
    lines = searched.out.splitlines()

    assert "validation: 10 folds of 32 voices, each voice left out once" in lines
    baselines = [line for line in lines if line.startswith("baseline ")]
    assert [line.split()[1] for line in baselines] == ["mean:", "ridge:", "statistics:"]
    assert all(line.endswith(" over 10 folds") and "+-" in line for line in baselines)


def test_the_choice_is_stored_and_a_confirmation_takes_it_over(searched):
    experiment = searched.command.experiment
    (confirming,) = (Experiment(path.parent) for path in experiment.path.glob("confirm/*/study.db"))

    for each in (experiment, confirming):
        assert each.space().validation.voices == each.n_folds() == 10
        assert sorted(each.fold_baselines() or ()) == ["mean", "ridge", "statistics"]
        for trial in each.trials():
            assert trial.state == "COMPLETE"
            assert trial.rows[0]["val_skill_ttl_se"] > 0


def test_the_closed_form_is_fitted_in_every_fold_and_scored_as_its_baseline(searched):
    experiment = searched.command.experiment
    row = experiment.trials()[0].rows[0]

    baseline = (experiment.fold_baselines() or {})["statistics"]
    assert row["val_skill"] == pytest.approx(baseline["skill"], abs=0.05)


def test_the_export_is_one_encoder_of_all_voices_and_says_so(searched):
    folder = searched.command.experiment.path / "best"
    metrics = json.loads((folder / "metrics.json").read_text())

    assert metrics["folded"]["folds"] == 10
    assert "skill on folds" in searched.out
    assert load_model(folder)[0] is not None


def test_the_status_shows_the_standard_error(searched):
    shown = searched.command.run("status", "tiny")

    assert " +- " in next(line for line in shown.stdout.splitlines() if line.startswith("best"))
