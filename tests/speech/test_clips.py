"""Clips: what is drawn of them, what is written, what is drawn again."""

import numpy as np
import pytest

from tests.speech.conftest import small
from tests.speech.stand_in import SAMPLE_RATE, preset_styles, write_stand_in
from tune_encoder.data.audio import outer_silence_s
from tune_encoder.data.samples import read_sample
from tune_encoder.errors import DataError
from tune_encoder.speech.clips import Clip, Script, is_whole, make_clip, read_notes, remove_partial
from tune_encoder.speech.engine import Engine
from tune_encoder.speech.texts import shipped_texts
from tune_encoder.speech.voices import Cast

TEXTS = {"en": ("Good morning.", "A grey cat slept on the warm bonnet of the car."), "de": ("Ja.",)}


def script(texts=None, **changes):
    settings = small(**changes)
    return Script(settings, Cast(settings, preset_styles(), {}, []), texts or shipped_texts())


@pytest.fixture
def make(engine, tmp_path):
    """Makes clip 0 of a voice."""

    def make(engine=engine, voice=11, name="clip.npz", **changes):
        return make_clip(engine, script(**changes), Clip(voice, 0, tmp_path / name))

    return make


def test_texts_steps_and_speeds_are_drawn_from_all_that_there_are():
    read = script(TEXTS, steps="5,8")
    drawn = [read.utterance(number, 0, 0) for number in range(300)]

    assert sum(said.lang == "de" for said in drawn) == pytest.approx(150, abs=40)
    assert {(said.lang, said.text) for said in drawn} == {
        (lang, text) for lang, each in TEXTS.items() for text in each
    }
    assert {said.steps for said in drawn} == {5, 8}
    speeds = [said.speed for said in drawn]
    assert 0.9 <= min(speeds) < 0.91
    assert 1.14 < max(speeds) <= 1.15


def test_each_clip_and_each_attempt_is_drawn_anew():
    said = script().utterance
    keys = [(4, 0, 0), (4, 1, 0), (5, 0, 0), (4, 0, 1)]

    assert len({said(*key).seed for key in keys}) == 4
    assert said(4, 0, 0) == said(4, 0, 0)


def test_a_clip_is_a_sample_that_says_how_it_was_made(make, tmp_path):
    made = make()
    sample, notes = read_sample(made.clip.path), read_notes(made.clip.path)
    said, voice = script().utterance(11, 0, 0), script().cast.voice(11)

    assert (sample.text, sample.lang, sample.voice) == (said.text, said.lang, "mixed_00011")
    assert sample.sample_rate == SAMPLE_RATE
    np.testing.assert_array_equal(sample.style_ttl, voice.style.ttl)
    assert made.notes == notes
    assert notes == {
        **said._asdict(),
        "origin": voice.origin,
        "seconds": pytest.approx(len(sample.audio) / SAMPLE_RATE, abs=1e-3),
        "refused": [],
    }
    with np.load(made.clip.path) as content:
        assert content["audio"].dtype == np.float16


def test_the_audio_is_what_was_spoken_without_its_silent_ends(make, engine):
    sample, said = read_sample(make().clip.path), script().utterance(11, 0, 0)
    style = script().cast.voice(11).style
    how = {"steps": said.steps, "speed": said.speed, "seed": said.seed}

    spoken = engine.speak(style, said.text, said.lang, **how)

    start = np.correlate(spoken, sample.audio[:8000], "valid").argmax()
    kept = spoken[start : start + len(sample.audio)]
    np.testing.assert_allclose(sample.audio, kept, rtol=1e-3, atol=1e-6)


def test_silent_ends_are_cut_off(models, make):
    text = "Good morning" + "." * 20
    plain = Engine("supertonic", models)  # it speaks no marks of the language around a text
    style = script().cast.voice(11).style
    spoken = plain.speak(style, text, "en", steps=5, speed=1.0, seed=0)

    made = make(plain, texts={"en": (text,)}, speed="1.0")

    assert outer_silence_s(spoken, SAMPLE_RATE) > 1
    assert outer_silence_s(read_sample(made.clip.path).audio, SAMPLE_RATE) < 0.25


def test_equal_clips_have_equal_bytes_and_one_that_is_there_is_left(make):
    first, again = make(name="first.npz").clip.path, make(name="again.npz").clip.path
    assert first.read_bytes() == again.read_bytes()

    before = first.stat().st_mtime_ns
    assert make(name="first.npz").notes
    assert first.stat().st_mtime_ns == before


def test_a_torn_clip_is_made_again(make):
    path = make().clip.path
    content = path.read_bytes()

    for torn in (content[:-500], content[:900] + b"\0\0\0\0" + content[904:], b""):
        path.write_bytes(torn)
        assert not is_whole(path)
        make()
        assert path.read_bytes() == content


def test_what_is_refused_is_drawn_again_and_told(make, tmp_path):
    loud = Engine("supertonic-3", write_stand_in(tmp_path / "loud", level=0.5))
    made = [make(loud, voice, f"{voice}.npz") for voice in range(3)]

    again = next(each for each in made if each.refused and each.notes)
    assert {*again.refused} == {"clipped"}
    notes = read_notes(again.clip.path)
    said = script().utterance(again.clip.voice, 0, len(again.refused))
    assert notes["refused"] == again.refused
    assert (notes["text"], notes["seed"]) == (said.text, said.seed)


def test_a_clip_whose_every_draw_is_refused_is_left_out(make, tmp_path):
    silent = Engine("supertonic-3", write_stand_in(tmp_path / "silent", level=0.0))

    made = make(silent, draws=3)

    assert made.refused == ["silent"] * 3
    assert made.notes is None
    assert not made.clip.path.exists()


def test_anothers_file_is_no_clip(tmp_path):
    np.savez(tmp_path / "other.npz", audio=np.zeros(3))

    with pytest.raises(DataError, match=r"other\.npz: not a clip of this data set .*remove it"):
        read_notes(tmp_path / "other.npz")


def test_what_killed_processes_left_is_removed(tmp_path):
    (tmp_path / ".clip.npz.123.partial").write_bytes(b"half")
    (tmp_path / "clip.npz").write_bytes(b"whole")

    remove_partial(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["clip.npz"]
