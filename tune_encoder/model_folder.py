"""The folder a model lives in once it is exported, and how to read it back.

config.yaml          trains again as it is
model.safetensors    weights, with the statistics they were trained on
model.pt             the whole checkpoint, to train on from
    manifest.json        SHA-256 of both, verified whenever they are read
metrics.json         scores, baselines, what the search cost, seeds, versions
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from tune_encoder.config import TrainConfig, load_config
from tune_encoder.errors import StorageError, TuneEncoderError
from tune_encoder.manifest import load_listed
from tune_encoder.models import Encoder, rebuild_encoder

CONFIG, WEIGHTS, CHECKPOINT, METRICS = (
    "config.yaml",
    "model.safetensors",
    "model.pt",
    "metrics.json",
)


def load_model(folder: Path) -> tuple[Encoder, TrainConfig]:
    """Read an exported encoder, ready to predict.

    Raises:
        StorageError: if a file is missing, damaged, or of another architecture.
    """
    if not (folder / WEIGHTS).is_file():
        raise StorageError(f"{folder}: no model here; make one with `tune-encoder export`")
    try:
        config = load_config(folder / CONFIG, {})
        return rebuild_encoder(config, load(load_listed(folder / WEIGHTS))), config
    except (OSError, SafetensorError, RuntimeError, KeyError, TuneEncoderError) as error:
        reason = " ".join(str(error).split())[:300]
        raise StorageError(f"{folder}: not a usable model ({reason}); export it again") from error
