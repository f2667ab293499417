"""Cloning voices from Python: from recordings to Supertonic voice styles."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.api.options import expand_if_given, expand_path, several_recordings
from tune_encoder.api.wording import for_python, in_python
from tune_encoder.errors import ConfigError, DataError, TuneEncoderError
from tune_encoder.experiment.commands import check_is_model

if TYPE_CHECKING:
    from tune_encoder.data.voice_bank import VoiceBank
    from tune_encoder.data.voice_style import VoiceStyle
    from tune_encoder.model.clone import Clone, SpeakerClone

_Path = str | Path


@dataclass(frozen=True)
class ClonedVoice:
    """A voice style that was written."""

    out: Path
    """The JSON file."""
    style: "VoiceStyle"
    """`ttl` (50, 256), timbre, and `dp` (8, 16), rhythm; rows of norm 1."""
    recordings: list[Path]
    """What it was made of."""
    sound_s: float
    """Seconds of sound in them, without silence at the ends."""
    nearest: str | None
    """Name of the nearest known voice; None if none is known."""
    distance: float | None
    """How far that one is, 1 being as between two voices; None if unknown."""
    spread: float | None
    """How far the parts or recordings are apart, in the same unit: the less, the surer."""


@dataclass(frozen=True)
class Cloning:
    """A model that clones, and the voices that it knows."""

    model: Path
    device: str | None
    bank: "VoiceBank | None"
    """Voices among which the nearest is looked for."""
    known: "dict[Path, VoiceStyle]"
    """Styles of the same folder and presets, which must be of the same version."""

    def each(self, recordings: Sequence[Path], out: Path) -> "Iterator[Clone | TuneEncoderError]":
        """Write a style of each recording; yield it, or why a recording could not be used.

        Raises:
            DataError: at the end if one of several could not be used; the only one, at once.
        """
        from tune_encoder.data.novelty import read_known_sound
        from tune_encoder.model.clone import clone_all, open_engine, output_paths

        engine = open_engine(self.model, self.device)
        outputs = output_paths(recordings, out)
        failed = 0
        sound = read_known_sound(self.model)
        for result in clone_all(engine, outputs, self._others(outputs.values()), sound):
            if isinstance(result, TuneEncoderError):
                if len(outputs) == 1:
                    raise result
                failed += 1
            yield result
        if failed:
            raise DataError(
                f"{failed} of {len(outputs)} recordings could not be cloned; the styles of the "
                "others were written"
            )

    def speakers(
        self, recordings: Sequence[Path], out: Path, voice: str | None
    ) -> "Iterator[tuple[str, SpeakerClone | DataError]]":
        """Write a style of each speaker; yield the name with the style, or why there is none.

        Args:
            recordings: Of one voice; without its name, a folder for each speaker.
            out: Folder, or JSON file for one speaker.
            voice: Name of the voice.

        Raises:
            DataError: at the end if a recording could not be used; the only speaker, at once.
        """
        from tune_encoder.data.novelty import read_known_sound
        from tune_encoder.model.clone import clone_speaker, open_engine, speaker_paths

        speakers = _speakers(recordings, voice)
        engine, sound = open_engine(self.model, self.device), read_known_sound(self.model)
        outputs = speaker_paths(speakers, out)
        known, failed = self._others(outputs.values()), 0
        for name, files in speakers.items():
            try:
                result = clone_speaker(
                    engine, files, outputs[name], bank=self.bank, known=known, sound=sound
                )
            except DataError as error:
                if len(speakers) == 1:
                    raise
                failed += len(files)
                yield name, error
            else:
                failed += len(result.failed)
                yield name, result
        if failed:
            total = sum(map(len, speakers.values()))
            raise DataError(
                f"{failed} of {total} recordings could not be used; styles were made of the others"
            )

    def _others(self, outputs: Iterable[Path]) -> "dict[Path, VoiceStyle]":
        """Return the known styles but those that will be replaced."""
        replaced = set(outputs)
        return {path: style for path, style in self.known.items() if path not in replaced}


def _speakers(recordings: Sequence[Path], voice: str | None) -> dict[str, list[Path]]:
    from tune_encoder.model.clone import check_voice_name, speaker_recordings, speakers_by_folder

    if voice is None:
        return speakers_by_folder(recordings)
    check_voice_name(voice)
    return {voice: speaker_recordings(recordings)}


def open_cloning(model: Path, out: Path, presets: Path | None, device: str | None) -> Cloning:
    """Read what is known of voices; see `clone`."""
    from tune_encoder.data.voice_bank import bank_of_presets, find_styles, read_bank, read_styles

    check_is_model(model)
    given = read_styles(presets) if presets else {}
    bank = bank_of_presets(given) if given else read_bank(model)
    return Cloning(model, device, bank, {**given, **find_styles(out)})


@for_python
def clone(
    model: _Path,
    recordings: _Path | Sequence[_Path],
    out: _Path,
    *,
    voice: str | None = None,
    by_folder: bool = False,
    device: str | None = None,
    presets: _Path | None = None,
) -> list[ClonedVoice]:
    """Turn recordings into Supertonic voice styles, and return what was written.

    What makes a style less reliable, such as a recording that is short or clipped, is a warning,
    and so is why one of several recordings could not be used.

    Example:
        >>> [cloned] = tune_encoder.clone("runs/mine/best", "voice.wav", "voice.json")
        >>> cloned.nearest, cloned.style.ttl.shape
        ('F3', (50, 256))

    Args:
        model: Exported model folder.
        recordings: wav, flac, ogg or mp3 of one speaker each, at least a second long.
        out: Folder for the voice styles; for one style also a file name ending in .json.
        voice: Name of one style of all recordings, and of folders of them, which are of one
            speaker.
        by_folder: Whether `recordings` are folders of a speaker each, or folders of such folders.
        device: Torch's device; by default onnxruntime, if it and the model's ONNX file are there.
        presets: Folder of style JSONs in which to find the nearest voice; by default the model's
            training voices.

    Raises:
        ConfigError: if `voice` is no file name, goes with `by_folder`, or two recordings would be
            written to one file.
        DataError: if a recording cannot be used; of several the others' styles were written.
        StorageError: if the model cannot be used, or a style cannot be written.
    """
    if by_folder and voice is not None:
        raise ConfigError("--voice and --by-folder cannot be combined; omit one")
    paths, target = several_recordings(recordings), expand_path(out)
    cloning = open_cloning(expand_path(model), target, expand_if_given(presets), device)
    of_speakers = by_folder or voice is not None
    found: Iterable[Clone | SpeakerClone | TuneEncoderError] = (
        (each for _, each in cloning.speakers(paths, target, voice))
        if of_speakers
        else cloning.each(paths, target)
    )
    voices = []
    for result in found:
        for doubt in _doubts(result):
            warnings.warn(in_python(doubt, "clone()"), stacklevel=3)
        if not isinstance(result, TuneEncoderError):
            voices.append(_voice(result, cloning.bank))
    return voices


def _doubts(result: "Clone | SpeakerClone | TuneEncoderError") -> list[str]:
    """Return what makes a style less reliable, and which recordings are not in it."""
    from tune_encoder.model.clone import Clone
    from tune_encoder.model.clone.words import DIVIDED, UNIT, speaker_warnings

    if isinstance(result, TuneEncoderError):
        return [str(result)]
    if isinstance(result, Clone):
        return result.warnings()
    left_out = [
        f"{path}: left out, {distance:.2f} from the others {UNIT}"
        for path, distance in result.left_out.items()
    ]
    divided = [f"{result.out.stem}: {DIVIDED}"] if result.is_divided else []
    return [*map(str, result.failed), *speaker_warnings(result), *left_out, *divided]


def _voice(result: "Clone | SpeakerClone", bank: "VoiceBank | None") -> ClonedVoice:
    from tune_encoder.model.clone import Clone

    nearest, distance = (None, None) if bank is None else bank.nearest(result.style)
    if isinstance(result, Clone):
        recordings = [result.recording]
        spread = bank.spread(result.windows) if bank is not None and result.windows else None
    else:
        recordings, spread = [clip.recording for clip in result.clips], result.spread
    return ClonedVoice(
        result.out, result.style, recordings, result.sound_s, nearest, distance, spread
    )
