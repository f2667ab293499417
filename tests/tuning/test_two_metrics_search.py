"""A real search between two metrics and within limits: killed, resumed, exported."""

import json
import signal

import optuna
import pytest

from tests.tuning.conftest import Command
from tune_encoder.experiment.trials import rank_trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LARGEST = 30_000
SPACE = {
    "metric": {"name": "val_loss", "second": "parameters"},
    "budget": {"trials": 6, "epochs": 4},
    "scheduler": {"name": "none"},
    "resources": {"concurrent": 1},
    "searcher": {"name": "nsga2", "startup_trials": 3, "closed_form": True},
    "constraints": {"parameters": {"max": LARGEST}, "clone_ms": {"max": 60_000}},
    "space": {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "hidden_dim": {"choice": [8, 16, 64]},
    },
    "start": [{"learning_rate": 1e-3, "hidden_dim": 64}],
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory, data_dir):
    """A search that was killed after a few epochs and resumed to its end."""
    command = Command(tmp_path_factory.mktemp("two"), data_dir)
    command.stop_after(command.start(*command.search_options(SPACE)), 4, signal.SIGKILL)
    before = command.experiment.trials()
    ended = command.run("resume", "tiny", "--no-export")
    assert ended.returncode == 0, ended.stderr
    return command, before


def test_no_epoch_is_lost_and_no_more_trials_are_trained_than_were_asked_for(killed):
    command, before = killed
    trials = command.experiment.trials()

    assert sum(not trial.refused for trial in trials) == 6
    for old in before:
        now = trials[old.number]
        assert now.settings == old.settings
        assert now.rows[: len(old.rows)] == old.rows
    for trial in trials:
        assert [row["epoch"] for row in trial.rows] == list(range(1, len(trial.rows) + 1))


def test_the_config_that_is_too_large_was_not_trained(killed):
    trials = killed[0].experiment.trials()

    assert trials[0].rows  # the closed form
    assert trials[1].refused
    assert trials[1].settings["hidden_dim"] == 64
    assert all(row["parameters"] <= LARGEST for trial in trials for row in trial.rows)


def test_what_is_measured_is_measured_once_in_a_trial(killed):
    for trial in killed[0].experiment.trials():
        assert len({row["clone_ms"] for row in trial.rows}) == (0 if trial.refused else 1)


def test_optuna_has_both_values_and_the_same_front(killed):
    experiment = killed[0].experiment
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{experiment.study_path}")

    best = json.loads(killed[0].run("best", "tiny", "--json").stdout)

    assert {each.number for each in study.best_trials} == {p["trial"] for p in best["front"]}
    assert study.metric_names == ["val_loss", "parameters"]
    refused = study.trials[1]
    assert refused.constraints["parameters max"] > 0


def test_the_best_by_the_first_metric_is_exported_or_any_that_is_asked_for(killed):
    command = killed[0]
    ranked = rank_trials(command.experiment.trials())

    plain = command.run("export", "tiny", "--formats", "torch")
    asked = command.run(
        "export", "tiny", "--formats", "torch", "--trial", f"{ranked[-1].number}", "--to", "other"
    )

    assert plain.returncode == 0, plain.stderr
    assert asked.returncode == 0, asked.stderr
    said = " ".join(plain.stdout.split())
    assert f"exported: trial {ranked[0].number}, epoch" in said
    assert (
        "the lowest val_loss of 6 trials that keep the constraints; of the parameters of other "
        "trials see `tune-encoder best tiny`, and export one with --trial N"
    ) in said
    assert f"exported: trial {ranked[-1].number}, epoch" in asked.stdout
