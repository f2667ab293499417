"""What is heard of a recording and of its clone.

Shapes: T audio samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import ListenSettings
from tune_encoder.data.audio import MIN_DURATION_S, load_voice
from tune_encoder.data.novelty import KnownSound
from tune_encoder.data.voice_bank import VoiceBank, read_styles
from tune_encoder.data.voice_style import VoiceStyle, check_same_version
from tune_encoder.errors import ConfigError, TuneEncoderError
from tune_encoder.model.clone import Clone, Engine
from tune_encoder.model.clone.cloning import predict
from tune_encoder.speech.ear import Ear, Scale, Speech, open_ear, preset_scale
from tune_encoder.speech.engine import PRESETS_FOLDER
from tune_encoder.speech.speaker import similarity

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Heard:
    """A recording and its clone, and how alike the speaker encoder finds them."""

    clone: Clone
    original: Array
    """(T,) at the rate of the ear, as it is cloned: mono, level, and without silent ends."""
    speech: Speech
    """The sentences in the predicted style."""
    similarity: float
    """Of the clone and the original."""
    halves: float | None
    """Of the two halves of the original; None if it is too short."""
    presets: Mapping[str, float]
    """Of each preset, speaking the same sentences, and the original; the most alike first."""
    nearest: tuple[str, float | None] | None
    """The nearest voice of training and its distance, by style; None for what is unknown."""

    @property
    def name(self) -> str:
        """Name of the recording."""
        return self.clone.recording.name

    @property
    def nearest_preset(self) -> tuple[str, float]:
        """The preset that sounds most like the original, and its similarity."""
        return next(iter(self.presets.items()))

    def warnings(self) -> list[str]:
        """Return what makes the clone, or the numbers, doubtful."""
        recording, (name, value) = self.clone.recording, self.nearest_preset
        found = [*self.clone.warnings(), *(f"{recording}: {each}" for each in self.speech.faults)]
        if round(value, 2) > round(self.similarity, 2):
            found.append(
                f"{recording}: the preset {name} is more like it than its clone is, {value:.2f} "
                f"to {self.similarity:.2f}"
            )
        return found


class Listener:
    """Compares recordings with what Supertonic makes of the styles that are predicted of them."""

    def __init__(
        self, ear: Ear, presets: Mapping[Path, VoiceStyle], bank: VoiceBank | None = None
    ) -> None:
        self.ear = ear
        self._presets = presets
        self._bank = bank
        self._speech: dict[str, Speech] = {}

    @property
    def presets(self) -> Mapping[str, Speech]:
        """The sentences as each preset speaks them."""
        if not self._speech:
            self._speech = {
                path.stem: self.ear.speech(style, str(path))
                for path, style in self._presets.items()
            }
        return self._speech

    @property
    def scale(self) -> Scale:
        """What a similarity means for the presets."""
        return preset_scale(self.presets)

    def compare(self, clone: Clone, original: Array) -> Heard:
        """Speak in the style of a clone, and compare that with its original (T,).

        Raises:
            DataError: if nothing is to be heard in that style, or it is of another Supertonic
                version than the model that speaks.
        """
        check_same_version({clone.recording: clone.style, **self._presets})
        voice = self._embedding(original)
        speech = self.ear.speech(clone.style, str(clone.recording))
        presets = {name: similarity(voice, each.embedding) for name, each in self.presets.items()}
        return Heard(
            clone,
            original,
            speech,
            similarity(voice, speech.embedding),
            self._halves(original),
            dict(sorted(presets.items(), key=lambda entry: -entry[1])),
            None if self._bank is None else self._bank.nearest(clone.style),
        )

    def _halves(self, original: Array) -> float | None:
        middle = original.size // 2
        if middle < 2 * MIN_DURATION_S * self.ear.sample_rate:
            return None
        return similarity(*(map(self._embedding, (original[:middle], original[middle:]))))

    def _embedding(self, audio: Array) -> Array:
        return self.ear.encoder.embedding(audio, self.ear.sample_rate)


def hear_all(
    listener: Listener, engine: Engine, recordings: Sequence[Path], sound: KnownSound | None
) -> Iterator[Heard | TuneEncoderError]:
    """Clone and hear one recording after another; if one fails, yield the error and continue.

    Args:
        listener: What compares them.
        engine: The model that clones.
        recordings: Audio files.
        sound: What that model was trained on, from `data.novelty.read_known_sound`.
    """
    for recording in recordings:
        try:
            clone = predict(engine, recording, recording.with_suffix(".json"), sound)
            yield listener.compare(clone, load_voice(recording, listener.ear.sample_rate))
        except TuneEncoderError as error:
            yield error


def open_listener(
    model: str,
    folder: Path,
    settings: ListenSettings,
    sentences: Sequence[str] = (),
    bank: VoiceBank | None = None,
) -> Listener:
    """Load a model of Supertonic and its presets.

    Args:
        model: Its name.
        folder: Its files.
        settings: How it speaks.
        sentences: What it speaks; if empty, three of the package's sentences in its language.
        bank: Voices of which the nearest is found.

    Raises:
        ConfigError: if a package is missing, or a setting does not fit the model.
        StorageError: if the model is missing or damaged.
    """
    ear = open_ear(model, folder, settings, sentences)
    presets = read_styles(folder / PRESETS_FOLDER)
    if len(presets) == 1:
        raise ConfigError(
            f"{folder / PRESETS_FOLDER}: has one style JSON; copy the other presets of the model "
            "there, since they are the scale"
        )
    return Listener(ear, presets, bank)
