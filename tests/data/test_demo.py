import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import (
    cached_demo,
    demo_folder,
    demo_voices,
    make_demo,
    restore_demo,
    style_of,
)
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import SPLITS, find_samples, read_sample
from tune_encoder.data.score_words import NEW
from tune_encoder.data.synthesis import (
    DEMO_SAMPLE_RATE,
    LATENT_SIZE,
    Voice,
    synthesize,
    voice_of,
)
from tune_encoder.errors import ConfigError

COUNTS = {"voices": 3, "val_voices": 2, "test_voices": 1}
# Of the samples of COUNTS, seed 7 and one clip per voice, as version 0.1.0 made them.
FIRST_DEMO_SHA256 = "42ec114f95e24f12d77d3692d2f09b63e02a2855fc3e0011860057ea1187a4a6"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "seed_7"
    make_demo(folder, **COUNTS, seed=7)
    return folder


def all_bytes(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.rglob("*.npz"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def all_samples(folder: Path):
    return [read_sample(path) for split in SPLITS for path in find_samples(folder / split)]


def autocorrelation_pitch_hz(audio, low_hz: float, high_hz: float) -> float:
    """Median over 43 ms frames that are loud, of the lag where the autocorrelation peaks."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 1024)[::512]
    frames = frames[frames.std(axis=1) > audio.std()]
    spectra = np.fft.rfft(frames * np.hanning(1024), 2048)
    correlation = np.fft.irfft(np.abs(spectra) ** 2)
    shortest, longest = int(DEMO_SAMPLE_RATE / high_hz), int(DEMO_SAMPLE_RATE / low_hz)
    lags = shortest + correlation[:, shortest:longest].argmax(axis=1)
    return float(np.median(DEMO_SAMPLE_RATE / lags))


def test_each_split_holds_as_many_clips_as_asked_and_nothing_else_is_left(demo):
    assert sorted(all_bytes(demo)) == [
        "test/sample_0000.npz",
        "test/sample_0001.npz",
        "train/sample_0000.npz",
        "train/sample_0001.npz",
        "train/sample_0002.npz",
        "val/sample_0000.npz",
        "val/sample_0001.npz",
        "val/sample_0002.npz",
        "val/sample_0003.npz",
    ]
    assert list(demo.parent.iterdir()) == [demo]


def test_one_seed_gives_the_same_bytes_again(demo, tmp_path):
    make_demo(tmp_path / "again", **COUNTS, seed=7)

    assert all_bytes(tmp_path / "again") == all_bytes(demo)


def test_a_larger_set_begins_with_the_clips_of_a_smaller_one(demo, tmp_path):
    make_demo(tmp_path / "small", voices=1, val_voices=1, test_voices=1, seed=7)

    small, large = all_bytes(tmp_path / "small"), all_bytes(demo)
    assert small == {name: large[name] for name in small}


def test_another_seed_gives_other_voices(demo, tmp_path):
    make_demo(tmp_path / "other", **COUNTS, seed=8)

    for ours, other in zip(all_samples(demo), all_samples(tmp_path / "other"), strict=True):
        assert not np.array_equal(ours.audio, other.audio)
        assert not np.allclose(ours.style_ttl, other.style_ttl, atol=1e-3)


def test_a_voice_of_val_and_test_has_two_clips_of_one_style_and_is_new(demo):
    samples = all_samples(demo)

    voices = [sample.voice for sample in samples]
    assert [voices.count(voice) for voice in voices] == [1, 1, 1, 2, 2, 2, 2, 2, 2]
    styles = {(sample.voice, sample.style_dp.tobytes()) for sample in samples}
    assert len(styles) == len(set(voices)) == 6
    assert len({sample.audio.tobytes() for sample in samples}) == len(samples)
    kinds = open_pack(pack_data(demo, TrainConfig())).info["voice_kinds"]
    assert kinds == {"val": NEW, "test": NEW}


def test_one_clip_per_voice_is_the_demo_of_before(tmp_path):
    make_demo(tmp_path / "first", **COUNTS, seed=7, clips_per_voice=1)

    digest = hashlib.sha256()
    for sample in all_samples(tmp_path / "first"):
        for array in (sample.audio, sample.style_ttl, sample.style_dp):
            digest.update(array.tobytes())
    assert digest.hexdigest() == FIRST_DEMO_SHA256


def test_more_clips_per_voice_begin_with_the_same_ones_and_leave_train_alone(demo, tmp_path):
    make_demo(tmp_path / "three", **COUNTS, seed=7, clips_per_voice=3)

    two, three = all_bytes(demo), all_bytes(tmp_path / "three")
    assert two["train/sample_0002.npz"] == three["train/sample_0002.npz"]
    assert two["val/sample_0001.npz"] == three["val/sample_0001.npz"]
    assert two["val/sample_0002.npz"] == three["val/sample_0003.npz"]  # the second voice
    assert len(three) == 12


def test_a_voice_without_a_clip_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^clips_per_voice is 0; it must be at least 1$"):
        make_demo(tmp_path / "none", **COUNTS, seed=7, clips_per_voice=0)

    assert list(tmp_path.iterdir()) == []


def test_the_default_set_has_the_same_number_of_clips_whatever_a_voice_has():
    assert demo_voices(1) == {"train": 480, "val": 64, "test": 64}
    assert demo_voices(2) == {"train": 480, "val": 32, "test": 32}
    assert demo_voices(100) == {"train": 480, "val": 1, "test": 1}


def test_a_set_of_the_cache_is_never_taken_for_one_with_other_clips(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path))

    folders = {demo_folder(clips) for clips in (1, 2, 3)}

    assert len(folders) == 3
    assert tmp_path / "demo" / "480-64-64" in folders  # where it has been since version 0.1.0


@pytest.mark.parametrize("clips_per_voice", [1, 2])
def test_the_demo_of_a_search_is_made_again_if_the_cache_was_cleared(
    monkeypatch, tmp_path, clips_per_voice
):
    small = {"train": 3, "val": 2, "test": 2}
    monkeypatch.setattr("tune_encoder.data.demo.DEMO_CLIPS", small)
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path))
    before = all_bytes(cached_demo(clips_per_voice))
    shutil.rmtree(tmp_path)

    restore_demo(tmp_path / "other")
    assert not tmp_path.exists()
    restore_demo(demo_folder(clips_per_voice))

    assert all_bytes(demo_folder(clips_per_voice)) == before
    assert len(list((tmp_path / "demo").iterdir())) == 1


def test_clips_last_2_to_5_seconds_at_24_khz(demo):
    for sample in all_samples(demo):
        assert sample.sample_rate == 24000
        assert 2 <= len(sample.audio) / 24000 <= 5


def test_clips_are_about_minus_26_db_and_do_not_clip(demo):
    for sample in all_samples(demo):
        level_db = 20 * np.log10(np.sqrt(np.mean(sample.audio**2)))
        assert -32 < level_db < -20
        assert np.abs(sample.audio).max() < 1


def test_styles_have_unit_rows_that_spread_as_between_real_presets():
    styles = [style_of(hidden) for hidden in np.random.default_rng(0).normal(size=(300, 10))]
    ttl = np.stack([style.ttl for style in styles])
    dp = np.stack([style.dp for style in styles])

    np.testing.assert_allclose(np.linalg.norm(ttl, axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(dp, axis=2), 1, atol=1e-5)
    assert np.sqrt(ttl.var(axis=0).mean()) == pytest.approx(0.016, rel=0.1)
    assert np.sqrt(dp.var(axis=0).mean()) == pytest.approx(0.023, rel=0.1)


@pytest.mark.parametrize("number", range(LATENT_SIZE))
def test_each_hidden_number_changes_the_sound_and_the_style(number):
    hidden = np.zeros(LATENT_SIZE)
    moved = hidden.copy()
    moved[number] = 1

    assert voice_of(moved) != voice_of(hidden)
    assert np.abs(style_of(moved).ttl - style_of(hidden).ttl).max() > 0.003
    assert not np.array_equal(sound(voice_of(moved)), sound(voice_of(hidden)))


def sound(voice: Voice):
    return synthesize(voice, np.random.default_rng(5))


@pytest.mark.parametrize("octaves", [-2, -1, 0, 1, 2])
def test_the_heard_pitch_is_the_pitch_of_the_voice(octaves):
    hidden = np.zeros(LATENT_SIZE)
    hidden[0] = octaves
    hidden[5] = -3  # a nearly monotonous voice: accents would move the median
    voice = voice_of(hidden)

    heard_hz = autocorrelation_pitch_hz(sound(voice), low_hz=60, high_hz=400)

    assert heard_hz == pytest.approx(voice.pitch_hz, rel=0.06)


def test_a_folder_in_use_is_refused_by_name_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")

    with pytest.raises(
        ConfigError, match=rf"{tmp_path.name}: exists and is not empty; remove it or"
    ):
        make_demo(tmp_path, **COUNTS, seed=0)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()

    make_demo(folder, voices=1, val_voices=1, test_voices=1, seed=0)

    assert len(all_bytes(folder)) == 5


def test_a_run_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="non-negative"):
        make_demo(tmp_path / "demo", **COUNTS, seed=-1)  # fails once the first folder is there

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_does_not_enter_the_set(tmp_path):
    left = tmp_path / f".demo.{os.getpid()}.partial" / "train"
    left.mkdir(parents=True)
    (left / "sample_9999.npz").write_bytes(b"half")

    make_demo(tmp_path / "demo", voices=1, val_voices=1, test_voices=1, seed=0)

    assert len(all_bytes(tmp_path / "demo")) == 5
