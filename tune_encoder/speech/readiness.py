"""Whether this machine can speak and hear, found out without loading a model.

A search asks before it starts: its driver loads neither torch nor the models, but its workers will.
"""

from pathlib import Path

from tune_encoder.config import SpeakingModel
from tune_encoder.data.voice_bank import read_styles
from tune_encoder.data.voice_style import VoiceStyle, check_same_version
from tune_encoder.errors import DataError
from tune_encoder.speech.engine import PRESETS_FOLDER, downloaded_model
from tune_encoder.speech.speaker_weights import read_weights


def check_can_listen(speaking: SpeakingModel) -> None:
    """Check that the packages and the files of the models are here.

    Raises:
        ConfigError: if a package is missing.
        StorageError: if files of a model are missing, or the weights are of another version.
    """
    read_weights()
    downloaded_model(speaking.model, speaking.folder)


def check_speaks(speaking: SpeakingModel, style: VoiceStyle, name: str) -> None:
    """Check that a model speaks in a style, by its presets.

    Args:
        speaking: The model.
        style: The style, with rows of norm 1.
        name: Whose it is.

    Raises:
        ConfigError, StorageError: if Supertonic's package or the model is missing.
        DataError: if the style is of another version of Supertonic, or the model has no presets.
    """
    folder = downloaded_model(speaking.model, speaking.folder)
    presets = read_styles(folder / PRESETS_FOLDER)
    try:
        check_same_version({Path(name): style, **presets})
    except DataError as error:
        remedy = "or set similarity.model to the version of the data"
        raise DataError(f"{error}, {remedy}") from error
