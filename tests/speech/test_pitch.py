"""Pitch and level against sounds whose pitch and level are known."""

import numpy as np
import pytest

from tune_encoder.speech.pitch import _BLOCK, FRAME_S, median_pitch_hz, pitch_and_level

RATE = 24000


def voice(hz, seconds=1.0, level_db=-20.0):
    """A pulse train with twelve harmonics, each weaker than the one before."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, round(seconds * RATE))) / RATE
    sound = np.sum([np.cos(n * phase) / n for n in range(1, 13)], axis=0)
    return (sound * 10 ** (level_db / 20) / np.sqrt(np.mean(sound**2))).astype(np.float32)


@pytest.mark.parametrize("hz", [75.0, 110.0, 213.0, 383.0])
def test_a_voice_has_its_pitch_in_all_frames_that_it_fills(hz):
    pitch, level = pitch_and_level(voice(hz), RATE)
    inner = pitch[3:-4]
    assert np.abs(inner / hz - 1).max() < 0.003  # a lag of whole samples is off by 0.005 at 383 Hz
    assert level[3:-4].mean() == pytest.approx(-20, abs=0.3)


def test_a_long_recording_has_its_pitch_throughout():
    seconds = 2.5 * _BLOCK * FRAME_S
    pitch, level = pitch_and_level(voice(150.0, seconds), RATE)
    assert len(pitch) == len(level) == pytest.approx(2.5 * _BLOCK, abs=2)
    assert np.abs(pitch[3:-4] / 150 - 1).max() < 0.003


def test_a_rising_voice_is_followed():
    hz = np.linspace(100, 200, 2 * RATE)
    pitch, _ = pitch_and_level(voice(hz, seconds=2.0), RATE)
    at_one_second = pitch[round(1 / FRAME_S)]
    assert at_one_second == pytest.approx(150, rel=0.02)


def test_the_missing_fundamental_of_a_telephone_is_found():
    time = np.arange(RATE) / RATE
    sound = np.sum([np.cos(2 * np.pi * 120 * n * time) for n in (3, 4, 5)], axis=0)
    assert median_pitch_hz(pitch_and_level(sound, RATE)[0]) == pytest.approx(120, rel=0.01)


def test_noise_and_silence_have_no_pitch():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    pitch, _ = pitch_and_level(noise, RATE)
    assert np.isnan(pitch).mean() > 0.97
    pitch, level = pitch_and_level(np.zeros(RATE, np.float32), RATE)
    assert median_pitch_hz(pitch) is None
    assert level.max() == -100


def test_a_hum_far_below_the_voice_has_no_pitch():
    sound = np.concatenate([voice(200.0), voice(100.0, level_db=-65.0)])
    pitch, _ = pitch_and_level(sound, RATE)
    assert median_pitch_hz(pitch) == pytest.approx(200, rel=0.01)
    assert np.isnan(pitch[len(pitch) // 2 + 4 :]).all()
