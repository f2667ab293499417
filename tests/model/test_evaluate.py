import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.fabricate import write_model, write_wav
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import merge_train_and_val, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.scores import Styles
from tune_encoder.errors import DataError
from tune_encoder.model.encoder import build_encoder
from tune_encoder.model.evaluate import (
    evaluate,
    nearest_voice,
    skill_difference_interval,
    skill_interval,
    write_evaluation,
)

CONFIG = TrainConfig(hidden_dim=8, num_layers=1, crop_seconds=1.0)


@pytest.fixture(scope="module")
def model_dir(packed, tmp_path_factory):
    """An encoder that knows nothing: it predicts the mean voice."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    weights = build_encoder(CONFIG, packed.statistics).state_dict()
    return write_model(folder, CONFIG, weights)


def test_a_model_that_knows_nothing_has_no_skill_and_stands_beside_the_baselines(
    model_dir, data_dir
):
    result = evaluate(model_dir, data_dir, "test")

    assert set(result.scores) == {"mean", "ridge", "statistics", "nearest", "model"}
    assert result.scores["model"]["skill"] == pytest.approx(0, abs=1e-4)
    assert result.voices == "new"
    assert result.interval == pytest.approx((0, 0), abs=1e-4)
    assert result.scores["mean"]["skill"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("is_there", [True, False])
def test_baselines_are_fitted_with_the_copies_of_the_training_if_their_folders_are_there(
    packed, data_dir, tmp_path, is_there
):
    noise = tmp_path / "noise" / "a.wav"
    noise.parent.mkdir()
    write_wav(noise, np.random.default_rng(0).normal(scale=0.1, size=24000))
    config = replace(CONFIG, augment_copies=1, copy_noise_dir=str(noise.parent), copy_room_prob=0.0)
    trained_on = open_pack(pack_data(data_dir, config))
    model = write_model(tmp_path, config, build_encoder(config, packed.statistics).state_dict())
    if not is_there:
        noise.unlink()
        noise.parent.rmdir()

    result = evaluate(model, data_dir, "val")

    expected = trained_on if is_there else packed
    assert trained_on.baselines["statistics"] != packed.baselines["statistics"]
    assert result.scores["statistics"] == expected.baselines["statistics"]
    assert result.warning == (
        ""
        if is_there
        else f"copy_noise_dir is {noise.parent}: no such folder; the baselines are fitted without "
        "copies, with which the model was trained, so they are others than those of its search"
    )


def test_the_numbers_and_the_figure_are_written(model_dir, data_dir, tmp_path):
    numbers, picture = write_evaluation(evaluate(model_dir, data_dir, "val"), tmp_path, "val")

    content = json.loads(numbers.read_text())
    assert content["scores"]["ridge"]["skill"] != 0
    assert len(content["skill_interval_95"]) == 2
    assert picture.name == "evaluation_val.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size > 10_000


def test_a_split_the_data_lacks_is_refused(model_dir, data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "test")

    with pytest.raises(DataError, match=r"two: has no test split; evaluate on val or add test/"):
        evaluate(model_dir, tmp_path / "two", "test")


def test_the_nearest_voice_is_one_of_the_known(packed):
    known = packed.train.styles
    near = Styles(known.ttl[[3, 1]] * 0.99, known.dp[[3, 1]])

    found = nearest_voice(near, known)

    np.testing.assert_array_equal(found.ttl, known.ttl[[3, 1]])


@pytest.mark.parametrize("n_voices", [4, 5])
def test_an_interval_needs_five_voices(packed, n_voices):
    few = replace(
        packed.test,
        starts=packed.test.starts[: n_voices + 1],
        style_ids=packed.test.style_ids[:n_voices],
        voices=packed.test.voices[:n_voices],
    )
    guess, other = (Styles(few.styles.ttl + x, few.styles.dp) for x in (np.float32(0.01), 0))

    alone = skill_interval(guess, few, packed, "new")
    difference = skill_difference_interval(guess, other, few, packed)

    assert (alone is None, difference is None) == (n_voices < 5, n_voices < 5)


@pytest.mark.parametrize("voices", ["known", "mixed"])
def test_on_voices_of_train_there_is_no_interval(packed, voices):
    assert skill_interval(packed.test.styles, packed.test, packed, voices) is None


def test_voices_of_val_are_known_to_a_model_trained_on_it_too(packed):
    merged = merge_train_and_val(replace(packed, val=packed.test))

    assert packed.voice_kind("test") == "new"
    assert merged.voice_kind("test") == "known"
