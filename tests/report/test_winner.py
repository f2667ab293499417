"""The winner on the test voices."""

import base64
import dataclasses
import io
import shutil

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.report.conftest import SPACE, TRIALS, made_search, marks, numbers, tips, words
from tune_encoder.data.pack_info import pack_folder
from tune_encoder.data.scores import Styles, mean_styles, score
from tune_encoder.errors import StorageError
from tune_encoder.model.evaluate import principal_coordinates, row_errors, voice_skills
from tune_encoder.report.clips import (
    MAX_CLIP_S,
    MAX_PER_GROUP,
    best_and_worst,
    make_clips,
    sample_files,
)
from tune_encoder.report.contents import read_contents
from tune_encoder.report.errors import component_scatters, row_bars, voice_dots
from tune_encoder.report.facts import read_facts
from tune_encoder.report.media import MP3_RATE_HZ
from tune_encoder.report.scores import score_bars, scores
from tune_encoder.report.winner import evaluate_winner, read_data


@pytest.fixture(scope="module")
def facts(trained):
    return read_facts(trained)


@pytest.fixture(scope="module")
def winner(facts):
    return evaluate_winner(facts, read_data(facts))


def opened(address):
    return io.BytesIO(base64.b64decode(address.split(",", 1)[1]))


def test_the_winner_stands_beside_the_baselines_on_the_test_voices(facts, winner):
    scored = scores(facts, winner.data, winner)
    found = scored.bars

    assert (scored.split, scored.voices) == ("test", "new")
    assert [each.name for each in found] == [
        "mean voice",
        "ridge",
        "statistics",
        "nearest voice",
        "the winner",
    ]
    expected = score(winner.evaluation.predicted, winner.pack.styles, winner.data.statistics)
    assert found[-1].skill == expected["skill"]
    assert found[-1].interval == winner.evaluation.interval
    figure = score_bars(scored)
    assert len(marks(figure)) == 5
    assert f"{expected['skill']:.3f}" in words(figure)
    assert "95 % interval over voices" in tips(figure)[-1]


def test_without_predictions_the_recorded_score_stands_beside_the_baselines(facts, packed):
    found = scores(facts, packed, None).bars

    assert [each.name for each in found] == ["mean voice", "ridge", "statistics", "the winner"]
    assert found[-1].skill == pytest.approx(0.58)
    assert found[1].skill == packed.baselines["ridge"]["skill"]


def test_a_voice_has_the_skill_of_its_clips_alone(packed):
    rng = np.random.default_rng(0)
    true = packed.test.styles
    guess = Styles(true.ttl + 0.01 * rng.normal(size=true.ttl.shape).astype(np.float32), true.dp)

    found = voice_skills(guess, packed.test, packed)

    i = 2
    alone = Styles(true.ttl[i : i + 1], true.dp[i : i + 1])
    mean = mean_styles(packed.statistics, 1)
    variance = packed.statistics.ttl_variance, packed.statistics.dp_variance
    residual = np.square(guess.ttl[i] - alone.ttl).mean() / variance[0]  # dp has none
    spread = np.square(mean.ttl - alone.ttl).mean() / variance[0]
    spread += np.square(mean.dp - alone.dp).mean() / variance[1]
    expected = 1 - residual / spread
    assert found[packed.test.voices[i]] == pytest.approx(expected, rel=1e-4)


def test_every_test_voice_is_a_dot_the_best_first(winner):
    figure = voice_dots(winner)

    skills = winner.voices()
    assert tips(figure) == [
        f"{name}: new-voice skill {skill:.3f}" for name, skill in skills.items()
    ]
    assert list(skills.values()) == sorted(skills.values(), reverse=True)
    assert len(numbers(figure).rows) == len(set(winner.pack.voices)) == 8


def test_every_row_has_its_error_beside_the_variance_of_the_voices(winner):
    ttl, dp = row_bars(winner)

    assert (len(marks(ttl)), len(marks(dp))) == (2 * 50, 2 * 8)
    error, spread = row_errors(winner.evaluation.predicted.ttl, winner.pack.styles.ttl)
    assert error.shape == (50,)
    assert numbers(ttl).rows[7] == ["8", f"{error[7]:.4g}", f"{spread[7]:.4g}"]
    assert error[7] == pytest.approx(
        np.square(winner.evaluation.predicted.ttl[:, 7] - winner.pack.styles.ttl[:, 7]).mean()
    )


