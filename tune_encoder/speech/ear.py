"""The ear: speaks the same sentences in any style, and hears how alike voices are.

Shapes: T audio samples, S sentences, E of an embedding, V voices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import MAX_SENTENCES, ListenSettings
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.errors import ConfigError, DataError
from tune_encoder.speech.engine import Engine, model_languages
from tune_encoder.speech.gate import refusal
from tune_encoder.speech.speaker import (
    PARTIAL_S,
    SpeakerEncoder,
    mean_embedding,
    open_speaker_encoder,
)
from tune_encoder.speech.speaker_weights import read_weights
from tune_encoder.speech.texts import shipped_texts

_SENTENCES = (9, 10, 12)
"""Numbers of the package's sentences in each language, of three to four seconds: each is longer
than a partial utterance of the speaker encoder. There are `MAX_SENTENCES`."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Speech:
    """The sentences in one voice."""

    clips: Sequence[Array]
    """(T,) of each sentence."""
    embeddings: Array
    """(S, E) of each sentence, of norm 1."""
    faults: Sequence[str]
    """What is wrong with a sentence, in words; those of good speech are none."""

    @property
    def embedding(self) -> Array:
        """The embedding (E,) of the voice."""
        return mean_embedding(list(self.embeddings))


class Ear:
    """Speaks sentences with Supertonic and hears them with a speaker encoder."""

    def __init__(
        self,
        engine: Engine,
        encoder: SpeakerEncoder,
        settings: ListenSettings,
        sentences: Sequence[str],
    ) -> None:
        self.encoder = encoder
        self.sentences = sentences
        self.sample_rate = engine.sample_rate
        self._engine = engine
        self._settings = settings
        self._known: dict[str, Speech] = {}

    def speech(self, style: VoiceStyle, name: str, *, keep: bool = True) -> Speech:
        """Return the sentences as spoken in a style; one that was kept is not spoken again.

        Args:
            style: The style.
            name: Whose it is, for an error.
            keep: Whether to keep the speech, which has megabytes, in case the style comes again.

        Raises:
            DataError: if nothing is to be heard in that style.
        """
        key = style.digest()
        if key in self._known:
            return self._known[key]
        speech = self._speak_all(style, name)
        if keep:
            self._known[key] = speech
        return speech

    def _speak_all(self, style: VoiceStyle, name: str) -> Speech:
        how, clips, faults = self._settings, [], []
        for number, text in enumerate(self.sentences, start=1):
            clip = self._engine.speak(
                style, text, how.lang, steps=how.steps, speed=how.speed, seed=how.seed
            )
            fault = refusal(clip, self.sample_rate, text, how.lang, how.speed)
            if fault in ("not finite", "silent"):
                raise DataError(
                    f"{name}: Supertonic's speech in its style is {fault}; use a better model"
                )
            if fault:
                faults.append(f"Supertonic's sentence {number} is {fault}")
            if clip.size < PARTIAL_S * self.sample_rate:
                seconds = clip.size / self.sample_rate
                faults.append(f"sentence {number} has {seconds:.1f} s; use a longer text")
            clips.append(clip)
        embeddings = [self.encoder.embedding(clip, self.sample_rate) for clip in clips]
        return Speech(clips, np.stack(embeddings), faults)


def open_ear(model: str, folder: Path, settings: ListenSettings, sentences: Sequence[str]) -> Ear:
    """Load a model of Supertonic and the speaker encoder.

    Args:
        model: Name of the model.
        folder: Its files.
        settings: How it speaks.
        sentences: What it speaks; if empty, three of the package's sentences in its language.

    Raises:
        ConfigError: if a package is missing, or the model has no such language or characters.
        StorageError: if files are missing or damaged.
    """
    chosen = choose_sentences(model, settings, sentences)
    encoder = open_speaker_encoder()
    engine = Engine(model, folder)
    for sentence in chosen:
        if unknown := engine.unknown_characters(sentence):
            raise ConfigError(
                f"--text has {' '.join(map(repr, unknown))}, which the model cannot speak; leave "
                f"out or spell out what is in {sentence!r}"
            )
    return Ear(engine, encoder, settings, chosen)


def choose_sentences(
    model: str, settings: ListenSettings, sentences: Sequence[str]
) -> Sequence[str]:
    """Return what is spoken, after all checks of `open_ear` that need none of the model's files.

    Raises:
        ConfigError, StorageError: as `open_ear`.
    """
    read_weights()
    if settings.lang not in (known := model_languages(model)):
        raise ConfigError(f"--lang is {settings.lang!r}; {model} speaks {', '.join(known)}")
    for sentence in sentences:
        if not any(character.isalnum() for character in sentence):
            raise ConfigError(f"--text is {sentence!r}, which has no letter; give a sentence")
    return sentences or usual_sentences(settings.lang)


def usual_sentences(lang: str, count: int = MAX_SENTENCES) -> list[str]:
    """Return the package's sentences of a language that are listened to, or the first of them.

    Raises:
        ConfigError: if it has none in that language.
    """
    texts = shipped_texts()
    if lang not in texts:
        raise ConfigError(f"no sentence in {lang} is at hand; give some with --text")
    return [texts[lang][number] for number in _SENTENCES[:count]]


# --- the scale -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """What a similarity means for the presets of a model, each spoken in the same sentences."""

    strangers: float
    """Mean similarity of a sentence and another preset's voice."""
    same: float | None
    """Mean similarity of a sentence and the other sentences of the same preset; None if only one
    is spoken."""

    def place(self, similarity: float) -> float | None:
        """Return where a similarity lies: 0 is as between two presets, 1 as one with itself."""
        if self.same is None or self.same <= self.strangers:
            return None
        return (similarity - self.strangers) / (self.same - self.strangers)


def preset_scale(presets: Mapping[str, Speech]) -> Scale:
    """Return the scale of at least two presets."""
    voices = np.stack([each.embedding for each in presets.values()])  # (V, E)
    clips = np.stack([each.embeddings for each in presets.values()])  # (V, S, E)
    alike = np.einsum("vse,we->vsw", clips, voices)
    others = ~np.eye(len(voices), dtype=bool)
    strangers = float(alike.mean(axis=1)[others].mean())
    return Scale(strangers, _within(clips) if clips.shape[1] > 1 else None)


def _within(clips: Array) -> float:
    """Mean similarity of each sentence and the mean of the voice's others."""
    rest = clips.sum(axis=1, keepdims=True) - clips
    rest /= np.linalg.norm(rest, axis=-1, keepdims=True)
    return float((clips * rest).sum(axis=-1).mean())
