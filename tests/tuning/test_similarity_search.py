"""A real search between the loss and the similarity by ear."""

import json
import shutil

import pytest

from tests.tuning.conftest import Command

pytestmark = [pytest.mark.weights, pytest.mark.slow, pytest.mark.timeout(300)]


def space_of(model_dir):
    return {
        "metric": {"name": "val_loss", "second": "val_similarity"},
        "budget": {"trials": 3, "epochs": 3},
        "scheduler": {"name": "none"},
        "searcher": {"name": "random", "closed_form": True},
        "constraints": {"val_similarity": {"min": 0.1}},
        "resources": {"concurrent": 1},
        "similarity": {"model_dir": str(model_dir), "every": 100, "voices": 2, "sentences": 1},
        "space": {"learning_rate": {"float": [1e-3, 1e-1], "log": True}},
    }


@pytest.fixture(scope="module")
def searched(tmp_path_factory, spoken_set, stand_in):
    folder = tmp_path_factory.mktemp("similarity")
    shutil.copytree(stand_in, folder / "models")
    command = Command(folder, spoken_set)
    ended = command.run(*command.search_options(space_of("models")))
    assert ended.returncode == 0, ended.stderr
    return command


def test_each_trial_is_heard_at_its_first_and_its_last_epoch(searched):
    closed_form, *networks = searched.experiment.trials()

    assert len(closed_form.rows) == 1
    assert closed_form.rows[0]["val_similarity"] > 0.5
    assert len(networks) == 2
    for trial in networks:
        first, second, last = (row["val_similarity"] for row in trial.rows)
        assert first == second != last
        assert all(0 < each <= 1 for each in (first, last))
    assert not any(row.get("violation") for trial in networks for row in trial.rows)


def test_best_has_a_front_of_which_no_trial_is_better_in_both(searched):
    best = json.loads(searched.run("best", "tiny", "--json").stdout)
    shown = searched.run("best", "tiny").stdout

    values = [list(point["values"].values()) for point in best["front"]]
    assert [*best["front"][0]["values"]] == ["val_loss", "val_similarity"]
    ends = [(row["val_loss"], row["val_similarity"]) for row in bests(searched)]
    for loss, similarity in values:
        assert not any(other < loss and more > similarity for other, more in ends)
    assert best["scores"]["val_similarity"] == values[0][1]
    assert f"similarity, by ear  {values[0][1]:.3f}" in shown
    assert "no trial is better in both metrics than one of these:" in shown


def bests(command):
    return [trial.best for trial in command.experiment.trials() if trial.best]


def test_without_its_model_the_search_is_not_resumed_and_nothing_is_written(searched):
    models = searched.folder / "models"
    before = (searched.experiment.path / "search.yaml").read_bytes()
    models.rename(searched.folder / "away")
    try:
        refused = searched.run("resume", "tiny", "--trials", "5")
    finally:
        (searched.folder / "away").rename(models)

    assert refused.returncode == 4
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"tune-encoder: val_similarity: {models.resolve()}: has no onnx/tts")
    assert (searched.experiment.path / "search.yaml").read_bytes() == before
