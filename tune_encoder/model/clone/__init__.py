"""Voice cloning: from recordings to Supertonic voice styles; with ONNX files, without torch."""

from tune_encoder.model.clone.cloning import Clone, clone, clone_all, output_paths
from tune_encoder.model.clone.engines import Engine, open_engine

__all__ = ["Clone", "Engine", "clone", "clone_all", "open_engine", "output_paths"]
