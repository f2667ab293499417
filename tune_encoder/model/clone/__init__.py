"""Voice cloning: from recordings to Supertonic voice styles; with ONNX files, without torch."""

from tune_encoder.model.clone.cloning import Clone, clone, clone_all, output_paths
from tune_encoder.model.clone.engines import Engine, open_engine
from tune_encoder.model.clone.speaker import (
    SpeakerClone,
    check_voice_name,
    clone_speaker,
    speaker_paths,
    speaker_recordings,
    speakers_by_folder,
)

__all__ = [
    "Clone",
    "Engine",
    "SpeakerClone",
    "check_voice_name",
    "clone",
    "clone_all",
    "clone_speaker",
    "open_engine",
    "output_paths",
    "speaker_paths",
    "speaker_recordings",
    "speakers_by_folder",
]
