"""Export of a run by hand: the epoch with the lowest validation loss, as a model folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from tune_encoder.config import READ_PATHS, ExportSettings, TrainConfig
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, SearchFailed, StorageError
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.run import BEST, FINAL, Run
from tune_encoder.experiment.views import changed_settings
from tune_encoder.export import check_replaceable, export_models, single_model
from tune_encoder.export.contents import Member, Metrics, RunCost
from tune_encoder.export.origin import Origin
from tune_encoder.export.writing import Source
from tune_encoder.system.formats import count_noun, quote_path
from tune_encoder.training.checkpoints import State, load_state
from tune_encoder.training.run_folder import checkpoints_of_run


@dataclass(frozen=True)
class RunCheckpoint:
    """An epoch of a run by hand with a valid checkpoint."""

    name: str
    """Name of the run's folder."""
    config: TrainConfig
    state: State
    why: str

    @property
    def row(self) -> EpochRow:
        """Its losses and scores."""
        row: EpochRow = self.state["history"][-1]
        return row

    def describe(self) -> Member:
        """Return what identifies the checkpoint."""
        return {
            "trained_in": self.name,
            "trial": None,
            "epoch": self.row["epoch"],
            "seed": self.config.seed,
        }


def export_run(run: Run, to: Path, settings: ExportSettings) -> Metrics:
    """Write the best epoch of a run by hand to the folder `to`, atomically; see `export`.

    The run may still be in progress.

    Returns:
        The content of metrics.json.

    Raises:
        ConfigError: if the folder has other content than an older export, or the settings ask for
            several checkpoints.
        SearchFailed: if the run has no usable checkpoint.
        StorageError: if the data has changed, or a new process cannot reproduce the score.
    """
    _check_single(run, settings)
    check_replaceable(to)
    rows = run.rows()
    checkpoint = _best_checkpoint(run, len(rows))
    data = open_pack(pack_data(Path(checkpoint.config.data_dir), checkpoint.config))
    _check_same_data(checkpoint, data)
    source = Source(_origin(run, rows, checkpoint), data, settings)
    return export_models([single_model(checkpoint)], to, source)[0]


def _check_single(run: Run, settings: ExportSettings) -> None:
    several = max(settings.top_k, settings.average, settings.ensemble) > 1
    refits = settings.refit == "always" or settings.refit_seeds is not None
    if several or settings.trial is not None or refits:
        raise ConfigError(
            f"{run.path}: is one run, of which the best epoch is exported; leave out trial, top_k, "
            "average, ensemble, refit and refit_seeds"
        )


def _best_checkpoint(run: Run, n_epochs: int) -> RunCheckpoint:
    """The best epoch, or if its checkpoint is damaged the best of the others."""
    # As in a search: the folder of this run is not that of the next.
    config = replace(run.config(), checkpoint_dir=TrainConfig().checkpoint_dir)
    why = f"the lowest val_loss of {count_noun(n_epochs, 'epoch')}"
    problems = []
    found: list[State] = []
    for path in reversed(checkpoints_of_run(run.path)):
        try:
            found.append(load_state(path))
        except StorageError as error:
            problems.append(str(error))
        if path.name == BEST and found:
            return RunCheckpoint(run.name, config, found[0], why)
    if not found:
        raise SearchFailed(
            f"{run.path}: no usable checkpoint ({problems[0]}); continue with "
            f"`tune-encoder train --resume {quote_path(run.path / FINAL)}`, or train again"
        )
    best = min(found, key=lambda state: float(state["history"][-1]["val_loss"]))
    return RunCheckpoint(run.name, config, best, f"{why} with a usable checkpoint")


def _check_same_data(checkpoint: RunCheckpoint, data: PackedData) -> None:
    if checkpoint.state["data"] != data.identity:
        raise StorageError(
            f"{checkpoint.config.data_dir}: not the data that {checkpoint.name} was trained on; "
            "restore it, or train again"
        )


def _origin(run: Run, rows: list[EpochRow], checkpoint: RunCheckpoint) -> Origin:
    settings = changed_settings(checkpoint.state["config"])
    hidden = (*READ_PATHS, "checkpoint_dir")
    cost: RunCost = {
        "epochs": len(rows),
        "budget": checkpoint.config.epochs,
        "hours": round(sum(row["seconds"] for row in rows) / 3600, 4),
        "settings": {name: value for name, value in settings.items() if name not in hidden},
    }
    versions = checkpoint.state.get("versions", {})
    return Origin(run.name, checkpoint.config.seed, versions, {"run": cost})
