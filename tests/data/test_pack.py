import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from tests.conftest import no_more_files
from tests.fabricate import make_sample
from tune_encoder.config import TrainConfig
from tune_encoder.data import packing
from tune_encoder.data.audio import resample
from tune_encoder.data.baselines import baseline_scores, closed_form, fit_statistics, window_frames
from tune_encoder.data.log_mel import log_mel
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import find_samples, read_sample, write_sample
from tune_encoder.errors import DataError, StorageError
from tune_encoder.system.files import cache_dir

CONFIG = TrainConfig()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small(tmp_path, own_cache):
    """Three clips of a voice each to train on, two to validate, of different lengths."""
    for seed in range(5):
        path = tmp_path / "data" / ("train" if seed < 3 else "val") / f"{seed}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sample(path, make_sample(seed, n_samples=3000 + 1000 * seed))
    return tmp_path / "data"


def frames(audio, config=CONFIG):
    return log_mel(torch.from_numpy(audio), config).T.numpy()


# --- contents ------------------------------------------------------------------------------------


def test_a_packed_clip_has_the_features_the_style_and_the_voice_of_its_file(data_dir, packed):
    for pack, split in ((packed.train, "train"), (packed.val, "val"), (packed.test, "test")):
        paths = find_samples(data_dir / split)
        assert len(pack) == len(paths)
        for i in (0, len(paths) - 1):
            sample = read_sample(paths[i])
            expected = frames(sample.audio)
            np.testing.assert_allclose(pack.clip(i), expected, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(pack.styles.ttl[i], sample.style_ttl, rtol=1e-3, atol=1e-6)
            np.testing.assert_array_equal(pack.styles.dp[i], sample.style_dp)
            assert pack.voices[i] == sample.voice


@pytest.mark.parametrize("part", ["features", "ttl", "ttl_basis"])
def test_what_is_large_is_mapped_from_disk_and_not_read(packed, part):
    arrays = {"features": packed.train.features, "ttl": packed.train.unique_styles.ttl}
    array = base = {**arrays, "ttl_basis": packed.statistics.ttl_basis}[part]
    while isinstance(base, np.ndarray) and type(base) is not np.memmap:
        base = base.base

    assert type(base) is np.memmap
    assert base.mode == "c"  # torch warns of an array that cannot be written
    assert array.dtype == np.float16


def test_features_are_the_frames_of_all_clips(packed):
    assert packed.train.features.shape == (packed.train.starts[-1], CONFIG.n_mels)


def test_a_style_that_several_clips_have_is_kept_once(small):
    same = make_sample(0)
    for seed in (1, 2):
        sample = make_sample(seed, n_samples=3000 + 1000 * seed)
        styles = {"style_ttl": same.style_ttl, "style_dp": same.style_dp}
        write_sample(small / "train" / f"{seed}.npz", dataclasses.replace(sample, **styles))
    write_sample(small / "train" / "3.npz", make_sample(3))

    train = open_pack(pack_data(small, CONFIG)).train

    assert len(train.unique_styles.ttl) == len(train.unique_styles.dp) == 2
    assert train.style_ids.tolist() == [0, 0, 0, 1]
    for i, seed in enumerate((0, 0, 0, 3)):
        expected = make_sample(seed)
        np.testing.assert_allclose(train.styles.ttl[i], expected.style_ttl, rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(train.styles.dp[i], expected.style_dp)


def test_a_clip_is_resampled_to_the_rate_of_the_settings(small):
    audio = make_sample(n_samples=16000).audio
    write_sample(small / "train" / "0.npz", make_sample(audio=audio, sample_rate=16000))

    packed = open_pack(pack_data(small, CONFIG))

    expected = frames(resample(audio, 16000, CONFIG.sample_rate))
    np.testing.assert_allclose(packed.train.clip(0), expected, rtol=1e-3, atol=1e-3)
    assert packed.train.voices[0] == "0"  # no voice is named, so it is the file's name


def test_two_sample_rates_of_one_recording_have_nearly_the_same_features(data_dir, small):
    audio = read_sample(find_samples(data_dir / "val")[0]).audio
    at_44100 = resample(audio, 24000, 44100)
    write_sample(small / "train" / "0.npz", make_sample(audio=audio))
    write_sample(small / "train" / "1.npz", make_sample(1, audio=at_44100, sample_rate=44100))

    train = open_pack(pack_data(small, CONFIG)).train

    first, second = train.clip(0).astype(np.float32), train.clip(1).astype(np.float32)
    assert len(first) == len(second)
    below_11_khz = np.s_[:, :75]  # the filter of a resampler falls off just below Nyquist
    assert np.abs(first - second)[below_11_khz].mean() < 0.05


@pytest.mark.parametrize(("remove_dc", "is_same"), [(True, True), (False, False)])
def test_an_offset_of_a_sample_does_not_move_its_features(small, remove_dc, is_same):
    audio = make_sample(n_samples=12000).audio
    write_sample(small / "train" / "0.npz", make_sample(audio=audio))
    write_sample(small / "train" / "1.npz", make_sample(1, audio=audio + np.float32(0.05)))

    packed = open_pack(pack_data(small, TrainConfig(remove_dc=remove_dc)))

    first, second = (packed.train.clip(i).astype(np.float32) for i in range(2))
    assert np.allclose(first, second, atol=0.02) == is_same
    assert ("remove_dc" in packed.identity) == remove_dc  # what older programs stored is the same


def test_statistics_are_those_of_all_training_frames(packed):
    features = packed.train.features.astype(np.float64)

    np.testing.assert_allclose(packed.statistics.mel_mean, features.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(packed.statistics.mel_std, features.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(
        packed.statistics.ttl_mean, packed.train.styles.ttl.mean(axis=0), atol=1e-4
    )


def test_a_band_that_never_changes_has_a_deviation_of_zero(small):
    """Every band above the Nyquist frequency of a recording lies at the floor."""
    for number in range(6):  # with these lengths its variance is rounded to just below 0
        n = 7 * 256 // 3 + 256 * number // 3 + 5
        faded = make_sample(number, n).audio * np.hanning(n).astype(np.float32)
        clip = make_sample(number, audio=faded, sample_rate=8000)
        write_sample(small / "train" / f"{number}.npz", clip)

    # Without the mean the faded ends would not be at 0, and the step there has every frequency.
    packed = open_pack(pack_data(small, TrainConfig(remove_dc=False)))

    assert np.diff(packed.train.starts).tolist() == [8, 9, 10, 11, 12, 13]
    np.testing.assert_allclose(packed.statistics.mel_std[-10:], 0, atol=1e-5)
    assert packed.statistics.mel_std[20] > 0.1


def test_the_baselines_of_each_split_are_there_and_the_mean_has_no_skill(packed):
    assert set(packed.info["baselines"]) == {"val", "test"}
    assert packed.baselines == packed.info["baselines"]["val"]
    for scores in packed.info["baselines"].values():
        assert scores["mean"]["skill"] == pytest.approx(0, abs=1e-6)
        for name in ("ridge", "statistics"):
            assert all(np.isfinite(value) for value in scores[name].values())


def test_the_closed_form_of_the_pack_is_the_one_whose_scores_are_shown(packed):
    fitted = fit_statistics(packed.train, packed.statistics, packed.voice_kind("val"))
    stored = closed_form(packed)
    n_frames = window_frames(CONFIG)

    both = {"stored": stored, "fitted": fitted}
    scores = baseline_scores(both, packed.statistics, packed.known_voices, packed.val, n_frames)

    assert scores["stored"] == pytest.approx(packed.baselines["statistics"], abs=1e-4)
    # The pack's principal components are in half precision.
    assert scores["fitted"] == pytest.approx(scores["stored"], abs=5e-3)


def test_voices_of_a_split_are_known_new_or_mixed(packed, small):
    shutil.copy(small / "train" / "0.npz", small / "val" / "again.npz")

    assert packed.voice_kind("val") == "new"
    assert open_pack(pack_data(small, CONFIG)).voice_kind("val") == "mixed"


def test_clips_voices_and_hours_are_counted(packed):
    assert packed.info["clips"] == {"train": 24, "val": 8, "test": 8}
    assert packed.info["voices"] == {"train": 24, "val": 8, "test": 8}
    seconds = packed.train.starts[-1] * CONFIG.hop_length / CONFIG.sample_rate
    assert packed.info["hours"]["train"] == pytest.approx(seconds / 3600, abs=1e-4)


def test_a_data_set_without_a_test_split_has_none(small):
    packed = open_pack(pack_data(small, CONFIG))

    assert packed.test is None
    assert set(packed.info["baselines"]) == {"val"}


def test_warnings_of_the_check_are_kept_with_the_pack(small):
    shutil.copy(small / "train" / "0.npz", small / "val" / "again.npz")

    warnings = open_pack(pack_data(small, CONFIG)).info["warnings"]

    assert len(warnings) == 1
    assert warnings[0].startswith("1 style is in both train and val")


# --- when a pack is made -------------------------------------------------------------------------


def test_matrix_products_of_packing_use_one_thread(small, monkeypatch):
    used = []

    def noting(*arguments):
        used.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
        return write_baselines(*arguments)

    write_baselines = packing._write_baselines
    monkeypatch.setattr(packing, "_write_baselines", noting)
    with threadpool_limits(2, "blas"):
        pack_data(small, CONFIG)

    assert used
    assert {*used} == {1}


def test_a_pack_is_made_once_and_nothing_is_left_beside_it(small):
    folder = pack_data(small, CONFIG)
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}

    again = pack_data(small, TrainConfig(dropout=0.3, seed=5))  # no setting of the front end

    assert again == folder
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]} == before
    assert list((cache_dir() / "packs").iterdir()) == [folder]


def touch(folder):
    os.utime(folder / "train" / "0.npz", (1, 1))


def add_a_clip(folder):
    write_sample(folder / "train" / "9.npz", make_sample(9))


def nothing(folder):
    pass


@pytest.mark.parametrize(
    ("change", "settings", "is_new"),
    [
        (touch, {}, False),
        (add_a_clip, {}, True),
        (nothing, {"n_mels": 40}, True),
        (nothing, {"hop_length": 300}, True),
        (nothing, {"sample_rate": 16000}, True),
    ],
    ids=["touched", "clip_added", "n_mels", "hop_length", "sample_rate"],
)
def test_other_data_or_another_front_end_makes_another_pack(small, change, settings, is_new):
    first = pack_data(small, CONFIG)
    change(small)

    second = pack_data(small, TrainConfig(**settings))

    assert (second != first) == is_new
    assert first.is_dir()
    assert open_pack(second).train.features.shape[1] == settings.get("n_mels", 80)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train/0.npz", r"train/0\.npz: audio has 1 NaN or infinite value"),
        ("val", r"val: no such folder"),
    ],
)
def test_data_that_cannot_be_used_is_refused_by_name_and_leaves_no_pack(small, path, message):
    if path == "val":
        shutil.rmtree(small / path)
    else:
        audio = make_sample().audio.copy()
        audio[3] = np.nan
        write_sample(small / path, make_sample(audio=audio))

    with pytest.raises(DataError, match=message):
        pack_data(small, CONFIG)
    packs = cache_dir() / "packs"
    assert not packs.exists() or list(packs.iterdir()) == []


