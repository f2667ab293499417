"""Clips: what each says and how, spoken, judged, and written.

A clip depends on the seed, the number of its voice and its own number alone, so any process can
make any of them, and one that is made again has the same bytes.
"""

import io
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from tune_encoder.config import GenerationSettings
from tune_encoder.data.audio import trim_silence
from tune_encoder.data.samples import Sample, save_sample
from tune_encoder.errors import DataError
from tune_encoder.speech.engine import Array, Engine
from tune_encoder.speech.gate import refusal
from tune_encoder.speech.texts import Texts
from tune_encoder.speech.voices import CLIP_KEY, Cast, Voice
from tune_encoder.system.files import partial_path

Choice = TypeVar("Choice")

_NOTES = ("text", "lang", "steps", "speed", "seed", "origin", "seconds", "refused")


class Utterance(NamedTuple):
    """What is said, and how."""

    text: str
    lang: str
    steps: int
    speed: float
    seed: int
    """Of the noise that is denoised."""


class Clip(NamedTuple):
    """One of the clips to make."""

    voice: int
    number: int
    path: Path


class Made(NamedTuple):
    """What became of a clip."""

    clip: Clip
    refused: list[str]
    """Why draws were refused."""
    notes: dict[str, object] | None
    """What is written of it; None if every draw was refused."""


@dataclass(frozen=True)
class Script:
    """All that a clip depends on."""

    settings: GenerationSettings
    cast: Cast
    texts: Texts
    unspeakable: Sequence[str] = ()
    """Texts of this package that the model cannot spell, which are left out."""

    def utterance(self, voice: int, number: int, attempt: int) -> Utterance:
        """Draw what a clip says; all languages are equally likely, and all texts of one."""
        seeds = np.random.SeedSequence(
            self.settings.seed, spawn_key=(CLIP_KEY, voice, number, attempt)
        )
        rng = np.random.default_rng(seeds)
        lang = _pick(sorted(self.texts), rng)
        text = _pick(self.texts[lang], rng)
        steps = _pick(self.settings.step_choices, rng)
        speed = round(float(rng.uniform(*self.settings.speed_range)), 3)
        return Utterance(text, lang, steps, speed, int(rng.integers(2**32)))


def _pick(choices: Sequence[Choice], rng: np.random.Generator) -> Choice:
    return choices[int(rng.integers(len(choices)))]


def make_clip(engine: Engine, script: Script, clip: Clip) -> Made:
    """Make a clip, unless it is there; what the gate refuses is drawn again, a few times."""
    if is_whole(clip.path):
        return Made(clip, [], read_notes(clip.path))
    voice = script.cast.voice(clip.voice)
    refused: list[str] = []
    while len(refused) < script.settings.draws:
        said = script.utterance(clip.voice, clip.number, len(refused))
        audio = engine.speak(
            voice.style, said.text, said.lang, steps=said.steps, speed=said.speed, seed=said.seed
        )
        reason = refusal(audio, engine.sample_rate, said.text, said.lang, said.speed)
        if not reason:
            notes = _write(clip.path, voice, said, audio, engine.sample_rate, refused)
            return Made(clip, refused, notes)
        refused.append(reason)
    return Made(clip, refused, None)


def _write(
    path: Path, voice: Voice, said: Utterance, audio: Array, rate: int, refused: list[str]
) -> dict[str, object]:
    """Write a clip; returns what it says of itself."""
    trimmed = trim_silence(audio, rate)
    style = voice.style
    sample = Sample(
        trimmed, style.ttl, style.dp, said.text, said.lang, sample_rate=rate, voice=voice.name
    )
    notes: dict[str, str | int | float | list[str]] = {
        "steps": said.steps,
        "speed": said.speed,
        "seed": said.seed,
        "origin": voice.origin,
        "seconds": round(trimmed.size / rate, 3),
        "refused": refused,
    }
    content = io.BytesIO()
    save_sample(content, sample, notes, half=True)
    partial = partial_path(path)
    try:
        # Without fsync, which takes as long as a short clip: what a power cut tears is made again.
        partial.write_bytes(content.getbuffer())
        partial.replace(path)
    except BaseException:  # on a full disk half a file takes room that others need
        partial.unlink(missing_ok=True)
        raise
    return {"text": said.text, "lang": said.lang, **notes}


def is_whole(path: Path) -> bool:
    """Whether a clip has been written, to its end."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def read_notes(path: Path) -> dict[str, object]:
    """Return what stands in a clip that `make_clip` wrote, without its audio and style.

    Raises:
        DataError: if it is another's.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name].tolist() for name in _NOTES}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a clip of this data set ({error}); remove it") from error


def count_refusals(refused: list[str]) -> dict[str, int]:
    """Count the reasons, the most frequent first."""
    return dict(sorted(Counter(refused).items(), key=lambda item: (-item[1], item[0])))


def remove_partial(folder: Path) -> None:
    """Remove what killed processes had begun to write."""
    for name in os.listdir(folder):  # noqa: PTH208
        if name.startswith("."):
            (folder / name).unlink(missing_ok=True)
