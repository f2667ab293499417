import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fabricate import make_sample, write_wav
from tune_encoder.config import TrainConfig
from tune_encoder.data.audio import level_dbfs
from tune_encoder.data.batches import training_batches
from tune_encoder.data.copies import add_noise, copy_maker, read_noise, read_response
from tune_encoder.data.crops import crops_per_epoch
from tune_encoder.data.folds import make_folds
from tune_encoder.data.pack import merge_train_and_val, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import write_sample
from tune_encoder.errors import ConfigError, DataError

RATE = 24000
K = 2


def settings(**changes):
    return TrainConfig(**{"augment_copies": K, **changes})


def only(**changes):
    """Settings with no effect but those that are named."""
    off = {"copy_room_prob": 0.0, "copy_noise_prob": 0.0, "copy_codec_prob": 0.0}
    return settings(**{**off, **changes})


def clip(seed=0, n_samples=RATE):
    """A tone that comes and goes, as syllables do."""
    t = np.arange(n_samples) / RATE
    tone = np.sin(2 * np.pi * (200 + 40 * seed) * t) * (np.sin(2 * np.pi * 3 * t) > 0)
    return (0.2 * tone).astype(np.float32)


@pytest.fixture
def noise_dir(tmp_path):
    """As MUSAN is laid out: folders in folders, and texts beside the sound."""
    folder = tmp_path / "musan" / "noise" / "free-sound"
    folder.mkdir(parents=True)
    (folder / "LICENSE").write_text("free")
    noise = np.random.default_rng(7).normal(scale=0.05, size=3 * 16000)
    write_wav(folder / "noise-free-sound-0000.wav", noise, 16000)
    return tmp_path / "musan"


# --- what a copy is ------------------------------------------------------------------------------


def test_a_copy_depends_on_seed_clip_and_number_alone(noise_dir):
    maker = copy_maker(settings(copy_noise_dir=str(noise_dir)), RATE)
    again = copy_maker(settings(copy_noise_dir=str(noise_dir), seed=5), RATE)
    other = copy_maker(settings(copy_noise_dir=str(noise_dir), copy_seed=1), RATE)
    audio = [clip(seed) for seed in range(4)]

    forth = [maker.copy(each, number) for each in audio for number in range(3)]
    back = [again.copy(each, number) for each in audio[::-1] for number in (2, 1, 0)][::-1]

    assert all(np.array_equal(a, b) for a, b in zip(forth, back, strict=True))
    assert len({each.tobytes() for each in forth}) > 9, "hardly two are equal"
    assert any(not np.array_equal(other.copy(each, 0), maker.copy(each, 0)) for each in audio)


@pytest.mark.parametrize("effect", ["copy_room_prob", "copy_noise_prob", "copy_codec_prob"])
def test_each_effect_alone_changes_a_clip_and_keeps_its_length_and_level(noise_dir, effect):
    maker = copy_maker(only(copy_noise_dir=str(noise_dir), **{effect: 1.0}), RATE)
    audio = clip()

    made = maker.copy(audio, 0)

    assert made.shape == audio.shape
    assert made.dtype == np.float32
    assert level_dbfs(made, RATE) == pytest.approx(level_dbfs(audio, RATE), abs=0.1)
    assert np.abs(made - audio).max() > 0.01


def test_noise_is_added_at_the_ratio_that_is_asked_for():
    audio = clip()
    noise = np.random.default_rng(0).normal(scale=3.0, size=audio.size).astype(np.float32)

    for snr_db in (-5.0, 10.0, 30.0):
        added = add_noise(audio, noise, snr_db, RATE) - audio
        measured = level_dbfs(audio, RATE) - level_dbfs(added, RATE)
        assert measured == pytest.approx(snr_db, abs=0.1)


def test_a_silent_clip_stays_as_it_is():
    silent = np.zeros(1000, dtype=np.float32)

    assert np.array_equal(copy_maker(settings(), RATE).copy(silent, 0), silent)


# --- files of rooms and noise --------------------------------------------------------------------


def test_a_response_is_read_from_its_direct_sound_on_at_unit_energy(tmp_path):
    response = np.zeros((48000, 2))
    response[4800, 0], response[9600, 0] = 0.8, -0.4  # 0.1 s apart
    soundfile.write(tmp_path / "hall.wav", response, 48000)

    found = read_response(tmp_path / "hall.wav", RATE)

    assert found[0] == np.abs(found).max()
    assert np.abs(found[100:]).argmax() + 100 == pytest.approx(0.1 * RATE, abs=1)
    assert np.square(found).sum() == pytest.approx(1, rel=1e-4)


