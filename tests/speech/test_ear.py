"""The ear: what it speaks and keeps, what its scale means, and what it refuses."""

import numpy as np
import pytest

from tests.speech.stand_in import UNSUPPORTED, preset_styles
from tune_encoder.config import MAX_SENTENCES, SUPERTONIC_MODELS, ListenSettings
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.errors import ConfigError
from tune_encoder.speech.ear import Scale, Speech, open_ear, preset_scale, usual_sentences
from tune_encoder.speech.engine import model_languages

pytestmark = pytest.mark.weights

MODEL = "supertonic-3"


@pytest.fixture(scope="module")
def ear(models):
    return open_ear(MODEL, models, ListenSettings(), [])


@pytest.fixture(scope="module")
def presets(ear):
    styles = preset_styles()
    return {name: ear.speech(styles[name], name) for name in ("F1", "F4", "M2", "M5")}


def test_each_language_has_three_sentences_of_its_own(models, ear):
    german = open_ear(MODEL, models, ListenSettings(lang="de"), [])
    assert len({*ear.sentences, *german.sentences}) == 6


def test_good_speech_of_three_sentences_has_no_fault(presets):
    for each in presets.values():
        assert len(each.clips) == len(each.embeddings) == 3
        assert list(each.faults) == []


def test_a_style_is_spoken_once(ear, presets):
    style = preset_styles()["M2"]
    assert ear.speech(style, "again") is presets["M2"]
    other = VoiceStyle(style.ttl, preset_styles()["F1"].dp)
    assert ear.speech(other, "other") is not presets["M2"]


def test_speech_that_is_not_kept_is_not_found_again(ear):
    style = preset_styles()["F3"]
    before = len(ear._known)

    passing = ear.speech(style, "F3", keep=False)

    assert len(ear._known) == before
    kept = ear.speech(style, "F3")
    assert kept is not passing
    assert np.array_equal(kept.embeddings, passing.embeddings)
    assert ear.speech(style, "F3", keep=False) is kept


@pytest.mark.parametrize("model", SUPERTONIC_MODELS)
def test_every_model_speaks_the_language_of_the_similarity(model):
    lang = ListenSettings().lang

    assert lang in model_languages(model)
    assert len(usual_sentences(lang)) == MAX_SENTENCES
    assert usual_sentences(lang, 2) == usual_sentences(lang)[:2]


def test_the_scale_puts_strangers_at_0_and_a_voice_at_1(presets):
    scale = preset_scale(presets)
    assert scale.same is not None
    assert 0.4 < scale.strangers < 0.9 < scale.same < 1
    assert scale.place(scale.strangers) == pytest.approx(0)
    assert scale.place(scale.same) == pytest.approx(1)


def test_the_scale_is_that_of_a_sentence_against_the_other_sentences_and_other_voices():
    def voice(*directions):
        return Speech([], np.eye(4, dtype=np.float32)[list(directions)], [])

    same = voice(0, 0)
    torn = voice(1, 2)  # each sentence as unlike the other as can be
    scale = preset_scale({"same": same, "torn": torn})
    assert scale.same == pytest.approx((1 + 1 + 0 + 0) / 4)
    assert scale.strangers == 0
    mixed = preset_scale({"same": same, "half": voice(0, 3)})
    assert mixed.strangers == pytest.approx((np.sqrt(0.5) + 0.5) / 2)


def test_of_one_sentence_no_voice_can_be_compared_with_itself(models):
    ear = open_ear(MODEL, models, ListenSettings(), ["We counted the stars until dawn."])
    styles = preset_styles()
    scale = preset_scale({name: ear.speech(styles[name], name) for name in ("F1", "M2")})
    assert scale.same is None
    assert scale.place(0.9) is None
    assert Scale(0.9, 0.8).place(0.85) is None


def test_a_short_text_is_a_fault_that_is_said(models):
    ear = open_ear(MODEL, models, ListenSettings(), ["Well, yes."])
    (fault,) = ear.speech(preset_styles()["F1"], "F1").faults
    assert fault.startswith("sentence 1 has ")
    assert fault.endswith(" s; use a longer text")


@pytest.mark.parametrize(
    ("lang", "sentences", "message"),
    [
        ("xx", [], r"^--lang is 'xx'; supertonic-3 speaks en, ko, .*vi, na$"),
        ("fi", [], r"^no sentence in fi is at hand; give some with --text$"),
        ("en", ["..."], r"^--text is '\.\.\.', which has no letter; give a sentence$"),
        (
            "en",
            [f"Press {UNSUPPORTED} now."],
            rf"^--text has '{UNSUPPORTED}', which the model cannot speak; leave out or spell out "
            rf"what is in 'Press {UNSUPPORTED} now\.'$",
        ),
    ],
)
def test_what_cannot_be_spoken_is_refused(models, lang, sentences, message):
    with pytest.raises(ConfigError, match=message):
        open_ear(MODEL, models, ListenSettings(lang=lang), sentences)
