"""The folder a model lives in once it is exported, and how to read it back.

config.yaml          trains again as it is; of an ensemble config_2.yaml and so on, one a member
model.safetensors    weights, with the statistics they were trained on
model.pt             the whole checkpoint, to train on from
metrics.json         scores, baselines, what the search cost, seeds, versions
provenance.json      what it was made from and the SHA-256 of every file, verified at reading
MODEL_CARD.md        all of it for a person
"""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from tune_encoder.config import TrainConfig, load_config
from tune_encoder.errors import StorageError, TuneEncoderError
from tune_encoder.model.encoder import Encoder, Ensemble, rebuild_encoder
from tune_encoder.system.manifest import PROVENANCE, load_verified, read_manifest

CONFIG, WEIGHTS, CHECKPOINT, METRICS, CARD = (
    "config.yaml",
    "model.safetensors",
    "model.pt",
    "metrics.json",
    "MODEL_CARD.md",
)
_MEMBER = re.compile(r"members\.(\d+)\.(.+)")  # as `Ensemble` names the weights of its members


def is_model_folder(folder: Path) -> bool:
    """Whether the folder holds an exported model, whole or not."""
    return any((folder / name).is_file() for name in (WEIGHTS, PROVENANCE))


def member_config(number: int) -> str:
    """Name the settings file of an ensemble's member, counted from 0."""
    return CONFIG if number == 0 else f"config_{number + 1}.yaml"


def load_model(folder: Path) -> tuple[Encoder, TrainConfig]:
    """Read an exported encoder or ensemble, ready to predict, with its first config.

    Raises:
        StorageError: if a file is missing, damaged, or of another architecture.
    """
    if not (folder / WEIGHTS).is_file():
        raise StorageError(f"{folder}: no model here; make one with `tune-encoder export`")
    try:
        weights = load(load_verified(folder / WEIGHTS))
        return _rebuild(folder, weights), _config(folder)
    except (OSError, SafetensorError, RuntimeError, KeyError, TuneEncoderError) as error:
        reason = " ".join(str(error).split())[:300]
        raise StorageError(f"{folder}: not a usable model ({reason}); export it again") from error


def _rebuild(folder: Path, weights: Mapping[str, Tensor]) -> Encoder:
    """An encoder, or the ensemble of those whose weights are named as a member's."""
    members: dict[int, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if found := _MEMBER.fullmatch(name):
            members.setdefault(int(found[1]), {})[found[2]] = tensor
    if not members:
        return rebuild_encoder(_config(folder), weights)
    configs = {number: _config(folder, number) for number in members}
    encoders = [rebuild_encoder(configs[number], members[number]) for number in sorted(members)]
    return Ensemble(encoders).eval()


def _config(folder: Path, number: int = 0) -> TrainConfig:
    """A member's settings, verified where their hash is listed."""
    path = folder / member_config(number)
    if path.name in read_manifest(folder):
        load_verified(path)
    return load_config(path, {})
