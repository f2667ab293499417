"""The stand-in models are loaded by Supertonic's own package and speak as a style says."""

import numpy as np
import pytest
from supertonic import TTS

from tests.speech.stand_in import PRESETS, SAMPLE_RATE, UNSUPPORTED, preset_styles, write_stand_in
from tune_encoder.data.mel import MelSettings, plain_log_mel
from tune_encoder.data.voice_style import check_same_version

MELS = MelSettings(sample_rate=SAMPLE_RATE, n_fft=2048, hop_length=512, n_mels=80)
SENTENCE = "Seven grey herons stood in the cold river."


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = write_stand_in(tmp_path_factory.mktemp("stand_in") / "models")
    return TTS(
        model_dir=folder, auto_download=False, intra_op_num_threads=1, inter_op_num_threads=1
    )


def speak(engine, text=SENTENCE, voice="F1", steps=5, noise=0):
    np.random.seed(noise)  # noqa: NPY002 - the package draws from numpy's global generator
    audio, duration = engine.synthesize(
        text, engine.get_voice_style(voice), total_steps=steps, speed=1.0, lang="en"
    )
    return audio[0], float(duration[0])


def test_the_package_finds_the_presets_and_the_rate(engine):
    assert tuple(engine.voice_style_names) == PRESETS
    assert engine.sample_rate == SAMPLE_RATE


def test_speech_has_the_length_predicted_and_is_neither_silent_nor_clipped(engine):
    audio, duration = speak(engine)
    assert 2 < duration < 6
    assert 0 <= len(audio) - duration * SAMPLE_RATE <= 6 * 512
    assert -32 < 20 * np.log10(np.sqrt(np.mean(audio**2))) < -20
    assert np.abs(audio).max() < 0.9


def test_equal_noise_gives_equal_audio_and_other_noise_other_audio(engine):
    first, again, other = (speak(engine, noise=noise)[0] for noise in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_voices_differ_more_than_the_noise_does(engine):
    def spectrum(**spoken):
        return plain_log_mel(speak(engine, **spoken)[0], MELS).mean(axis=0)

    reference = spectrum(voice="F1")
    same = np.abs(spectrum(voice="F1", noise=5) - reference).mean()
    others = [np.abs(spectrum(voice=name) - reference).mean() for name in PRESETS[1:]]
    assert min(others) > 3 * same


def test_a_longer_text_takes_longer(engine):
    assert speak(engine, f"{SENTENCE} {SENTENCE}")[1] > 1.6 * speak(engine)[1]


def test_an_unsupported_character_is_refused_by_the_package(engine):
    with pytest.raises(ValueError, match="unsupported character"):
        speak(engine, f"Press {UNSUPPORTED}")


def test_presets_spread_as_real_ones_and_versions_are_unrelated():
    styles = np.array([style.ttl for style in preset_styles().values()])
    assert styles.std(axis=0).mean() == pytest.approx(0.016, abs=0.002)
    check_same_version(preset_styles())
    ours, theirs = (preset_styles(version)["F1"].ttl for version in (0, 1))
    assert abs((ours * theirs).sum() / 50) < 0.1
