import json

import numpy as np
import pytest

from tests.fabricate import make_style, write_wav
from tune_encoder.data.scores import Styles
from tune_encoder.data.voice_bank import VoiceBank, bank_of_presets
from tune_encoder.data.voice_style import read_voice_style
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.model.clone import (
    check_voice_name,
    clone,
    clone_speaker,
    open_engine,
    speaker_recordings,
    speakers_by_folder,
)


@pytest.fixture(scope="module")
def engine(model_dir):
    return open_engine(model_dir)


@pytest.fixture
def clips(voices, tmp_path):
    """Three clips of one voice, and one of another."""
    anna, ben = (np.tile(voice, 4) for voice in voices)
    parts = {"a1": anna[:72000], "a2": anna[30000:102000], "a3": anna[60000:132000]}
    parts["ben"] = ben[:72000]
    return {name: write_wav(tmp_path / f"{name}.wav", audio) for name, audio in parts.items()}


@pytest.fixture
def bank(engine, clips, tmp_path):
    """Two voices; the distance between them is 1."""
    paths = {name: clone(engine, clips[name], tmp_path / f"{name}.json") for name in ("a1", "ben")}
    return bank_of_presets({clips[name]: each.style for name, each in paths.items()})


def apart(a, b):
    return float(np.linalg.norm(a.ttl - b.ttl) + np.linalg.norm(a.dp - b.dp))


def test_the_style_of_a_speaker_is_the_mean_of_the_clips(engine, clips, bank, tmp_path):
    recordings = [clips[name] for name in ("a1", "a2", "a3")]

    made = clone_speaker(engine, recordings, tmp_path / "anna.json", bank=bank)

    single = [clone(engine, path, tmp_path / "one.json").style for path in recordings]
    mean = np.mean([style.ttl for style in single], axis=0)
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    np.testing.assert_allclose(made.style.ttl, mean, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(made.style.ttl, axis=-1), 1, atol=1e-5)
    assert made.weights == pytest.approx([1 / 3] * 3, rel=0.05)
    assert made.left_out == {}
    assert not made.is_divided
    assert apart(read_voice_style(tmp_path / "anna.json"), made.style) < 1e-4


def test_with_a_single_known_voice_no_recording_is_left_out(engine, clips, bank, tmp_path):
    single = VoiceBank(bank.names[:1], Styles(bank.styles.ttl[:1], bank.styles.dp[:1]))

    made = clone_speaker(engine, list(clips.values()), tmp_path / "anna.json", bank=single)

    assert len(made.clips) == 4
    assert (made.left_out, made.is_divided) == ({}, False)
    assert made.spread is None
    assert made.uncertainty is None


def test_the_json_says_of_which_recordings_it_is(engine, clips, bank, tmp_path):
    made = clone_speaker(engine, list(clips.values()), tmp_path / "anna.json", bank=bank)

    metadata = json.loads((tmp_path / "anna.json").read_text())["metadata"]
    assert metadata["source_files"] == ["a1.wav", "a2.wav", "a3.wav"]
    assert metadata["source_weights"] == [round(weight, 4) for weight in made.weights]
    assert metadata["left_out"] == ["ben.wav"]
    assert metadata["target_sample_rate"] == 24000


def test_a_clip_of_another_voice_is_left_out_with_its_distance(engine, clips, bank, tmp_path):
    clean = clone_speaker(engine, list(clips.values())[:3], tmp_path / "clean.json", bank=bank)

    made = clone_speaker(engine, list(clips.values()), tmp_path / "anna.json", bank=bank)

    assert list(made.left_out) == [clips["ben"]]
    assert made.left_out[clips["ben"]] == pytest.approx(1, abs=0.3)
    assert apart(made.style, clean.style) < 1e-5
    assert made.spread == clean.spread


def test_two_clips_of_two_voices_are_both_kept_and_said_to_be_unlike(engine, clips, bank, tmp_path):
    made = clone_speaker(engine, [clips["a1"], clips["ben"]], tmp_path / "x.json", bank=bank)

    assert made.is_divided
    assert made.left_out == {}
    assert made.spread == pytest.approx(1, abs=0.05)
    assert made.uncertainty == pytest.approx(0.5, abs=0.1), "the standard error of a mean of two"


def test_a_longer_clip_weighs_more_and_a_noisy_one_less(engine, voices, clips, tmp_path):
    rng = np.random.default_rng(0)
    long = np.tile(voices[0], 8)[:288000]
    noisy = voices[0] + 2 * voices[0].std() * rng.normal(size=voices[0].size)
    paths = [clips["a1"], write_wav(tmp_path / "long.wav", long)]
    paths.append(write_wav(tmp_path / "noisy.wav", 0.1 * noisy[:72000]))

    made = clone_speaker(engine, paths, tmp_path / "anna.json")

    usual, longer, noisier = made.weights
    assert longer / usual == pytest.approx(2, rel=0.05), "four times as long"
    assert noisier / usual == pytest.approx(0.2, rel=0.05)


