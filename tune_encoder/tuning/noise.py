"""Whether a search can end at the noise: whether anything tells how large that is."""

import numpy as np

from tune_encoder.data.pack import PackedData
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.gain import seed_noise
from tune_encoder.space import SearchSpace

_WITH_ERROR = ("val_loss", "val_skill")
_WITH_ERROR_OVER_FOLDS = (*_WITH_ERROR, "val_skill_ttl", "val_skill_dp")


def check_noise_known(
    space: SearchSpace, data: PackedData, experiment: Experiment | None = None
) -> None:
    """Check that the noise of the metric is known, if the search ends at it.

    Args:
        space: What is searched.
        data: The data of the search.
        experiment: The search, if it has begun.

    Raises:
        ConfigError: if the metric has no standard error there, and was not confirmed with seeds.
    """
    if space.budget.until != "noise" or _has_standard_error(space, data):
        return
    if experiment is not None and seed_noise(experiment) is not None:
        return
    confirm = "tune-encoder confirm NAME" if experiment is None else experiment.command("confirm")
    raise ConfigError(
        f"budget.until is noise, but that of {space.metric.name} is not known: it has no standard "
        "error on this validation, and no config was trained with several seeds; search val_loss "
        f"or val_skill over several voices, or run `{confirm}` and then resume with --until noise"
    )


def _has_standard_error(space: SearchSpace, data: PackedData) -> bool:
    if space.validation.folds > 1:
        return space.metric.name in _WITH_ERROR_OVER_FOLDS
    n_voices = len(np.unique(data.val.style_ids))
    return space.metric.name in _WITH_ERROR and n_voices > 1