def test_true_and_predicted_components_are_coordinates_along_the_largest_variance(winner):
    figures = component_scatters(winner)

    pairs = principal_coordinates(winner.evaluation.predicted, winner.pack.styles)
    assert [figure.title for figure in figures] == [
        "First principal component",
        "Second principal component",
    ]
    assert all(len(marks(figure)) == 8 for figure in figures)
    true = pairs[0][0]
    assert np.var(true) >= np.var(pairs[1][0])
    assert numbers(figures[0]).rows[3][1] == f"{float(true[3]):.4g}"
    perfect = principal_coordinates(winner.pack.styles, winner.pack.styles)
    np.testing.assert_array_equal(perfect[0][0], perfect[0][1])


def test_the_best_and_the_worst_voices_are_never_the_same():
    assert best_and_worst([str(n) for n in range(20)]) == (
        list("01234"),
        ["15", "16", "17", "18", "19"],
    )
    assert best_and_worst(list("abc")) == (["a", "b"], ["c"])
    assert best_and_worst(["a"]) == (["a"], [])


def test_clips_can_be_seen_and_heard(facts, winner):
    voices = list(winner.voices())[:2]

    clips = make_clips(winner, voices, sample_files(facts, winner))

    assert [clip.voice for clip in clips] == voices
    sound, rate = soundfile.read(opened(clips[0].sound))
    assert rate == MP3_RATE_HZ
    assert 0.5 < len(sound) / rate <= MAX_CLIP_S + 0.1
    assert np.abs(sound).max() > 0.01
    picture = Image.open(opened(clips[0].spectrogram))
    assert picture.size[1] == winner.config.n_mels
    assert len(np.unique(np.asarray(picture))) > 50


def test_a_voice_of_several_clips_is_heard_once_with_its_skill_over_all(winner):
    names = winner.pack.voices
    paired = dataclasses.replace(winner.pack, voices=[names[i - i % 2] for i in range(len(names))])
    few = dataclasses.replace(winner, data=dataclasses.replace(winner.data, test=paired))

    (clip,) = make_clips(few, names[:1], [])

    assert clip.skill == f"new-voice skill {few.voices()[names[0]]:.3f} over 2 clips"
    assert len(few.voices()) == 4
    assert few.voices()[names[0]] != winner.voices()[names[0]]


def test_the_page_has_the_best_and_worst_voices(contents):
    (section,) = [each for each in contents.sections if each.key == "clips"]

    (best, worst) = section.clips
    assert (best[0], worst[0]) == ("Best", "Worst")
    assert len(best[1]) + len(worst[1]) == min(8, 2 * MAX_PER_GROUP)
    assert best[1][0].skill >= worst[1][-1].skill
    assert all(clip.sound for _, clips in section.clips for clip in clips)
    assert not section.notes


def test_recordings_that_are_gone_leave_the_spectrograms_and_a_word(
    trained, tmp_path, data_dir, packed
):
    gone = tmp_path / "gone"
    found = made_search(tmp_path, data_dir=gone, fingerprint=packed.info["fingerprint"])
    shutil.copytree(trained.checkpoints, found.checkpoints)

    section = read_contents(found).sections[-1]

    assert section.notes == [f"{gone}: the recordings are missing, so there is no audio"]
    assert all(clip.spectrogram and not clip.sound for _, clips in section.clips for clip in clips)


def test_recordings_that_changed_are_not_played(facts, winner, trained, tmp_path, data_dir, packed):
    other = tmp_path / "other"
    shutil.copytree(data_dir, other)
    next((other / "train").glob("*.npz")).unlink()
    found = made_search(tmp_path, data_dir=other, fingerprint=packed.info["fingerprint"])

    with pytest.raises(StorageError, match=r"other: the recordings have changed since the search"):
        sample_files(read_facts(found), winner)


def test_data_that_changed_is_not_taken_for_what_was_trained_on(tmp_path, data_dir):
    found = made_search(tmp_path, data_dir=data_dir, fingerprint="1" * 64)
    assert not pack_folder("1" * 64, winner_settings()).exists()

    with pytest.raises(
        StorageError, match=r"not the data that the search began with; restore it, start a new "
    ):
        read_data(read_facts(found))


def winner_settings():

    return SPACE.base_config()


def test_a_winner_without_a_checkpoint_says_so_and_the_rest_stands(tmp_path, data_dir, packed):
    found = made_search(tmp_path, TRIALS, data_dir=data_dir, fingerprint=packed.info["fingerprint"])

    contents = read_contents(found)

    (section,) = [each for each in contents.sections if each.key == "winner"]
    assert not section.figures
    (note,) = section.notes
    assert "checkpoint_000009" in note
    assert "cannot be read" in note
    assert contents.sections[0].figures[0].svg
