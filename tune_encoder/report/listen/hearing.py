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
from tune_encoder.data.novelty import KnownSound, read_known_sound
from tune_encoder.data.voice_bank import VoiceBank, read_bank, read_presets
from tune_encoder.data.voice_style import VoiceStyle, check_same_version
from tune_encoder.errors import ConfigError, TuneEncoderError
from tune_encoder.model.clone import Clone, Engine, open_engine
from tune_encoder.model.clone.cloning import predict
from tune_encoder.speech.ear import Ear, Scale, Speech, open_ear, preset_scale
from tune_encoder.speech.engine import PRESETS_FOLDER, find_model
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
    nearest: tuple[str, float] | None
    """The nearest voice of training and its distance, by style; None if they are unknown."""

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
        if value > self.similarity:
            found.append(
                f"{recording}: the preset {name} is more like it than its clone is, {value:.2f} "
                f"to {self.similarity:.2f}"
            )
        return found


class Listener:
    """Clones recordings, and compares each with what Supertonic makes of its style."""

    def __init__(
        self,
        engine: Engine,
        ear: Ear,
        presets: Mapping[Path, VoiceStyle],
        bank: VoiceBank | None = None,
        sound: KnownSound | None = None,
    ) -> None:
        self.ear = ear
        self._engine = engine
        self._bank = bank
        self._sound = sound
        self._presets = presets
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

    def hear_all(self, recordings: Sequence[Path]) -> Iterator[Heard | TuneEncoderError]:
        """Hear one recording after another; if one fails, yield the error and continue."""
        for recording in recordings:
            try:
                yield self.hear(recording)
            except TuneEncoderError as error:
                yield error

    def hear(self, recording: Path) -> Heard:
        """Clone a recording, speak in its style, and compare.

        Raises:
            DataError: if the recording cannot be used, or the model predicts styles of another
                Supertonic version than the one that speaks.
        """
        clone = predict(self._engine, recording, recording.with_suffix(".json"), self._sound)
        check_same_version({recording: clone.style, **self._presets})
        original = load_voice(recording, self.ear.sample_rate)
        voice = self._embedding(original)
        speech = self.ear.speech(clone.style, str(recording))
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


def open_listener(
    model: Path,
    device: str | None,
    voice: tuple[str, Path | None],
    settings: ListenSettings,
    sentences: Sequence[str] = (),
) -> Listener:
    """Load a model that clones, and one of Supertonic that speaks.

    Args:
        model: The exported model.
        device: Torch's device; None chooses the engine automatically.
        voice: Name of Supertonic's model, and its folder; None for where its package keeps it.
        settings: How it speaks.
        sentences: What it speaks; if empty, three of the package's sentences in its language.

    Raises:
        ConfigError: if a package is missing, or a setting does not fit the model.
        StorageError: if a model is missing or damaged.
    """
    engine = open_engine(model, device)
    ear = open_ear(*voice, settings, sentences)
    folder = find_model(*voice) / PRESETS_FOLDER
    presets = read_presets(folder)
    if len(presets) == 1:
        raise ConfigError(
            f"{folder}: has one style JSON; copy the other presets of the model there, since they "
            "are the scale"
        )
    return Listener(engine, ear, presets, read_bank(model), read_known_sound(model))
