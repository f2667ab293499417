"""What the page shows of a recording and its clone.

Shapes: T audio samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.audio import level_dbfs, normalize_loudness, resample, trim_silence
from tune_encoder.data.mel import MelSettings, plain_log_mel
from tune_encoder.report.listen.contours import contours, similarity_line
from tune_encoder.report.listen.hearing import Heard, Listener
from tune_encoder.report.media import flac, spectrogram
from tune_encoder.speech.pitch import median_pitch_hz, pitch_and_level

MAX_CLIP_S = 10.0  # of a recording, shown and played
_MELS = MelSettings(sample_rate=24000, n_fft=1024, hop_length=256, n_mels=80)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A sound to be played, and how it looks."""

    title: str
    sentence: str
    """What is said; empty if it is unknown."""
    seconds: float
    width: float
    """Percent of the longest clip beside it, so that seconds are equally wide."""
    sound: str
    """A FLAC as a data URL, at the same level as all others."""
    spectrogram: str
    """A PNG as a data URL."""
    contours: str
    """Pitch and level as SVG."""
    pitch: str
    """Its median in words."""


@dataclass(frozen=True)
class Card:
    """A recording and its clone."""

    key: str
    """ID within the page."""
    name: str
    verdict: str
    numbers: Sequence[tuple[str, str, str]]
    """A label, a number, and what it means."""
    line: str
    """The similarities as SVG."""
    presets: Sequence[tuple[str, str]]
    """Each preset and its similarity, the most alike first."""
    clips: Sequence[Clip]
    warnings: Sequence[str]


def make_card(heard: Heard, listener: Listener, key: str) -> Card:
    """Return what the page shows of a recording.

    Args:
        heard: What was heard.
        listener: What heard it.
        key: ID within the page: letters, digits and hyphens.
    """
    scale = listener.scale
    return Card(
        key,
        heard.name,
        verdict(heard, listener),
        _numbers(heard, listener),
        similarity_line(heard.similarity, heard.presets, scale),
        [(name, f"{value:.3f}") for name, value in heard.presets.items()],
        _clips(heard, listener),
        heard.warnings(),
    )


def verdict(heard: Heard, listener: Listener) -> str:
    """Say in a sentence how alike the clone is."""
    scale = listener.scale
    values = heard.presets.values()
    same = "" if scale.same is None else f", one preset to itself {scale.same:.2f}"
    return (
        f"Clone and original {heard.similarity:.2f} alike; the presets {min(values):.2f} to "
        f"{max(values):.2f}; two presets {scale.strangers:.2f}{same}"
    )


def _numbers(heard: Heard, listener: Listener) -> list[tuple[str, str, str]]:
    place = listener.scale.place(heard.similarity)
    preset, alike = heard.nearest_preset
    found = [("Similarity", f"{heard.similarity:.2f}", "of clone and original")]
    if place is not None:
        found.append(("On the scale", f"{place:.2f}", "0: as two presets, 1: as one with itself"))
    if heard.halves is not None:
        found.append(("Original with itself", f"{heard.halves:.2f}", "its first and second half"))
    found.append(("Nearest preset", preset, f"similarity {alike:.2f}, by ear"))
    if heard.nearest is not None:
        voice, distance = heard.nearest
        words = "the only known"
        if distance is not None:
            words = f"distance {distance:.2f}, by style (1: as between two voices)"
        found.append(("Nearest known voice", voice, words))
    original = _pitch_words(heard.original, listener.ear.sample_rate)
    spoken = _pitch_words(np.concatenate(heard.speech.clips), listener.ear.sample_rate)
    found.append(("Pitch of the original", original, f"{spoken} in the clone; medians"))
    levels = [level_dbfs(clip, listener.ear.sample_rate) for clip in heard.speech.clips]
    words = f"{np.mean(levels):.0f} dBFS in the clone, as spoken; both are played at -26 dBFS"
    found.append(("Level of the original", f"{heard.clone.quality.level_dbfs:.0f} dBFS", words))
    return found


def _pitch_words(audio: Array, sample_rate: int) -> str:
    hz = median_pitch_hz(pitch_and_level(audio, sample_rate)[0])
    return "none" if hz is None else f"{hz:.0f} Hz"


def _clips(heard: Heard, listener: Listener) -> list[Clip]:
    rate, sentences = listener.ear.sample_rate, listener.ear.sentences
    preset = heard.nearest_preset[0]
    sounds = [("Original", "", heard.original[: round(MAX_CLIP_S * rate)])]
    for number, (sentence, clip) in enumerate(zip(sentences, heard.speech.clips, strict=True), 1):
        name = "Clone" if len(sentences) == 1 else f"Clone, sentence {number}"
        sounds.append((name, sentence, clip))
    spoken = listener.presets[preset].clips[0]
    sounds.append((f"Preset {preset}, the nearest", sentences[0], spoken))
    levelled = [
        (title, sentence, normalize_loudness(trim_silence(sound, rate), rate))
        for title, sentence, sound in sounds
    ]
    longest = max(sound.size for _, _, sound in levelled) / rate
    return [_clip(*each, rate, longest) for each in levelled]


def _clip(title: str, sentence: str, sound: Array, rate: int, longest: float) -> Clip:
    pitch, level = pitch_and_level(sound, rate)
    seconds = sound.size / rate
    return Clip(
        title,
        sentence,
        seconds,
        100 * seconds / longest,
        flac(sound, rate),
        spectrogram(plain_log_mel(resample(sound, rate, _MELS.sample_rate), _MELS)),
        contours(pitch, level),
        _pitch_words(sound, rate),
    )
