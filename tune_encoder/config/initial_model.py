"""Settings that an initial model fixes: those of its front end and network.

`init_from` names an exported model whose weights training starts from. A setting of its network
that is not given is that of the model; one that is given must be equal.
"""

import dataclasses
from pathlib import Path

from tune_encoder.config.checking import SettingValue
from tune_encoder.config.training import EncoderSettings, FrontendSettings, TrainConfig
from tune_encoder.config.yaml import load_config
from tune_encoder.errors import ConfigError, StorageError

_FREE = {"dropout", "gradient_checkpointing"}  # they change training, not what the weights mean
NETWORK = tuple(
    field.name
    for kind in (FrontendSettings, EncoderSettings)
    for field in dataclasses.fields(kind)
    if field.name not in _FREE
)
"""Names of the settings that must be those of the initial model."""


def network_settings(model: Path) -> dict[str, SettingValue]:
    """Read the settings of an exported model's front end and network.

    Raises:
        StorageError: if there is no such model, or its config is damaged.
    """
    try:
        config = load_config(model / "config.yaml", {})
    except ConfigError as error:
        raise StorageError(
            f"init_from is {model}: not an exported model ({error}); make one with "
            "`tune-encoder export`"
        ) from error
    return {name: getattr(config, name) for name in NETWORK}


def check_same_network(config: TrainConfig, model: TrainConfig) -> None:
    """Raise a `ConfigError` that names the settings of the network that differ from the model's."""
    different = [
        f"{name} is {getattr(model, name)} there and {getattr(config, name)} here"
        for name in NETWORK
        if getattr(model, name) != getattr(config, name)
    ]
    if different:
        raise ConfigError(
            f"init_from is {config.init_from}: {', '.join(different)}; leave out these settings, "
            "or start from another model"
        )