def test_without_known_voices_no_distance_is_told_and_none_is_left_out(engine, clips, tmp_path):
    made = clone_speaker(engine, list(clips.values()), tmp_path / "anna.json")

    assert (made.spread, made.uncertainty, made.left_out) == (None, None, {})
    assert len(made.clips) == 4


def test_a_recording_that_is_named_twice_counts_once(engine, clips, tmp_path):
    made = clone_speaker(engine, [clips["a1"], clips["a1"]], tmp_path / "anna.json")

    assert made.weights == [1]


def test_a_bad_clip_is_told_and_the_others_make_the_style(engine, clips, tmp_path):
    short = write_wav(tmp_path / "short.wav", np.ones(2400) * 0.1)

    made = clone_speaker(engine, [clips["a1"], short], tmp_path / "anna.json")

    (error,) = made.failed
    assert "short.wav: is silent" in str(error) or "short.wav: 0." in str(error)
    assert [clip.recording for clip in made.clips] == [clips["a1"]]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (
            1,
            r"anna: its only recording cannot be used \(.*0\.wav: no such file; .*\); give a clean",
        ),
        (3, r"anna: none of its 3 recordings can be used, the first because .*0\.wav: no such "),
    ],
)
def test_without_a_good_clip_nothing_is_written(engine, tmp_path, count, words):
    missing = [tmp_path / f"{number}.wav" for number in range(count)]

    with pytest.raises(DataError, match=words):
        clone_speaker(engine, missing, tmp_path / "anna.json")

    assert not (tmp_path / "anna.json").exists()


def test_a_known_style_of_another_version_is_refused(engine, clips, tmp_path):
    known = {tmp_path / "F1.json": make_style(1, version=1)}

    with pytest.raises(DataError, match=r"F1\.json and .*anna\.json are of different Supertonic"):
        clone_speaker(engine, [clips["a1"]], tmp_path / "anna.json", known=known)

    assert not (tmp_path / "anna.json").exists()


# --- which recordings are whose ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", ".anna", "a\nb", "c:d", "x" * 101])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(ConfigError, match=r"--voice '.*': is no file name; use up to 100 letters"):
        check_voice_name(name)


@pytest.mark.parametrize("name", ["anna", "Zoë", "Zoe\u0308", "Maria Luisa", "p225_v2.1"])
def test_a_name_of_letters_of_any_language_is_taken(name):
    check_voice_name(name)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_stands_for_the_recordings_in_and_below_it(tmp_path):
    touch(tmp_path, "in/b.WAV", "in/deep/a.flac", "in/notes.txt", "in/.c.wav", "in/.git/d.wav")

    found = speaker_recordings([tmp_path / "x.wav", tmp_path / "in"])

    assert found == [tmp_path / "x.wav", tmp_path / "in" / "b.WAV", tmp_path / "in/deep/a.flac"]


def test_a_folder_without_recordings_is_refused_by_name(tmp_path):
    touch(tmp_path, "in/notes.txt")

    with pytest.raises(DataError, match=r"in: has no recording; put \.wav, .* files there"):
        speaker_recordings([tmp_path / "in"])
    with pytest.raises(DataError, match=r"in: has no recording; put \.wav, .* files there"):
        speakers_by_folder([tmp_path / "in"])


def test_folders_of_speakers_are_found_in_a_corpus_and_named_one_by_one(tmp_path):
    touch(
        tmp_path, "corpus/p1/0/a.wav", "corpus/p1/1/b.wav", "corpus/p2/c.wav", "corpus/empty/x.txt"
    )
    touch(tmp_path, "anna/1.wav", "anna/more/2.wav")

    found = speakers_by_folder([tmp_path / "corpus", tmp_path / "anna"])

    assert {name: [path.name for path in paths] for name, paths in found.items()} == {
        "p1": ["a.wav", "b.wav"],
        "p2": ["c.wav"],
        "anna": ["1.wav", "2.wav"],
    }


def test_two_folders_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "x/anna/1.wav", "y/anna/1.wav")

    with pytest.raises(
        ConfigError, match=r"x/anna, .*y/anna: are two speakers of one name; rename"
    ):
        speakers_by_folder([tmp_path / "x" / "anna", tmp_path / "y" / "anna"])


def test_a_file_among_the_folders_of_speakers_is_refused(tmp_path):
    touch(tmp_path, "a.wav")

    with pytest.raises(ConfigError, match=r"a\.wav: is no folder; with --by-folder name folders"):
        speakers_by_folder([tmp_path / "a.wav"])
