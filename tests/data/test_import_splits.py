"""Splits that an import is asked for: whole voices, by time, voices or a folder for test."""

import numpy as np
import pytest
import soundfile

from tests.data.recordings import (
    RATE,
    add_clip,
    folders,
    import_voices,
    one_clip_each,
    samples_of,
    several_clips,
    voices_of,
)
from tests.fabricate import make_style
from tune_encoder.data.splitting import SplitRequest
from tune_encoder.data.voice_style import write_voice_style
from tune_encoder.errors import ConfigError, DataError

__all__ = ["folders", "one_clip_each", "several_clips"]  # fixtures


def imported(folders, tmp_path, **asked):
    audio_dir, styles_dir = folders
    request = SplitRequest(**asked)
    report = import_voices(audio_dir, styles_dir, tmp_path / "out", RATE, 0, request)
    return report, voices_of(samples_of(tmp_path / "out"))


def test_voices_of_one_clip_are_split_whole_if_asked(several_clips, tmp_path):
    for path in [*several_clips[0].glob("*.flac")]:
        path.unlink()

    report, voices = imported(several_clips, tmp_path, how="voices")

    assert report.counts == {"train": 8, "val": 1, "test": 1}
    assert report.validation == (
        "9 voices in train and val are few: a search scores each config on 9 folds of whole voices"
    )
    assert len(set().union(*voices.values())) == 10
    assert "by time" not in report.warnings[0].partition(":")[0]


def test_voices_of_several_clips_are_cut_by_time_if_asked(several_clips, tmp_path):
    for seed in range(10):
        add_clip(several_clips[0], f"voice{seed}_3.wav", seconds=4.0)

    report, voices = imported(several_clips, tmp_path, how="time")

    assert report.counts == {"train": 30, "val": 10, "test": 10}
    assert not report.validation
    assert voices["train"] == voices["val"] == voices["test"]
    assert report.warnings[0].startswith("split by time (as asked): train, val and test share")
    assert report.warnings[1].startswith("left 20 clips uncut, in train only: voice0-b.flac, ")


@pytest.mark.parametrize("how", ["voices", "time"])
def test_voices_that_are_held_out_are_in_test_alone(several_clips, tmp_path, how):
    report, voices = imported(several_clips, tmp_path, how=how, hold_out=["voice3", "voice7"])

    assert voices["test"] == {"voice3", "voice7"}
    assert not voices["test"] & (voices["train"] | voices["val"])
    assert report.counts["test"] == 4
    if how == "voices":
        assert (len(voices["train"]), len(voices["val"])) == (7, 1)
        assert report.warnings[0].startswith("val is a single voice (voice")
    else:
        assert voices["train"] == voices["val"]
        assert "(as asked): train and val share voices" in report.warnings[0]


def test_the_recordings_of_a_folder_make_test(one_clip_each, tmp_path):
    styles_dir = one_clip_each[1]
    more = tmp_path / "more"
    more.mkdir()
    for name in ("anna_1.wav", "carl.wav"):
        add_clip(more, name)
    write_voice_style(styles_dir / "carl.json", make_style(7), {})

    report, voices = imported(one_clip_each, tmp_path, test_dir=more)

    assert report.counts == {"train": 2, "val": 2, "test": 2}
    assert voices == {"train": {"anna", "ben"}, "val": {"anna", "ben"}, "test": {"anna", "carl"}}
    seconds = [sample.audio.size / RATE for sample in samples_of(tmp_path / "out")["val"]]
    assert seconds == pytest.approx([1.2, 1.2], abs=0.05)
    assert report.warnings == [
        "split by time (0 of 2 voices have several clips): train and val share voices, so scores "
        "tell how well known voices are recognised, not how well new voices are cloned"
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"hold_out": ["ben", "zoe"]},
            r"^--hold-out zoe: no recording has a voice of this name; there are anna, ben$",
        ),
        ({"hold_out": ["ben", "anna"]}, r"^--hold-out names all 2 voices; leave some to train on$"),
    ],
)
def test_voices_that_cannot_be_held_out_are_refused_by_name(
    one_clip_each, tmp_path, asked, message
):
    with pytest.raises(ConfigError, match=message):
        imported(one_clip_each, tmp_path, **asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"how": "voices"},
            r"^--split voices: 2 voices are too few to hold some out for val and test; use --split "
            r"time, or add voices$",
        ),
        (
            {"how": "voices", "hold_out": ["ben"]},
            r"^--split voices: 1 voice is too few to hold some out for val; use --split time, or ",
        ),
    ],
)
def test_too_few_voices_to_hold_out_whole_are_refused(one_clip_each, tmp_path, asked, message):
    with pytest.raises(DataError, match=message):
        imported(one_clip_each, tmp_path, **asked)


def test_one_voice_is_cut_by_time_with_a_warning_of_each_kind(one_clip_each, tmp_path):
    (one_clip_each[0] / "ben.wav").unlink()

    report, _ = imported(one_clip_each, tmp_path)

    assert report.warnings[0] == "skipped 1 style without a recording: ben.json"
    assert "(1 voice is too few to hold some out for val and test)" in report.warnings[1]
    assert report.warnings[2] == (
        "val is a single voice (anna), test is a single voice (anna): a score on one voice is "
        "mostly chance; add voices"
    )


def test_clips_too_short_for_a_split_by_time_are_refused(several_clips, tmp_path):
    with pytest.raises(DataError, match=r"audio: no clip is long enough to be cut into train, val"):
        imported(several_clips, tmp_path, how="time")


def test_a_voice_of_silent_clips_is_refused_by_its_files(several_clips, tmp_path):
    for name in ("voice4_a.wav", "voice4-b.flac"):
        soundfile.write(several_clips[0] / name, np.zeros(2 * RATE), RATE)

    with pytest.raises(DataError, match=r"voice4-b\.flac: .*silent.*; 2 of 20 .*voice4_a\.wav"):
        imported(several_clips, tmp_path)


def test_a_test_folder_without_any_voice_is_refused_by_its_name(one_clip_each, tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match=r"empty: of 0 recordings none matches any of 2 styles in"):
        imported(one_clip_each, tmp_path, test_dir=tmp_path / "empty")
