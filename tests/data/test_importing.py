import re
from pathlib import Path

import numpy as np
import pytest

from tests.data.recordings import (
    RATE,
    USUAL,
    add_clip,
    folders,
    import_voices,
    one_clip_each,
    samples_of,
    several_clips,
    voices_of,
)
from tests.fabricate import make_style
from tune_encoder.data.samples import SPLITS, read_sample
from tune_encoder.data.splitting import SplitRequest, assign_splits, cut_by_time
from tune_encoder.data.voice_style import VoiceStyle, read_voice_style, write_voice_style
from tune_encoder.errors import ConfigError, DataError, StorageError

REAL = Path(__file__).parents[3] / "shared" / "real"

__all__ = ["folders", "one_clip_each", "several_clips"]  # fixtures

# --- pairing -------------------------------------------------------------------------------------


def test_files_without_a_partner_are_left_out_with_a_warning(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    add_clip(audio_dir, "annabel.wav")
    (audio_dir / "._anna.wav").write_bytes(b"written by a Mac")
    (audio_dir / "carl.m4a").write_bytes(b"")
    (styles_dir / "dora.json").write_text("{}")

    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)

    lonely, unused, foreign, _ = report.warnings
    assert lonely.startswith("skipped 1 recording without a style: annabel.wav;")
    assert unused == "skipped 1 style without a recording: dora.json"
    assert "carl.m4a; convert them: ffmpeg -i" in foreign
    assert report.voices == ["anna", "ben"]


def test_many_names_are_cut_short_in_a_warning(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    for number in range(7):
        (styles_dir / f"unused{number}.json").write_text("{}")

    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)

    assert "skipped 7 styles" in report.warnings[0]
    assert report.warnings[0].endswith("unused4.json and 2 more")


def test_folders_without_any_pair_are_refused_with_how_to_name_files(folders, tmp_path):
    audio_dir, styles_dir = folders
    add_clip(audio_dir, "F10.wav")
    write_voice_style(styles_dir / "F1.json", make_style(1), {})

    with pytest.raises(DataError, match=r"audio: of 1 recording none .* 1 style in .*NAME_01"):
        import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)


def test_an_absent_folder_is_refused_by_name(folders, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; give the folder"):
        import_voices(tmp_path / "nowhere", folders[1], tmp_path / "out", RATE, 0, USUAL)


def test_one_voice_under_two_names_is_found_by_its_style_and_split_as_one(several_clips, tmp_path):
    audio_dir, styles_dir = several_clips
    style = make_style(3)
    add_clip(audio_dir, "again.wav")
    rounded = VoiceStyle(np.round(style.ttl, 4), np.round(style.dp, 4))
    write_voice_style(styles_dir / "again.json", rounded, {})

    for seed in range(6):
        out = tmp_path / f"out{seed}"
        report = import_voices(audio_dir, styles_dir, out, RATE, seed, USUAL)

        splits = [split for split, voices in report.voices_of.items() if "again" in voices]
        assert splits == [split for split, each in report.voices_of.items() if "voice3" in each]
    assert [line for line in report.warnings if "the same" in line] == [
        "again, voice3 have the same style and are split as one voice; give its clips one name"
    ]


def test_one_voice_under_two_names_is_held_out_under_both(several_clips, tmp_path):
    audio_dir, styles_dir = several_clips
    write_voice_style(styles_dir / "again.json", make_style(3), {})
    add_clip(audio_dir, "again.wav")

    request = SplitRequest(hold_out=["voice3"])
    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, request)

    assert report.voices_of["test"] == ["again", "voice3"]


# --- splitting by voice --------------------------------------------------------------------------


def test_voices_with_several_clips_go_whole_to_one_split(several_clips, tmp_path):
    audio_dir, styles_dir = several_clips
    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)

    voices = voices_of(samples_of(tmp_path / "out"))
    assert report.counts == {"train": 16, "val": 2, "test": 2}
    assert [len(voices[split]) for split in SPLITS] == [8, 1, 1]
    assert len(set().union(*voices.values())) == 10
    (warning,) = report.warnings
    assert re.fullmatch(
        r"val is a single voice \(voice\d\), test is a single voice \(voice\d\): a score on one "
        r"voice is mostly chance; add voices, or cut each clip by time with --split time",
        warning,
    )


def test_several_voices_in_val_and_test_need_no_warning(several_clips, tmp_path):
    audio_dir, styles_dir = several_clips
    for seed in range(10, 20):
        for letter in "ab":
            add_clip(audio_dir, f"voice{seed}_{letter}.wav")
        write_voice_style(styles_dir / f"voice{seed}.json", make_style(seed), {})

    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)

    assert report.counts == {"train": 32, "val": 4, "test": 4}
    assert report.warnings == []


@pytest.mark.parametrize(
    ("n_voices", "expected"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (10, [8, 1, 1]), (50, [40, 5, 5])]
)
def test_about_a_tenth_of_the_voices_is_held_out_twice_and_at_least_one(n_voices, expected):
    split_of = assign_splits([f"v{n}" for n in range(n_voices)], seed=1)

    assert [list(split_of.values()).count(split) for split in SPLITS] == expected


def test_the_seed_chooses_the_voices_held_out():
    names = [f"v{n}" for n in range(50)]

    assert assign_splits(names, seed=1) == assign_splits(names, seed=1)
    assert assign_splits(names, seed=1) != assign_splits(names, seed=2)


