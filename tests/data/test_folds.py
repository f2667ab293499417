import dataclasses

import numpy as np
import pytest

from tests.fabricate import make_sample
from tune_encoder.config import ResourceSettings, TrainConfig, ValidationSettings
from tune_encoder.data.fold_scores import split_baselines
from tune_encoder.data.folds import (
    all_voices,
    count_voices,
    default_folds,
    make_folds,
    voices_of_clips,
)
from tune_encoder.data.pack import Pack, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import write_sample
from tune_encoder.data.score_words import NEW
from tune_encoder.data.validation import choose_validation
from tune_encoder.errors import ConfigError, DataError

ONE_PROCESS = ResourceSettings()
CHOSEN_AT_START = ValidationSettings()


@pytest.fixture
def make_data(tmp_path, monkeypatch):
    """Makes a pack of (voice's name or None, style) of each clip of train and of val."""
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path / "cache"))

    def make(train, val):
        for split, clips in (("train", train), ("val", val)):
            (tmp_path / "data" / split).mkdir(parents=True)
            for number, (voice, style) in enumerate(clips):
                audio = make_sample(7 * number + style, n_samples=4000 + 500 * number).audio
                sample = dataclasses.replace(make_sample(style, voice=voice), audio=audio)
                write_sample(tmp_path / "data" / split / f"sample_{number:04d}.npz", sample)
        return open_pack(pack_data(tmp_path / "data", TrainConfig()))

    return make


def voices(*numbers):
    """A clip of each voice, whose name goes with its style."""
    return [(f"v{number}", number) for number in numbers]