def test_rooms_of_a_folder_are_used_in_place_of_simulated_ones(tmp_path):
    response = np.zeros(2400)
    response[0], response[1200] = 0.5, 0.5
    (tmp_path / "rooms").mkdir()
    soundfile.write(tmp_path / "rooms" / "echo.wav", response, RATE, subtype="FLOAT")
    audio = clip()

    made = copy_maker(only(copy_rooms_dir=str(tmp_path / "rooms"), copy_room_prob=1.0), RATE).copy(
        audio, 0
    )

    echoed = audio.copy()
    echoed[1200:] += audio[:-1200]
    cosine = (made @ echoed) / np.linalg.norm(made) / np.linalg.norm(echoed)
    assert cosine == pytest.approx(1, abs=1e-3)


def test_noise_is_repeated_where_it_is_short_and_begins_anywhere_where_it_is_long(noise_dir):
    (path,) = noise_dir.rglob("*.wav")

    long = read_noise(path, 10 * RATE, RATE, np.random.default_rng(0))
    first, second = (
        read_noise(path, RATE // 2, RATE, np.random.default_rng(seed)) for seed in range(2)
    )

    assert long.shape == (10 * RATE,)
    assert np.array_equal(long[: 3 * RATE - 10], long[3 * RATE : 6 * RATE - 10]) or np.array_equal(
        long[: 3 * RATE], long[3 * RATE : 6 * RATE]
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_noise_of_another_rate_is_resampled(tmp_path, rate):
    tone = 0.3 * np.sin(2 * np.pi * 1000 / rate * np.arange(rate))
    path = write_wav(tmp_path / "a.wav", tone, rate)

    noise = read_noise(path, RATE, RATE, np.random.default_rng(0))

    assert noise.shape == (RATE,)
    assert np.abs(np.fft.rfft(noise)).argmax() == pytest.approx(1000, abs=2)


@pytest.mark.parametrize("rate", [1, 3999, 384001, 2_000_000_000])
def test_noise_whose_rate_can_only_be_damaged_is_refused(tmp_path, rate):
    path = write_wav(tmp_path / "a.wav", np.random.default_rng(0).normal(scale=0.1, size=9000))
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")  # of the header
    path.write_bytes(content)

    with pytest.raises(DataError, match=rf"a\.wav: its sample rate is {rate} Hz; it must be from"):
        read_noise(path, RATE, RATE, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        (
            "copy_noise_dir",
            None,
            r"copy_noise_dir is .*sounds: no such folder; name one with audio",
        ),
        (
            "copy_rooms_dir",
            None,
            r"copy_rooms_dir is .*sounds: no such folder; name one with audio",
        ),
        (
            "copy_noise_dir",
            "empty",
            r"copy_noise_dir is .*sounds: has no audio file in or below it",
        ),
        ("copy_noise_dir", "text", r"a\.wav: not readable as audio \(.*\); remove it"),
        (
            "copy_noise_dir",
            "silent",
            r"a\.wav: is silent or not finite at 8 places, so it is no noi",
        ),
        ("copy_rooms_dir", "silent", r"a\.wav: is silent, so it is no impulse response; remove it"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_one_line(tmp_path, name, make, words):
    folder = tmp_path / "sounds"
    if make:
        folder.mkdir()
    if make == "text":
        (folder / "a.wav").write_text("no sound")
    if make == "silent":
        write_wav(folder / "a.wav", np.zeros(RATE))
    probability = {"copy_noise_dir": "copy_noise_prob", "copy_rooms_dir": "copy_room_prob"}[name]

    with pytest.raises(DataError, match=words):
        copy_maker(only(**{name: str(folder), probability: 1.0}), RATE).copy(clip(), 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"copy_noise_snr_min": 30.0},
            r"copy_noise_snr_min is 30; it must be at most copy_.*\(25\)",
        ),
        (
            {"copy_room_prob": 0.0, "copy_codec_prob": 0.0},
            r"augment_copies is 2, but every copy would be as the clip; set copy_room_prob, ",
        ),
    ],
)
def test_settings_that_make_no_copies_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        settings(**changes)


# --- copies in a pack ----------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Six clips of a voice each to train on, two to validate."""
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path / "cache"))
    for seed in range(8):
        path = tmp_path / "data" / ("train" if seed < 6 else "val") / f"{seed}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sample(path, make_sample(seed, audio=clip(seed, 9000 + 1000 * seed)))
    return tmp_path / "data"


def test_a_pack_holds_each_clip_of_train_and_its_copies(small):
    plain, packed = (open_pack(pack_data(small, each)) for each in (TrainConfig(), settings()))

    assert len(packed.train) == len(plain.train) == 6
    assert not plain.train.has_copies
    for i in range(6):
        first, *copies = packed.train.versions(i)
        assert np.array_equal(first, plain.train.clip(i))
        assert np.array_equal(first, packed.train.clip(i))
        assert [each.shape for each in copies] == [first.shape] * K
        assert all(not np.array_equal(each, first) for each in copies[:1])
    assert [len(packed.val.versions(i)) for i in range(2)] == [1, 1]
    for name in ("clips", "voices", "hours"):
        assert packed.info[name] == plain.info[name]
    assert np.array_equal(packed.statistics.mel_mean, plain.statistics.mel_mean)