# --- splitting by seconds ------------------------------------------------------------------------


def test_voices_with_one_clip_are_cut_by_time_with_a_warning(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)

    samples = samples_of(tmp_path / "out")
    seconds = [samples[split][0].audio.size / RATE for split in SPLITS]
    assert report.counts == {"train": 2, "val": 2, "test": 2}
    assert seconds == pytest.approx([5.6, 1.2, 1.2], abs=0.05)
    assert len(report.warnings) == 1
    assert "2 voices are too few" in report.warnings[0]
    assert "not how well new voices are cloned" in report.warnings[0]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(20, [14, 3, 3]), (5, [3, 1, 1]), (3, [1, 1, 1]), (2.9, [2.9])]
)
def test_each_part_of_a_cut_clip_lasts_a_second(seconds, expected):
    audio = np.random.default_rng(0).normal(size=round(seconds * RATE)).astype(np.float32)

    parts = list(cut_by_time(audio, RATE).values())

    assert [part.size / RATE for part in parts] == pytest.approx(expected)
    np.testing.assert_array_equal(np.concatenate(parts), audio)


def test_a_clip_whose_val_part_would_be_silent_is_not_cut():
    audio = np.ones(10 * RATE, dtype=np.float32)
    audio[6 * RATE : 9 * RATE] = 0

    assert list(cut_by_time(audio, RATE)) == ["train"]


def test_a_clip_too_short_to_cut_is_for_training_only_with_a_warning(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    add_clip(audio_dir, "anna_02.wav", seconds=2.0)

    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)

    assert report.counts == {"train": 3, "val": 2, "test": 2}
    assert report.warnings[-1].startswith("left 1 clip uncut, in train only: anna_02")


def test_clips_that_are_all_too_short_to_cut_are_refused(folders, tmp_path):
    audio_dir, styles_dir = folders
    add_clip(audio_dir, "anna.wav", seconds=2.0)
    write_voice_style(styles_dir / "anna.json", make_style(1), {})

    with pytest.raises(DataError, match=r"audio: no clip is long enough.*clips of 3 s or more"):
        import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)
    assert not (tmp_path / "out").exists()


# --- writing -------------------------------------------------------------------------------------


def test_a_sample_carries_its_voice_its_style_and_its_rate(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    import_voices(audio_dir, styles_dir, tmp_path / "out", 16000, 0, USUAL)

    sample = read_sample(tmp_path / "out" / "val" / "ben_0000.npz")
    assert (sample.voice, sample.sample_rate, sample.text, sample.lang) == ("ben", 16000, "", "na")
    style = read_voice_style(styles_dir / "ben.json")
    np.testing.assert_array_equal(sample.style_ttl, style.ttl)
    np.testing.assert_array_equal(sample.style_dp, style.dp)


def test_equal_input_gives_equal_bytes(several_clips, tmp_path):
    audio_dir, styles_dir = several_clips
    for name in ("a", "b"):
        import_voices(audio_dir, styles_dir, tmp_path / name, RATE, 3, USUAL)

    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.npz"))
    assert len(files) == 20
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_existing_folder_with_files_is_refused_and_kept(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")

    with pytest.raises(
        ConfigError, match=r"out: exists and is not empty; remove it or name another"
    ):
        import_voices(audio_dir, styles_dir, out, RATE, 0, USUAL)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    (tmp_path / "out").mkdir()

    import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(SPLITS)


def test_a_folder_that_cannot_be_made_is_refused_by_name(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match=r"out: cannot be written .*name another folder"):
        import_voices(audio_dir, styles_dir, tmp_path / "file" / "out", RATE, 0, USUAL)


def test_unusable_recordings_are_all_named_and_nothing_is_written(several_clips, tmp_path):
    audio_dir, styles_dir = several_clips
    add_clip(audio_dir, "voice1_7.wav", seconds=0.5)
    (audio_dir / "voice2_8.wav").write_bytes(b"junk")
    before = sorted(tmp_path.iterdir())

    message = r"voice1_7\.wav: 0\.50 s.*; 2 of 22 files .* used, also voice2_8\.wav; .* --skip-bad"
    with pytest.raises(DataError, match=message):
        import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)
    assert sorted(tmp_path.iterdir()) == before


def test_styles_of_two_versions_are_refused_by_name(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    write_voice_style(styles_dir / "ben.json", make_style(1, version=1), {})

    with pytest.raises(DataError, match=r"ben\.json and .*anna\.json .*one version only"):
        import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)


def test_a_damaged_style_is_refused_by_name(one_clip_each, tmp_path):
    audio_dir, styles_dir = one_clip_each
    (styles_dir / "ben.json").write_text("{}")

    with pytest.raises(DataError, match=r"ben\.json: has no style_ttl"):
        import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, USUAL)


# --- real voices ---------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no recordings of real voices in {REAL}")
def test_ten_real_voices_with_one_clip_each_are_cut_by_time(tmp_path):
    report = import_voices(REAL / "voices", REAL / "styles", tmp_path / "out", 24000, 0, USUAL)

    samples = samples_of(tmp_path / "out")
    assert report.counts == {"train": 10, "val": 10, "test": 10}
    assert voices_of(samples)["val"] == set(report.voices)
    assert min(sample.audio.size for sample in samples["val"]) >= 24000
    assert ["0 of 10 voices have several clips" in line for line in report.warnings] == [True]
