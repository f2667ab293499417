"""Training one config from Python, without a search."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_encoder.api.options import check_whole_number, expand_path
from tune_encoder.api.runs import Run
from tune_encoder.api.wording import for_python, in_python
from tune_encoder.config import (
    TrainConfig,
    augmentation_warnings,
    load_config,
    network_settings,
)

if TYPE_CHECKING:
    from tune_encoder.data.pack import PackedData
    from tune_encoder.training.checkpoints import State
    from tune_encoder.training.run_folder import OnEpoch

_PATHS = ("data_dir", "init_from")  # settings that are paths of this process's folder


@dataclass(frozen=True)
class PreparedRun:
    """A run whose settings have been checked."""

    config: TrainConfig
    checkpoint: "State | None"
    """What it resumes from."""
    warnings: Sequence[str]
    is_demo: bool
    """Whether the data is the built-in demo voices, because no other was given."""

    def data(self) -> "PackedData":
        """Check and pack the data, or open the existing pack."""
        from tune_encoder.training.run_folder import prepare_run

        return prepare_run(self.config)

    def start(self, on_epoch: "OnEpoch", processes: int = 1) -> None:
        """Train to the end; see `train`."""
        from tune_encoder.training.run_folder import train_to_folder

        train_to_folder(self.config, on_epoch, self.checkpoint, processes)


def prepare_training(
    config: Path | None, settings: Mapping[str, object], resume: Path | None
) -> PreparedRun:
    """Merge the settings of the checkpoint, then the file, then those given; see `train`.

    Args:
        config: A YAML file of settings.
        settings: Those that take the place of the others; None takes the place of nothing.
        resume: A checkpoint to resume from.
    """
    from tune_encoder.training.run_folder import read_checkpoint

    checkpoint, notes = read_checkpoint(resume) if resume else (None, [])
    given = {name: value for name, value in settings.items() if value is not None}
    paths = {name: expand_path(str(given[name])) for name in _PATHS if given.get(name)}
    given |= {name: str(path.resolve()) for name, path in paths.items()}
    before: Mapping[str, object] = checkpoint["config"] if checkpoint else {}
    merged = load_config(config, given, before)
    if merged.init_from and not before:
        merged = load_config(config, given, network_settings(Path(merged.init_from)))
    is_demo = not merged.data_dir
    if is_demo:
        from tune_encoder.data.demo import cached_demo

        merged = replace(merged, data_dir=str(cached_demo()))
    return PreparedRun(merged, checkpoint, [*notes, *augmentation_warnings(merged)], is_demo)


@for_python
def train(
    data_dir: str | Path | None = None,
    config: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    processes: int = 1,
    on_epoch: "OnEpoch | None" = None,
    **settings: Any,
) -> Run:
    """Train one config without a search, and return the run.

    Example:
        >>> run = tune_encoder.train("voices", epochs=20, learning_rate=1e-3)
        >>> run.curve()["val_skill"].max()
        0.38

    Args:
        data_dir: The data set; by default that of the settings, else the built-in demo voices.
        config: YAML file of settings.
        resume: Checkpoint to resume from, with its settings.
        processes: Processes that train one model, each on its own GPU or with its share of the
            CPUs.
        on_epoch: Called after each epoch with the settings and a list of the epochs' rows, the last
            of which is new. With several processes it must be a function of a module.
        settings: Any setting of a run, such as `checkpoint_dir`, the folder it is written to,
            `epochs`, `batch_size` and `device`.

    Raises:
        ConfigError: if a setting is unknown or out of range, or the folder holds a run already.
        DataError: if the data cannot be used.
        StorageError: if a checkpoint is damaged, or another process trains into the folder.
        OutOfMemory, TrainingDiverged: if the config cannot be trained.
        Interrupted: on Ctrl-C or SIGTERM, with the last epoch saved.
    """
    check_whole_number(processes, 1, "processes")
    prepared = prepare_training(
        None if config is None else expand_path(config),
        {"data_dir": data_dir, **settings},
        None if resume is None else expand_path(resume),
    )
    for warning in prepared.warnings:
        warnings.warn(in_python(warning, "train()"), stacklevel=3)
    prepared.start(on_epoch or _ignore, processes)
    return Run(prepared.config.checkpoint_dir)


def _ignore(config: TrainConfig, history: Sequence[object]) -> None:
    """Do nothing after an epoch: the run's folder has its row."""
