"""Hearing a model from Python: recordings, their clones, and how alike the two are."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tune_encoder.api.options import (
    check_choice,
    check_option_names,
    expand_if_given,
    expand_path,
    several_recordings,
)
from tune_encoder.api.wording import for_python, in_python
from tune_encoder.config import DEFAULT_MODEL, SUPERTONIC_MODELS, ListenSettings, from_mapping
from tune_encoder.errors import DataError, TuneEncoderError
from tune_encoder.experiment.commands import check_is_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tune_encoder.model.clone import Engine
    from tune_encoder.report.listen import Heard, Listener

_Path = str | Path


class ListenOptions(TypedDict, total=False):
    """All keyword options of `listen`."""

    text: Sequence[str]
    """Sentences to speak; by default three of the package's, in the language."""
    voice: str | None
    """Name of the model that speaks, which Supertonic's package downloads once."""
    model_dir: _Path | None
    """Folder of that model's files, in place of where the package keeps them."""
    lang: str | None
    """Language of the sentences."""
    steps: int | None
    """Denoising steps of the model that speaks."""
    speed: float | None
    """Speed of speech."""
    seed: int | None
    """Seed of the speech."""
    device: str | None
    """Torch's device; by default onnxruntime, if it and the model's ONNX file are there."""


@dataclass
class Listening:
    """A model that clones, one that speaks, and what was heard of them."""

    model: Path
    out: Path
    voice: str
    engine: "Engine"
    listener: "Listener"
    heard: "list[Heard]" = field(default_factory=list)
    failed: list[TuneEncoderError] = field(default_factory=list)

    def each(self, recordings: Sequence[Path]) -> "Iterator[Heard | TuneEncoderError]":
        """Clone and hear each recording; yield it, or why it could not be cloned.

        Raises:
            DataError: if that is the only one.
        """
        from tune_encoder.data.novelty import read_known_sound
        from tune_encoder.report.listen import hear_all

        sound = read_known_sound(self.model)
        for result in hear_all(self.listener, self.engine, recordings, sound):
            if not isinstance(result, TuneEncoderError):
                self.heard.append(result)
            elif len(recordings) == 1:
                raise result
            else:
                self.failed.append(result)
            yield result

    def write_page(self) -> Path | None:
        """Write the page of what was heard, and return its path; None if nothing was."""
        from tune_encoder.report.listen import write_listen_page

        if not self.heard:
            return None
        write_listen_page(self.out, self.heard, self.listener, self.model, self.voice)
        return self.out

    def check_all_heard(self) -> None:
        """Raise a `DataError` if a recording could not be cloned."""
        if self.failed:
            total = len(self.failed) + len(self.heard)
            raise DataError(
                f"{len(self.failed)} of {total} recordings could not be cloned; "
                + ("the page has the others" if self.heard else "no page was written")
            )


def open_listening(model: Path, out: Path, given: Mapping[str, object]) -> Listening:
    """Check everything, and load both models.

    Args:
        model: An exported model.
        out: The page to write.
        given: Values of `ListenOptions`; None is the default.
    """
    from tune_encoder.data.voice_bank import read_bank
    from tune_encoder.model.clone import open_engine
    from tune_encoder.report.listen import LISTEN_NAME, open_listener
    from tune_encoder.report.template import check_page
    from tune_encoder.speech.ear import choose_sentences
    from tune_encoder.speech.engine import find_model

    options = check_option_names(given, ListenOptions.__annotations__, "listen()")
    sentences, voice = options.pop("text", ()), options.pop("voice", DEFAULT_MODEL)
    device, model_dir = options.pop("device", None), options.pop("model_dir", None)
    check_is_model(model)
    check_page(out, LISTEN_NAME)
    settings = from_mapping(ListenSettings, options, "command line")
    check_choice(voice, SUPERTONIC_MODELS, "voice")
    choose_sentences(voice, settings, sentences)  # before anything is downloaded
    engine = open_engine(model, device)
    folder = find_model(voice, expand_if_given(model_dir))
    listener = open_listener(voice, folder, settings, sentences, read_bank(model))
    return Listening(model, out, voice, engine, listener)


@for_python
def listen(
    model: _Path,
    recordings: _Path | Sequence[_Path],
    out: _Path = "listen.html",
    **options: "Unpack[ListenOptions]",
) -> "list[Heard]":
    """Clone recordings, speak in their styles, and write a page to hear and compare.

    Args:
        model: Exported model folder.
        recordings: wav, flac, ogg or mp3 of one speaker each.
        out: The HTML page; an older one is replaced.
        options: `text`, `voice`, `model_dir`, `lang`, `steps`, `speed`, `seed` and `device`.

    Returns:
        For each recording how alike clone and original are, 1 being the same voice.

    Raises:
        ConfigError: if an option is unknown or does not fit the model that speaks, or there is no
            recording.
        DataError: if a recording cannot be used; the page has the others.
        StorageError: if a model is missing, or the page cannot be written.
    """
    paths = several_recordings(recordings)
    listening = open_listening(expand_path(model), expand_path(out), options)
    for result in listening.each(paths):
        doubts = [str(result)] if isinstance(result, TuneEncoderError) else result.warnings()
        for doubt in doubts:
            warnings.warn(in_python(doubt, "listen()"), stacklevel=3)
    listening.write_page()
    listening.check_all_heard()
    return listening.heard
