"""The folder of an exported model, and how to load it.

config.yaml          to train it again; an ensemble has config_2.yaml and so on, one per member
model.safetensors    weights, with the statistics they were trained on
model.pt             the full checkpoint, to continue training on the same clips
metrics.json         scores, baselines, cost of the search, seeds, versions
provenance.json      what it was made from, and the SHA-256 of every file, verified on loading
MODEL_CARD.md        a description for people
"""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from tune_encoder.config import TrainConfig, load_config
from tune_encoder.errors import ConfigError, StorageError, TuneEncoderError
from tune_encoder.model.encoder import (
    SHARES,
    WINDOW,
    Encoder,
    Ensemble,
    rebuild_encoder,
    with_windows,
)
from tune_encoder.system.damage import parse_json, reason_of, refuse_damage
from tune_encoder.system.manifest import PROVENANCE, load_verified, read_manifest

CONFIG, WEIGHTS, CHECKPOINT, METRICS, CARD = (
    "config.yaml",
    "model.safetensors",
    "model.pt",
    "metrics.json",
    "MODEL_CARD.md",
)
_MEMBER = re.compile(r"members\.(\d+)\.(.+)")  # names of weights in an `Ensemble`


def is_model_folder(folder: Path) -> bool:
    """Whether the folder holds an exported model, complete or not."""
    return any((folder / name).is_file() for name in (WEIGHTS, PROVENANCE))


def check_has_weights(folder: Path) -> None:
    """Raise a `StorageError` if the folder has no model."""
    if not (folder / WEIGHTS).is_file():
        raise StorageError(f"{folder}: no model here; make one with `tune-encoder export`")


def member_config(number: int) -> str:
    """Return the name of the config of an ensemble member, counted from 0."""
    return CONFIG if number == 0 else f"config_{number + 1}.yaml"


def load_model(folder: Path) -> tuple[Encoder, TrainConfig]:
    """Load an exported encoder or ensemble in evaluation mode, with its config.

    That of an ensemble is its first member's, with the windows that the ensemble is given.

    Raises:
        StorageError: if a file is missing or damaged, or the weights do not fit the config.
    """
    check_has_weights(folder)
    try:
        with refuse_damage(StorageError):
            weights = load(load_verified(folder / WEIGHTS))
            encoder = _rebuild(folder, weights)
            return encoder, with_windows(_config(folder), encoder)
    except (OSError, ConfigError, StorageError) as error:
        reason = reason_of(error)
        raise StorageError(f"{folder}: not a usable model ({reason}); export it again") from error


def _rebuild(folder: Path, weights: Mapping[str, Tensor]) -> Encoder:
    """An encoder, or an ensemble if the weights are named as those of members."""
    members: dict[int, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if found := _MEMBER.fullmatch(name):
            members.setdefault(int(found[1]), {})[found[2]] = tensor
    if not members:
        return rebuild_encoder(_config(folder), weights)
    configs = {number: _config(folder, number) for number in members}
    encoders = [rebuild_encoder(configs[number], members[number]) for number in sorted(members)]
    shares = weights[SHARES].tolist() if SHARES in weights else None  # absent before they were
    window = weights[WINDOW].item() if WINDOW in weights else None  # likewise
    return Ensemble(encoders, shares, window).eval()


def splits_trained_on(folder: Path) -> tuple[set[str], str]:
    """Return the splits that a model was trained on, and the fingerprint of their data.

    Nothing is known of a folder without an intact provenance.json.
    """
    try:
        with refuse_damage(StorageError):
            origin = parse_json((folder / PROVENANCE).read_text(encoding="utf-8"))
            return {str(name) for name in origin["trained_on"]}, str(origin["data"]["fingerprint"])
    except (OSError, StorageError):
        return set(), ""


def read_model_config(folder: Path) -> TrainConfig:
    """Return the config of an exported model, of an ensemble that of the first member.

    Raises:
        StorageError: if it is missing or damaged.
    """
    try:
        return _config(folder)
    except (OSError, TuneEncoderError) as error:
        raise StorageError(f"{folder}: no usable model ({error}); export it again") from error


def _config(folder: Path, number: int = 0) -> TrainConfig:
    """The config of a member, verified if its hash is listed."""
    path = folder / member_config(number)
    if path.name in read_manifest(folder):
        load_verified(path)
    return load_config(path, {})