# --- who is held out -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 32])
def test_every_voice_of_train_and_val_is_held_out_once_and_trained_on_in_all_other_folds(
    packed, count
):
    folds = make_folds(packed, count).folds

    everyone = sorted({*packed.train.voices, *packed.val.voices})
    assert len(everyone) == 32
    held_out = [voice for fold in folds for voice in set(fold.val.voices)]
    assert sorted(held_out) == everyone
    for fold in folds:
        assert sorted({*fold.train.voices} | {*fold.val.voices}) == everyone
        assert not {*fold.train.voices} & {*fold.val.voices}
        assert fold.test is None
        assert fold.voice_kind("val") == NEW
    sizes = [len(set(fold.val.voices)) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_equal_data_and_counts_give_equal_folds(packed):
    first, again = (make_folds(packed, 5) for _ in range(2))

    assert [fold.val.voices for fold in first.folds] == [fold.val.voices for fold in again.folds]
    assert first.identity == again.identity == {**packed.identity, "folds": 5}


def test_the_clips_of_a_fold_are_those_of_the_pack_with_their_styles_and_windows(packed):
    original = {**clips_by_voice(packed.train), **clips_by_voice(packed.val)}

    for fold in make_folds(packed, 3).folds:
        for pack in (fold.train, fold.val):
            for voice, parts in clips_by_voice(pack).items():
                for found, expected in zip(parts, original[voice], strict=True):
                    np.testing.assert_array_equal(found, expected)


def clips_by_voice(pack: Pack):
    """Features, styles, bands and windows of each clip, by its voice; each has one clip."""
    return {
        voice: (
            pack.clip(i),
            pack.styles.ttl[i],
            pack.styles.dp[i],
            pack.bands[i],
            pack.windows[pack.window_clips == i],
        )
        for i, voice in enumerate(pack.voices)
    }


def test_clips_of_one_name_or_one_style_are_one_voice(make_data):
    data = make_data(
        [("a", 0), ("a", 1), ("b", 2), ("c", 2), ("d", 3)], [("e", 0), ("a", 4), ("f", 5)]
    )

    assert voices_of_clips(data).tolist() == [0, 0, 1, 1, 2, 0, 0, 3]


def test_files_without_a_voice_are_told_apart_by_their_styles(make_data):
    data = make_data([(None, 0), (None, 1), (None, 0)], [(None, 2), (None, 1)])

    assert voices_of_clips(data).tolist() == [0, 1, 0, 2, 1]


def test_a_style_of_train_and_val_is_one_style_of_a_fold(make_data):
    folds = make_folds(make_data(voices(0, 1, 2, 3), voices(0, 1, 2, 3)), 4).folds

    for fold in folds:
        assert len(fold.train.unique_styles.ttl) == len(set(fold.train.style_ids)) == 3
        assert len(fold.train) == 6


# --- what a fold trains with ---------------------------------------------------------------------


def test_the_statistics_of_a_fold_are_those_of_the_voices_that_it_trains_on(packed):
    fold = make_folds(packed, 4).folds[1]
    frames = np.concatenate([fold.train.clip(i) for i in range(len(fold.train))]).astype(np.float64)
    styles = fold.train.styles

    found = fold.statistics
    np.testing.assert_allclose(found.mel_mean, frames.mean(axis=0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.mel_std, frames.std(axis=0), rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(found.ttl_mean, styles.ttl.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.dp_mean, styles.dp.mean(axis=0), atol=1e-6)
    assert found.ttl_variance == pytest.approx(styles.ttl.var(axis=0).mean(), rel=1e-4)
    assert len(found.ttl_basis) <= len(set(fold.train.voices)) - 1


def test_nothing_of_the_voices_left_out_is_in_what_a_fold_trains_with(packed):
    folds = make_folds(packed, 4).folds
    changed = make_folds(with_other_voices(packed, set(folds[0].val.voices)), 4).folds[0]

    assert changed.val.voices == folds[0].val.voices
    assert not np.array_equal(changed.val.styles.ttl, folds[0].val.styles.ttl)
    assert not np.array_equal(changed.val.bands, folds[0].val.bands)
    for field in dataclasses.fields(changed.statistics):
        now, before = (getattr(each.statistics, field.name) for each in (changed, folds[0]))
        np.testing.assert_array_equal(now, before)
    for name in ("windows", "bands", "window_clips", "style_ids"):
        now, before = (getattr(each.train, name) for each in (changed, folds[0]))
        np.testing.assert_array_equal(now, before)
    np.testing.assert_array_equal(
        changed.train.unique_styles.flatten(), folds[0].train.unique_styles.flatten()
    )


def with_other_voices(data, names):
    """The same data, but with other sounds and styles of some voices."""

    def change(pack):
        mine = np.array([voice in names for voice in pack.voices])
        ids = np.unique(pack.style_ids[mine])
        ttl, dp = (np.array(part) for part in (pack.unique_styles.ttl, pack.unique_styles.dp))
        ttl[ids], dp[ids] = -ttl[ids], -dp[ids]
        return dataclasses.replace(
            pack,
            unique_styles=dataclasses.replace(pack.unique_styles, ttl=ttl, dp=dp),
            bands=pack.bands + mine[:, None],
            windows=pack.windows + mine[pack.window_clips][:, None],
        )

    return dataclasses.replace(data, train=change(data.train), val=change(data.val))


def test_all_voices_are_trained_on_with_the_statistics_of_all(packed):
    together = all_voices(packed)

    assert len(together.train) == len(packed.train) + len(packed.val)
    styles = together.train.styles
    np.testing.assert_allclose(together.statistics.ttl_mean, styles.ttl.mean(axis=0), atol=1e-6)
    assert together.voice_kind("val") == NEW
    assert together.voice_kind("test") == NEW
    assert set(split_baselines(together, packed.test, NEW)) == {"mean", "ridge", "statistics"}


# --- how many ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "val", "count", "words"),
    [
        ([0, 1], [0], 5, r"have 2 voices; .* they cannot be divided into 5 folds; give at most 2"),
        ([0, 1], [1], 2, r"trained on 1 voice, and it needs 2; add voices, or use the val split"),
        ([0, 1, 1, 0], [2], 4, r"train and val have 3 voices; .* into 4 folds; give at most 3 \(v"),
    ],
)
def test_too_few_voices_for_the_folds_are_refused(make_data, train, val, count, words):
    names = iter("abcdefgh")  # every clip under a name of its own, so that only styles tell
    data = make_data([(next(names), i) for i in train], [(next(names), i) for i in val])

    with pytest.raises(DataError, match=words):
        choose_validation(data, ValidationSettings(voices=count), ONE_PROCESS)


@pytest.mark.parametrize(
    ("train", "val", "folds", "words"),
    [
        (
            voices(0, 1, 2, 3),
            voices(4),
            5,
            "validation: each of 5 voices is left out once (5 folds)",
        ),
        (
            voices(*range(8)),
            voices(*range(8, 12)),
            10,
            "validation: 10 folds of 12 voices, each voice left out once",
        ),
        (
            voices(0, 1, 2, 3),
            voices(1, 3),
            1,
            "validation: the val split, other clips of 2 voices of train; new voices: --folds 4",
        ),
        (
            voices(0, 1, 2),
            voices(2, 3),
            4,
            "validation: each of 4 voices is left out once (4 folds)",
        ),
        (voices(0, 1), voices(1), 1, "validation: the val split, other clips of 1 voice of train"),
        pytest.param(
            voices(*range(36)),
            voices(*range(36, 40)),
            1,
            "validation: the val split, 4 voices",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_few_voices_are_validated_in_folds_unless_val_has_only_voices_of_train(
    make_data, train, val, folds, words
):
    data = make_data(train, val)
    chosen = choose_validation(data, CHOSEN_AT_START, ONE_PROCESS)

    assert (chosen.folds, chosen.description) == (folds, words)
    assert chosen.settings == ValidationSettings(voices=folds)
    assert default_folds(data) == folds


def test_what_the_space_says_is_not_chosen_again(packed):
    assert count_voices(packed) == 32
    asked = choose_validation(packed, ValidationSettings(voices=1), ONE_PROCESS)

    assert asked.folds == 1
    assert asked.description == "validation: the val split, 8 voices; in folds: --folds 10"
    assert asked.baselines == packed.baselines


def test_folds_are_not_trained_in_several_processes(packed):
    two = ResourceSettings(cpus=2, processes=2)

    with pytest.raises(
        ConfigError, match=r"resources.processes is 2, but 4 folds of voices are tr"
    ):
        choose_validation(packed, ValidationSettings(voices=4), two)
    assert choose_validation(packed, CHOSEN_AT_START, two).folds == 1


@pytest.mark.parametrize("voices", [-1, 1001, 2.5])
def test_a_number_of_folds_out_of_range_is_refused(voices, tmp_path):
    from tune_encoder.space import parse_space

    content = {"space": {"dropout": {"float": [0, 0.4]}}, "validation": {"voices": voices}}
    with pytest.raises(ConfigError, match=rf"validation: voices is {voices}; it must be a whole"):
        parse_space(content, "space.yaml", tmp_path)
