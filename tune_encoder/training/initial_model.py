"""The first weights of a run: random ones, or those of an exported model.

The statistics of the model's own training are kept with its weights: the mean and deviation of the
bands and the basis of the styles are part of its network. Losses and scores use those of the data
that is trained on. If its styles are of another kind, so that it predicts the new training voices
worse than their mean does, the last layer starts anew at that mean, with their basis: within the
old basis no training could reach them. The model is read once, before the first epoch; then the
checkpoints decide.
"""

from dataclasses import replace
from pathlib import Path

import torch

from tune_encoder.config import CLOSED_FORM, TrainConfig, check_same_network
from tune_encoder.data.baselines import closed_form
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.pack import PackedData
from tune_encoder.data.scores import score
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.commands import check_is_model
from tune_encoder.model.closed_form import ClosedFormRegression
from tune_encoder.model.encoder import (
    ClosedFormEncoder,
    Encoder,
    Ensemble,
    build_encoder,
    rebuild_encoder,
)
from tune_encoder.model.folder import WEIGHTS, load_model
from tune_encoder.model.prediction import predict_pack
from tune_encoder.system.manifest import verify
from tune_encoder.training.checkpoints import State

_POOLING = ("head.pool.", "head.norm.", "head.queries", "head.attention.")  # before the last layer


def pin_initial_model(config: TrainConfig) -> TrainConfig:
    """Check the initial model, if there is one, and return the config with its path and SHA-256.

    Raises:
        ConfigError: if its network is another than the config's, or it is several encoders.
        StorageError: if it is missing or damaged, or not the model that the config was made with.
    """
    if not config.init_from:
        return config
    folder = Path(config.init_from).resolve()
    check_is_model(folder)
    config = replace(config, init_from=str(folder))
    _load(config)
    return replace(config, init_sha256=_sha256(folder))


def first_encoder(
    config: TrainConfig, data: PackedData, checkpoint: State | None = None
) -> Encoder:
    """Build the encoder that a run starts with, or that the checkpoint's weights fit into.

    The closed form is fitted to the data, also in a search whose networks start from a model.

    Raises:
        ConfigError, StorageError: as `pin_initial_model`, if the run starts from a model.
    """
    if config.encoder_type == CLOSED_FORM:
        return ClosedFormEncoder(ClosedFormRegression(closed_form(data)), data.statistics)
    if not config.init_from:
        return build_encoder(config, data.statistics)
    if checkpoint is None:
        return _fit_to_styles(_load(config), config, data)
    try:
        return rebuild_encoder(config, checkpoint["model"])
    except (RuntimeError, KeyError):  # loading the checkpoint then says what differs
        return build_encoder(config, data.statistics)


def _fit_to_styles(model: Encoder, config: TrainConfig, data: PackedData) -> Encoder:
    """Return the model, with a new last layer if it predicts the voices worse than their mean."""
    predicted = predict_pack(model, data.train, crop_frames(config), torch.device("cpu"))
    if score(predicted, data.train.styles, data.statistics)["skill"] > 0:
        return model
    fitted = build_encoder(config, data.statistics)
    weights = model.state_dict()
    kept = {n: w for n, w in weights.items() if not n.startswith("head.") or n.startswith(_POOLING)}
    fitted.load_state_dict({**fitted.state_dict(), **kept})
    return fitted


def _load(config: TrainConfig) -> Encoder:
    folder = Path(config.init_from)
    model, its_config = load_model(folder)
    if isinstance(model, ClosedFormEncoder | Ensemble):
        is_single = isinstance(model, ClosedFormEncoder)
        kind = "a closed form" if is_single else "several encoders"
        others = "" if is_single else ", or this one with --blend none --refit-seeds 1"
        raise ConfigError(
            f"init_from is {folder}: {kind}, not the single network that training needs; export "
            f"another checkpoint{others}"
        )
    check_same_network(config, its_config)
    if config.init_sha256 not in ("", found := _sha256(folder)):
        raise StorageError(
            f"init_from is {folder}: not the model that training began with, the SHA-256 of its "
            f"weights is {found[:12]}..., not {config.init_sha256[:12]}...; restore that model, or "
            "start anew"
        )
    return rebuild_encoder(config, model.state_dict())


def _sha256(folder: Path) -> str:
    return verify(folder / WEIGHTS)[1]
