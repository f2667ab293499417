"""Supertonic, loaded and asked to speak.

Shapes: T audio samples.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_encoder.config import SUPERTONIC_MODELS
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.system.manifest import sha256_of_file

MODEL_FILES = (
    "onnx/tts.json",
    "onnx/unicode_indexer.json",
    "onnx/duration_predictor.onnx",
    "onnx/text_encoder.onnx",
    "onnx/vector_estimator.onnx",
    "onnx/vocoder.onnx",
)
CACHE_VARIABLE = "SUPERTONIC_CACHE_DIR"
PRESETS_FOLDER = "voice_styles"
# The package accepts every language for every model; what these were trained on is on their pages.
_FEW_LANGUAGES = {"supertonic": ("en",), "supertonic-2": ("en", "ko", "es", "pt", "fr")}

Array = NDArray[np.float32]


class Engine:
    """Supertonic with one of its models, on one core."""

    def __init__(self, model: str, folder: Path) -> None:
        """Load the files of a folder; nothing is downloaded.

        Raises:
            ConfigError: if the package is not installed.
            StorageError: if the model's files are missing or damaged.
        """
        supertonic = import_supertonic()
        _check_files(folder)
        try:
            # One thread: the sum of floats depends on how many share it.
            self._tts = supertonic.TTS(
                model, folder, False, intra_op_num_threads=1, inter_op_num_threads=1
            )
        except Exception as error:  # onnxruntime raises a dozen types, none of them public
            raise StorageError(
                f"{folder}: not a readable Supertonic model ({type(error).__name__}: {error}); "
                f"{_how_to_get()}"
            ) from error
        self._style = supertonic.Style
        self.sample_rate = int(self._tts.sample_rate)

    def speak(
        self, style: VoiceStyle, text: str, lang: str, *, steps: int, speed: float, seed: int
    ) -> Array:
        """Speak a text; equal arguments give equal audio (T,) on the same machine.

        Raises:
            DataError: if the package refuses it.
        """
        voice = self._style(style.ttl[None], style.dp[None])
        try:
            with _global_noise(seed):
                audio, seconds = self._tts.synthesize(text, voice, steps, speed, lang=lang)
        except Exception as error:  # of the package and of onnxruntime, none of them public
            raise DataError(
                f"Supertonic cannot speak {text[:40]!r} in {lang} ({type(error).__name__}: "
                f"{error}); try another text or model"
            ) from error
        end = round(float(np.sum(seconds)) * self.sample_rate)  # the last block is padded
        return np.asarray(audio[0, :end], dtype=np.float32)

    def unknown_characters(self, text: str) -> list[str]:
        """Return the characters of a text that the model cannot speak."""
        return list(self._tts.model.text_processor.validate_text(text)[1])


def import_supertonic() -> Any:
    """Import the package.

    Raises:
        ConfigError: if it is not installed, naming the extra.
    """
    try:
        import supertonic
    except ImportError as error:
        raise ConfigError(
            f"Supertonic cannot be imported ({error}); install it with "
            "`pip install 'tune-encoder[supertonic]'`"
        ) from error
    return supertonic


def model_languages(model: str) -> tuple[str, ...]:
    """Return the codes of the languages that a model speaks."""
    return _FEW_LANGUAGES.get(model) or tuple(import_supertonic().AVAILABLE_LANGUAGES)


def find_model(model: str, folder: Path | None) -> Path:
    """Return the folder of a model's files; without `folder` the package downloads it once.

    Raises:
        ConfigError: if the package is not installed, or has no such model.
        StorageError: if files are missing, or cannot be downloaded.
    """
    import_supertonic()
    if model not in SUPERTONIC_MODELS:
        raise ConfigError(f"unknown model {model!r}; known: {', '.join(SUPERTONIC_MODELS)}")
    if folder is not None:
        _check_files(folder)
        return folder
    from supertonic import loader

    cached = _cache_folder(model)
    if not loader.has_all_onnx_modules(cached):
        try:
            loader.download_model(cached, model)
        except Exception as error:  # of the hub, of requests, of the system
            cause = error.__cause__ or error  # the package says but that it failed
            raise StorageError(
                f"{model} cannot be downloaded ({cause}); connect to the network, or copy {cached} "
                "from a machine that has it and name it with --model-dir"
            ) from error
    return cached


def _cache_folder(model: str) -> Path:
    """The folder that a model is downloaded to; the package has one for all under its variable.

    Raises:
        StorageError: if that one has a model, since its files do not say of which name.
    """
    from supertonic import loader

    folder = Path(loader.get_cache_dir(model))
    if not os.environ.get(CACHE_VARIABLE):
        return folder
    if loader.has_all_onnx_modules(folder):
        raise StorageError(
            f"{CACHE_VARIABLE} is {folder}: has files of one model, which may not be {model}; if "
            f"they are, move them to {folder / model}, or name the folder with --model-dir"
        )
    return folder / model


def downloaded_model(model: str, folder: Path | None) -> Path:
    """Return the folder of a model's files, without a download.

    Raises:
        ConfigError: if the package is not installed, or has no such model.
        StorageError: if files are missing.
    """
    import_supertonic()
    from supertonic import loader

    if folder is None and not loader.has_all_onnx_modules(cached := _cache_folder(model)):
        raise StorageError(
            f"{cached}: has no files of {model}; `tune-encoder listen --model {model}` downloads "
            "them"
        )
    return find_model(model, folder)


def model_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each of a model's files."""
    return {name: sha256_of_file(folder / name) for name in MODEL_FILES}


def package_versions() -> dict[str, str]:
    """Return the versions of what a clip depends on."""
    packages = ("tune-encoder", "supertonic", "onnxruntime", "numpy")
    return {name: version(name) for name in packages}


def _check_files(folder: Path) -> None:
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise StorageError(
            f"{folder}: has no {missing[0]}, so it is no Supertonic model; {_how_to_get()}"
        )


def _how_to_get() -> str:
    return (
        "leave --model-dir out to download it, or clone "
        "https://huggingface.co/Supertone/supertonic-3"
    )


@contextmanager
def _global_noise(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, from which the package draws its noise, for a block."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
