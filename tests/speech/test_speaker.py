"""The speaker encoder against Resemblyzer's own code, and against voices."""

import sys

import numpy as np
import pytest

from tests.speech.stand_in import preset_styles
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.speech.speaker import (
    SAMPLE_RATE,
    mean_embedding,
    open_speaker_encoder,
    similarity,
)

pytestmark = pytest.mark.weights

# What `resemblyzer.VoiceEncoder("cpu").embed_utterance` of 0.1.4 gives of `hum()`: the ten largest.
ORACLE = {
    180: 0.2276,
    224: 0.2124,
    87: 0.2017,
    215: 0.2005,
    173: 0.1995,
    11: 0.1625,
    25: 0.1602,
    191: 0.1579,
    116: 0.1507,
    154: 0.1423,
}


@pytest.fixture(scope="module")
def encoder():
    return open_speaker_encoder()


@pytest.fixture(scope="module")
def presets(engine):
    """Two sentences of each of four presets."""
    texts = ("My brother repairs old clocks in a shed.", "The river rose overnight, and fell.")
    styles = preset_styles()
    return {
        name: [engine.speak(styles[name], text, "en", steps=5, speed=1.0, seed=0) for text in texts]
        for name in ("F1", "F4", "M2", "M5")
    }


def hum():
    """Three seconds of a trembling tone that swells three times a second, in noise."""
    noise, time = np.random.default_rng(0), np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 150 * time * (1 + 0.02 * np.sin(5 * time)))
    swelling = 0.1 * tone * (1 + np.sin(2 * np.pi * 3 * time))
    quiet = 0.002 * noise.standard_normal(time.size).astype(np.float32)
    return swelling.astype(np.float32) + quiet


def test_an_embedding_is_that_of_resemblyzer(encoder):
    found = encoder.embedding(hum(), SAMPLE_RATE)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    largest = {int(i): float(found[i]) for i in np.argsort(-found)[: len(ORACLE)]}
    assert largest == pytest.approx(ORACLE, abs=5e-4)


def test_a_voice_is_most_like_itself_in_other_words(encoder, presets, engine):
    first, second = (
        {name: encoder.embedding(clips[i], engine.sample_rate) for name, clips in presets.items()}
        for i in (0, 1)
    )
    for name, embedding in first.items():
        alike = {other: similarity(embedding, each) for other, each in second.items()}
        assert max(alike, key=lambda other: alike[other]) == name
        assert alike[name] > 0.9


def test_pauses_and_the_rate_do_not_change_a_voice(encoder, presets, engine):
    clip, rate = presets["F1"][0], engine.sample_rate
    usual = encoder.embedding(clip, rate)
    silence = np.zeros(4 * rate, np.float32)
    paused = np.concatenate([clip[: clip.size // 2], silence, clip[clip.size // 2 :]])
    assert similarity(usual, encoder.embedding(paused, rate)) > 0.97
    assert similarity(usual, encoder.embedding(clip[::2], rate // 2)) > 0.97


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.45, 0.5])
def test_what_is_shorter_than_a_partial_utterance_has_an_embedding(encoder, seconds):
    found = encoder.embedding(hum()[: round(seconds * SAMPLE_RATE)], SAMPLE_RATE)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_the_mean_of_embeddings_has_norm_one(encoder):
    one, other = (encoder.embedding(hum()[at:], SAMPLE_RATE) for at in (0, SAMPLE_RATE))
    mean = mean_embedding([one, other])
    assert np.linalg.norm(mean) == pytest.approx(1, abs=1e-5)
    assert similarity(mean, one) == pytest.approx(similarity(mean, other), abs=1e-5)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    with pytest.raises(
        ConfigError,
        match=r"^the speaker encoder is missing, by which voices are compared; install it with `"
        r"pip install --no-deps resemblyzer==0\.1\.4`, or with the extra `tune-encoder\[listen\]`$",
    ):
        open_speaker_encoder()


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_other_weights_are_refused(monkeypatch, tmp_path, content):
    (tmp_path / "resemblyzer").mkdir()
    (tmp_path / "resemblyzer" / "__init__.py").write_text("")
    if content is not None:
        (tmp_path / "resemblyzer" / "pretrained.pt").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        StorageError,
        match=r"pretrained\.pt: missing, or not the weights of Resemblyzer 0\.1\.4; install it "
        r"again with `pip install --no-deps resemblyzer==0\.1\.4`$",
    ):
        open_speaker_encoder()