# --- damage --------------------------------------------------------------------------------------


def cut_short(folder):
    path = folder / "train.f16"
    path.write_bytes(path.read_bytes()[:-2])


def absent_file(folder):
    (folder / "val.npz").unlink()


def damaged_file(folder):
    path = folder / "statistics.npz"
    path.write_bytes(b"?" * path.stat().st_size)


def no_json(folder):
    (folder / "pack.json").write_text("{")


def other_json(folder):
    (folder / "pack.json").write_text("[1]")


def newer_format(folder):
    info = json.loads((folder / "pack.json").read_text())
    (folder / "pack.json").write_text(json.dumps({**info, "format": 99}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, r"train\.f16: truncated; remove .* to make it again"),
        (absent_file, r"not a usable pack \(.*val\.npz.*\); remove the folder"),
        (damaged_file, r"not a usable pack \(.*\); remove the folder"),
        (no_json, r"not a usable pack \(.*\); remove the folder"),
        (other_json, r"not a usable pack \(.*\); remove the folder"),
        (newer_format, r"unsupported pack format 99; remove the folder"),
    ],
)
def test_a_damaged_pack_is_refused_with_its_folder_and_a_remedy(small, damage, message):
    folder = pack_data(small, CONFIG)
    damage(folder)

    with pytest.raises(StorageError, match=rf"{folder}.*{message}"):
        open_pack(folder)


def test_an_absent_pack_is_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match=r"absent: not a usable pack"):
        open_pack(tmp_path / "absent")


def test_a_pack_that_cannot_be_opened_for_too_many_open_files_is_not_to_be_removed(packed):
    said = r"Too many open files.*; allow more open files \(`ulimit -n`\)$"
    with pytest.raises(StorageError, match=said), no_more_files():
        open_pack(packed.folder)
