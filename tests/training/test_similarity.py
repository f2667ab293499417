"""`val_similarity`: what is spoken and heard, when, and that it disturbs nothing."""

import dataclasses
from functools import partial
from statistics import fmean

import numpy as np
import pytest
import torch

from tests.speech.stand_in import write_stand_in
from tests.training.runs import (
    CPU,
    assert_equal_folds,
    assert_equal_runs,
    ignore,
    tiny,
    train_in_parts,
)
from tune_encoder.config import SimilaritySettings
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.folds import make_folds
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import DataError
from tune_encoder.experiment.epoch_row import as_row
from tune_encoder.model.prediction import predict_pack
from tune_encoder.space.listening import Listening
from tune_encoder.training.folds import train_folds
from tune_encoder.training.logs import Logged
from tune_encoder.training.loop import train
from tune_encoder.training.similarity import (
    _open,
    chosen_clips,
    measure_similarity,
    newest_similarity,
    share_out,
)
from tune_encoder.training.state import start_run

CONFIG = tiny(epochs=5, learning_rate=0.02)


@pytest.fixture(scope="module")
def data(spoken_set, cache):
    return open_pack(pack_data(spoken_set, CONFIG))


@pytest.fixture(scope="module")
def settings(stand_in):
    return SimilaritySettings(model_dir=str(stand_in), every=2, voices=2, sentences=1)


@pytest.fixture(scope="module")
def logged(settings):
    return Logged(listening=Listening(settings))


@pytest.fixture(scope="module")
def mean_voice(data):
    """An encoder before its first step, which predicts the mean voice."""
    return start_run(CONFIG, data, CPU)


@pytest.fixture(scope="module")
def whole(data, logged, tmp_path_factory):
    """A run that nothing interrupts, and that is listened to."""
    return train(CONFIG, data, tmp_path_factory.mktemp("whole"), ignore, logged=logged)


def similarities(state):
    return [row["val_similarity"] for row in state.history]


# --- what is heard -------------------------------------------------------------------------------


@pytest.mark.weights
def test_a_voice_that_is_predicted_as_it_is_has_a_similarity_of_1(mean_voice, data, settings):
    predicted = predict_pack(mean_voice.model, data.val, crop_frames(CONFIG), CPU)
    ids = np.arange(len(data.val))
    perfect = dataclasses.replace(data.val, unique_styles=predicted, style_ids=ids)

    assert measure_similarity([(mean_voice, perfect)], settings) == pytest.approx(1, abs=1e-5)


@pytest.mark.weights
def test_the_mean_voice_is_less_like_other_voices(mean_voice, data, settings):
    assert 0.3 < measure_similarity([(mean_voice, data.val)], settings) < 0.95


@pytest.mark.weights
def test_a_predicted_style_in_which_nothing_is_heard_counts_as_0(data, settings):
    broken = start_run(CONFIG, data, CPU)
    for weight in broken.model.parameters():
        torch.nn.init.constant_(weight, float("nan"))

    assert measure_similarity([(broken, data.val)], settings) == 0


@pytest.mark.weights
def test_a_true_style_in_which_nothing_is_heard_is_an_error(mean_voice, data, settings, tmp_path):
    silent = write_stand_in(tmp_path / "silent", level=0.0)
    asked = dataclasses.replace(settings, model_dir=str(silent))

    said = rf"^voice {data.val.voices[0]}: Supertonic's speech in its style is silent"
    with pytest.raises(DataError, match=said):
        measure_similarity([(mean_voice, data.val)], asked)


@pytest.mark.weights
def test_the_models_and_the_true_voices_are_kept_and_nothing_else(mean_voice, data, settings):
    for seed in (1, 2):
        other = start_run(dataclasses.replace(CONFIG, seed=seed), data, CPU)
        measure_similarity([(other, data.val)], settings)

    ear = _open(settings)
    assert ear is _open(dataclasses.replace(settings))
    assert len(ear._known) == settings.voices


def test_the_voices_are_spread_evenly_and_each_is_heard_in_its_first_clip(packed):
    assert [*chosen_clips(packed.val, 1)] == [0]
    assert [*chosen_clips(packed.val, 4)] == [0, 2, 5, 7]
    assert [*chosen_clips(packed.val, 100)] == [*range(8)]
    twice = dataclasses.replace(packed.val, voices=[*"aabbccdd"])
    assert [*chosen_clips(twice, 2)] == [0, 6]


# --- when ----------------------------------------------------------------------------------------


@pytest.mark.weights
def test_between_two_measurements_a_row_has_the_value_of_the_one_before(whole):
    first, second, third, fourth, last = similarities(whole)

    assert third == second
    assert len({first, second, fourth, last}) == 4


@pytest.mark.weights
@pytest.mark.parametrize(
    ("epoch", "finished", "rungs", "is_measured"),
    [(3, False, (), False), (3, True, (), True), (3, False, (3,), True), (4, False, (), True)],
)
def test_the_last_epoch_and_those_of_rungs_are_measured(
    mean_voice, data, settings, epoch, finished, rungs, is_measured
):
    state = dataclasses.replace(mean_voice)
    state.history = [
        as_row({"epoch": epoch - 1, "val_similarity": 0.123, "finished": False}),
        as_row({"epoch": epoch, "finished": finished}),
    ]

    found = newest_similarity(state, [(state, data.val)], Listening(settings, rungs))

    assert (found["val_similarity"] != 0.123) == is_measured


@pytest.mark.weights
def test_listening_changes_no_weight_and_no_other_number(whole, data, tmp_path):
    plain = train(CONFIG, data, tmp_path, ignore)

    assert "val_similarity" not in plain.history[0]
    for row in plain.history:
        row["val_similarity"] = whole.history[row["epoch"] - 1]["val_similarity"]
    assert_equal_runs(whole, plain)


@pytest.mark.weights
def test_a_run_that_was_cut_has_the_rows_of_one_that_was_not(whole, data, logged, tmp_path):
    cut = train_in_parts(CONFIG, data, tmp_path, (2, 3), partial(train, logged=logged))

    assert_equal_runs(cut, whole)


# --- folds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "n_parts", "shares"),
    [(4, 1, [4]), (4, 3, [1, 1, 2]), (2, 5, [0, 0, 1, 0, 1]), (7, 2, [3, 4])],
)
def test_voices_are_shared_out_over_folds(count, n_parts, shares):
    assert share_out(count, n_parts) == shares


@pytest.mark.weights
def test_each_fold_is_heard_on_the_voices_that_it_left_out(data, settings, tmp_path):
    folds = make_folds(data, 2)
    asked = dataclasses.replace(settings, voices=3)
    logged = Logged(listening=Listening(asked))

    state = train_folds(tiny(epochs=2), folds, tmp_path, ignore, logged=logged)

    pairs = zip(state.folds, folds.folds, strict=True)
    alone = [
        measure_similarity([(fold, own.val)], dataclasses.replace(asked, voices=n_voices))
        for (fold, own), n_voices in zip(pairs, (1, 2), strict=True)
    ]
    assert state.history[-1]["val_similarity"] == pytest.approx(fmean([*alone, alone[-1]]))
    cut = partial(train_folds, logged=logged)
    (tmp_path / "cut").mkdir()
    assert_equal_folds(train_in_parts(tiny(epochs=2), folds, tmp_path / "cut", (1,), cut), state)
