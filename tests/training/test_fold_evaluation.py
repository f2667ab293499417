import dataclasses
import json
import shutil

import pytest

from tests.fabricate import SMALL_ENCODER
from tune_encoder.cli import main
from tune_encoder.config import to_mapping, write_yaml
from tune_encoder.data.fold_scores import baselines_over_folds
from tune_encoder.data.folds import make_folds
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.experiment.epoch_row import validation_scores
from tune_encoder.training.fold_evaluation import evaluate_over_folds
from tune_encoder.training.folds import train_folds

CONFIG = dataclasses.replace(
    SMALL_ENCODER, epochs=5, batch_size=8, crop_seconds=0.5, epoch_of="clips", use_tensorboard=False
)


@pytest.fixture
def model(data_dir, tmp_path):
    """A model that is the second of five epochs."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = dataclasses.replace(CONFIG, data_dir=str(data_dir))
    (folder / "config.yaml").write_text(write_yaml(to_mapping(config)))
    (folder / "metrics.json").write_text(json.dumps({"epoch": 2}))
    return folder


def ignore(row, last):
    pass


def test_the_settings_of_a_model_are_trained_on_folds_of_its_data_up_to_its_epoch(
    model, packed, tmp_path
):
    told = []

    found = evaluate_over_folds(model, None, 3, lambda row, last: told.append((row["epoch"], last)))

    assert told == [(1, 2), (2, 2)]
    folds = make_folds(packed, 3)
    rows = train_folds(CONFIG, folds, tmp_path / "run", lambda row, state: None).history
    assert found.scores == {**baselines_over_folds(folds), "model": validation_scores(rows[1])}
    assert (found.folds, found.epochs) == (3, 2)


def test_the_command_prints_means_and_standard_errors_beside_the_baselines(
    model, data_dir, tmp_path, capsys
):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(model), "--folds", "2", "--data-dir", str(data_dir)])

    printed = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert printed[0].split() == ["new-voice", "skill", "+-", "ttl", "+-", "dp", "+-"]
    assert [line.split()[0] for line in printed[1:5]] == ["mean", "ridge", "statistics", "model"]
    assert printed[5] == "over 2 folds of voices, 2 epochs each; +-: standard error over folds"
    assert printed[-1] == f"wrote {model / 'evaluation_folds.json'}"
    scores = json.loads((model / "evaluation_folds.json").read_text())["scores"]
    assert f"{scores['model']['skill_ttl_se']:.3f}" == printed[4].split()[4]


@pytest.mark.parametrize("folds", [-1, 0, 1])
def test_fewer_than_two_folds_are_refused(model, folds):
    with pytest.raises(ConfigError, match=f"folds is {folds}; it must be from 2 to the number of"):
        evaluate_over_folds(model, None, folds, ignore)


def test_more_folds_than_voices_are_refused(model):
    with pytest.raises(DataError, match=r"have 32 voices; .* into 33 folds; give at most 32"):
        evaluate_over_folds(model, None, 33, ignore)


def test_a_folder_without_settings_is_refused(model):
    shutil.rmtree(model)

    with pytest.raises(
        StorageError, match=r"model: no usable model \(.*config\.yaml.*\); export it"
    ):
        evaluate_over_folds(model, None, 2, ignore)
