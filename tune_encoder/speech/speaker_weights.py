"""The weights of the speaker encoder, which the package Resemblyzer brings; torch is not needed."""

from importlib.util import find_spec
from pathlib import Path

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.system.manifest import sha256_of

PACKAGE, WEIGHTS = "resemblyzer", "pretrained.pt"
WEIGHTS_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"  # of 0.1.4
INSTALL_COMMAND = "pip install --no-deps resemblyzer==0.1.4"


def read_weights() -> tuple[Path, bytes]:
    """Return the file of the weights and its verified content; the package is not imported.

    Raises:
        ConfigError: if it is not installed.
        StorageError: if its weights are not those of version 0.1.4.
    """
    path = _weights_file()
    content = path.read_bytes() if path.is_file() else b""
    if sha256_of(content) != WEIGHTS_SHA256:
        raise StorageError(
            f"{path}: missing, or not the weights of Resemblyzer 0.1.4; install it again with "
            f"`{INSTALL_COMMAND}`"
        )
    return path, content


def _weights_file() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "the speaker encoder is missing, by which voices are compared; install it with "
            f"`{INSTALL_COMMAND}`, or with the extra `tune-encoder[listen]`"
        )
    return Path(spec.submodule_search_locations[0]) / WEIGHTS
