"""Which voice a recording is of, by the names of files and folders as corpora have them."""

import os
import subprocess

import pytest

from tests.data.recordings import add_clip, folders
from tests.fabricate import make_style
from tune_encoder.data.pairing import matching_name, pair_recordings
from tune_encoder.data.voice_style import write_voice_style
from tune_encoder.errors import DataError

__all__ = ["folders"]  # a fixture


@pytest.mark.parametrize(
    ("stem", "names", "expected"),
    [
        ("anna", ["anna"], "anna"),
        ("anna_01", ["anna"], "anna"),
        ("anna-2", ["anna"], "anna"),
        ("anna.take", ["anna"], "anna"),
        ("anna 3", ["anna"], "anna"),
        ("annabel", ["anna"], None),
        ("F10", ["F1"], None),
        ("F10", ["F1", "F10"], "F10"),
        ("anna_low_1", ["anna", "anna_low"], "anna_low"),
        ("ann", ["anna"], None),
        ("Anna", ["anna"], None),
    ],
)
def test_a_recording_takes_the_longest_style_name_before_a_separator(stem, names, expected):
    assert matching_name(stem, names) == expected


# --- trees of corpora ----------------------------------------------------------------------------

VCTK = {
    "wav48_silence_trimmed/p225/p225_001_mic1.flac": "p225",
    "wav48_silence_trimmed/p225/p225_002_mic2.flac": "p225",
    "wav48_silence_trimmed/p226/p226_001_mic1.flac": "p226",
    "wav48_silence_trimmed/s5/s5_001_mic1.flac": "s5",
}
LIBRITTS = {
    "train-clean-100/84/121550/84_121550_000008_000000.wav": "84",
    "train-clean-100/84/1034/84_1034_000010_000000.wav": "84",  # a chapter, and another speaker
    "train-clean-100/1034/121119/1034_121119_000001_000002.wav": "1034",
    "dev-clean/2078/142845/2078_142845_000002_000000.wav": "2078",
}
NESTED = {
    "2024/studio/anna/hello.WAV": "anna",
    "2024/studio/anna/take 2/well, hello.FLAC": "anna",
    "2025/ben/BEN.MP3": "ben",
    "carl_1.Wav": "carl",
}
TREES = {"vctk": VCTK, "libritts": LIBRITTS, "nested": NESTED}


def make_tree(audio_dir, styles_dir, tree):
    for seed, voice in enumerate({**dict.fromkeys(tree.values())}):
        write_voice_style(styles_dir / f"{voice}.json", make_style(seed), {})
    for name in tree:
        (audio_dir / name).parent.mkdir(parents=True, exist_ok=True)
        add_clip((audio_dir / name).parent, (audio_dir / name).name)
    (audio_dir / "txt" / "p225").mkdir(parents=True)
    (audio_dir / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.")


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_the_recordings_of_a_corpus_are_of_the_speaker_whose_folder_they_are_in(folders, tree):
    audio_dir, styles_dir = folders
    make_tree(audio_dir, styles_dir, tree)

    pairing = pair_recordings([audio_dir], styles_dir)

    assert {str(c.path.relative_to(audio_dir)): c.voice for c in pairing.clips} == tree
    assert pairing.doubtful == {}
    assert pairing.warnings == []


def test_the_several_styles_of_a_speaker_are_told_apart_at_any_depth(folders):
    audio_dir, styles_dir = folders
    for seed, name in enumerate(("calm", "loud")):
        (audio_dir / "2024" / "anna").mkdir(parents=True, exist_ok=True)
        (styles_dir / "anna").mkdir(exist_ok=True)
        write_voice_style(styles_dir / "anna" / f"{name}.JSON", make_style(seed), {})
        add_clip(audio_dir / "2024" / "anna", f"{name}_1.WAV")

    pairing = pair_recordings([audio_dir], styles_dir)

    assert [clip.voice for clip in pairing.clips] == ["anna_calm", "anna_loud"]


def test_a_clip_named_after_another_speaker_than_its_deep_folder_is_doubtful(folders):
    audio_dir, styles_dir = folders
    make_tree(audio_dir, styles_dir, NESTED)
    add_clip(audio_dir / "2024" / "studio" / "anna", "ben_2.wav")

    (reason,) = pair_recordings([audio_dir], styles_dir).doubtful.values()

    assert reason.endswith(
        "anna/ben_2.wav: is in the folder of 'anna' but named as one of 'ben'; move or rename it"
    )


# --- formats that are not read -------------------------------------------------------------------


def add_foreign(audio_dir, *names):
    for name in names:
        (audio_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (audio_dir / name).write_bytes(b"not read here")


def test_a_folder_of_m4a_alone_is_refused_with_a_command_to_paste(folders):
    audio_dir, styles_dir = folders
    write_voice_style(styles_dir / "anna.json", make_style(1), {})
    add_foreign(audio_dir, "anna.m4a")

    message = (
        rf"audio: 1 recording of formats that are not read here: anna\.m4a; convert them: "
        rf"ffmpeg -i {audio_dir}/anna\.m4a {audio_dir}/anna\.wav$"
    )
    with pytest.raises(DataError, match=message):
        pair_recordings([audio_dir], styles_dir)


def test_the_command_for_several_formats_converts_each_beside_itself(folders, tmp_path):
    """A stand-in for ffmpeg copies its input to its output."""
    audio_dir, styles_dir = folders
    make_tree(audio_dir, styles_dir, NESTED)
    names = ["anna/my voice.M4A", "anna/it's.webm", "2025/ben/deep/b.v2.m4a"]
    add_foreign(audio_dir, *names)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").write_text('#!/bin/sh\ncp "$2" "$3"\n')
    (tmp_path / "bin" / "ffmpeg").chmod(0o755)

    (warning,) = pair_recordings([audio_dir], styles_dir).warnings

    told, _, command = warning.partition("; convert them: ")
    assert told.startswith("skipped 3 recordings of formats that are not read here: b.v2.m4a, ")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", command], check=True, env={**os.environ, "PATH": path})
    for name in names:
        assert (audio_dir / name).with_suffix(".wav").read_bytes() == b"not read here"
    assert len([*audio_dir.rglob("*.wav")]) == len(names)
