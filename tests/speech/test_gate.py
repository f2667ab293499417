"""What the gate refuses."""

import numpy as np
import pytest

from tune_encoder.speech.gate import plausible_seconds, refusal

RATE = 44100
TEXT = "A grey cat slept on the warm bonnet of the car."  # about 2.6 s


def tone(seconds=2.6, level=0.07):
    return (level * np.sin(np.arange(round(seconds * RATE)) / 20)).astype(np.float32)


def spoiled(value):
    audio = tone()
    audio[1000] = value
    return audio


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (tone(), ""),
        (spoiled(np.nan), "not finite"),
        (spoiled(np.inf), "not finite"),
        (tone(level=0.0), "silent"),
        (tone(seconds=0), "silent"),
        (tone(seconds=0.8), "too short"),
        (tone(seconds=9), "too long"),
        (np.clip(tone(level=1.1), -1, 1), "clipped"),
        (tone(level=0.005), "too quiet"),
        (tone(level=0.9), "too loud"),
    ],
)
def test_a_clip_is_refused_with_the_reason(audio, reason):
    assert refusal(audio, RATE, TEXT, "en", 1.0) == reason


def test_fast_speech_may_be_shorter():
    assert refusal(tone(seconds=1.0), RATE, TEXT, "en", 1.0) == "too short"
    assert refusal(tone(seconds=1.0), RATE, TEXT, "en", 1.5) == ""


def test_a_korean_letter_takes_as_long_as_several_latin_ones():
    assert plausible_seconds("안녕하세요", "ko", 1.0)[1] > plausible_seconds("annye", "en", 1.0)[1]


def test_marks_take_no_time():
    assert plausible_seconds("a, b!", "en", 1.0) == plausible_seconds("ab", "en", 1.0)