def test_a_pack_grows_by_the_copies_of_train_alone(small):
    plain, packed = (open_pack(pack_data(small, each)) for each in (TrainConfig(), settings()))

    sizes = packed.info["sizes"]
    assert sizes["train_copies.f16"] == K * sizes["train.f16"]
    assert {name: size for name, size in sizes.items() if name != "train_copies.f16"} == {
        **plain.info["sizes"]
    }


def test_packs_of_equal_settings_are_equal_and_of_others_other_folders(small, noise_dir):
    first = pack_data(small, settings())
    copies = (first / "train_copies.f16").read_bytes()
    for path in first.iterdir():
        path.unlink()
    first.rmdir()

    again = pack_data(small, settings(seed=3))
    others = [
        pack_data(small, each)
        for each in (
            TrainConfig(),
            settings(augment_copies=1),
            settings(copy_seed=1),
            settings(copy_codec_prob=0.1),
            settings(copy_noise_dir=str(noise_dir)),
        )
    ]

    assert again == first
    assert (again / "train_copies.f16").read_bytes() == copies
    assert len({first, *others}) == 6


def test_another_file_of_noise_makes_another_pack_and_another_place_does_not(small, noise_dir):
    first = pack_data(small, settings(copy_noise_dir=str(noise_dir)))
    moved = noise_dir.rename(noise_dir.with_name("moved"))
    assert pack_data(small, settings(copy_noise_dir=str(moved))) == first

    write_wav(Path(moved) / "more.wav", 0.1 * np.ones(RATE) * np.sin(np.arange(RATE)))

    assert pack_data(small, settings(copy_noise_dir=str(moved))) != first


def test_without_copies_the_identity_of_data_is_what_it_always_was(small):
    plain, packed = (open_pack(pack_data(small, each)) for each in (TrainConfig(), settings()))

    assert not [name for name in plain.identity if "cop" in name]
    assert packed.identity["augment_copies"] == K


def test_crops_come_from_every_version_and_an_epoch_is_no_longer(small):
    rooms = {"copy_room_prob": 1.0, "copy_codec_prob": 0.0}  # so that no copy is as its clip
    config = settings(steps_per_epoch=8, batch_size=8, crop_seconds=0.2, **rooms)
    train = open_pack(pack_data(small, config)).train

    crops = [
        frame.T.half().numpy()
        for batch in training_batches(train, config, 1)
        for frame in batch.features
    ]

    def version_of(cropped):
        for i in range(6):
            for number, version in enumerate(train.versions(i)):
                if any(np.array_equal(cropped[0], frame) for frame in version):
                    return number
        raise AssertionError("of no version")

    found = [version_of(each) for each in crops]
    assert len(crops) == crops_per_epoch(train.lengths, config) == 64
    assert min(found.count(number) for number in range(K + 1)) > 64 / (K + 1) / 2


def test_a_copy_is_in_the_fold_of_its_clip_and_val_of_a_fold_has_none_of_train(small):
    data = open_pack(pack_data(small, settings()))
    whole = {i: data.train.versions(i) for i in range(6)}
    joined = merge_train_and_val(data).train

    folds = make_folds(data, 4)

    assert [len(joined.versions(i)) for i in range(8)] == [K + 1] * 6 + [1] * 2
    for fold in folds.folds:
        for i, voice in enumerate(fold.train.voices):
            expected = whole.get(int(voice))
            found = fold.train.versions(i)
            assert len(found) == (K + 1 if expected else 1)
            if expected:
                assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        assert not set(fold.train.voices) & set(fold.val.voices)


def test_the_closed_form_is_fitted_to_windows_of_all_versions(small):
    plain, packed = (open_pack(pack_data(small, each)) for each in (TrainConfig(), settings()))

    assert np.array_equal(plain.train.window_clips, packed.train.window_clips)
    changed = ~np.isclose(plain.train.windows, packed.train.windows).all(axis=1)
    assert changed.mean() == pytest.approx(K / (K + 1), abs=0.15)
    assert np.array_equal(plain.val.windows, packed.val.windows)


def test_a_clip_at_another_rate_has_copies_at_that_of_the_settings(small):
    sample = make_sample(0, audio=clip(0, 16000), sample_rate=16000)
    write_sample(small / "train" / "0.npz", dataclasses.replace(sample))

    train = open_pack(pack_data(small, settings())).train

    lengths = {len(version) for version in train.versions(0)}
    assert lengths == {int(train.lengths[0])}
