"""The folder of a run by hand, made by `train`, read without torch.

config.yaml              the resolved settings, to train again
best_model.pt            the epoch with the lowest validation loss
final_checkpoint.pt      the last epoch
checkpoint_epoch_5.pt    every `save_interval` epochs; the newest few are kept
metrics.jsonl            one row per epoch
training_history.json    the same as one list
logs/                    TensorBoard
best/                    written by `export`
"""

from dataclasses import dataclass
from pathlib import Path

from tune_encoder.config import TrainConfig, load_config
from tune_encoder.errors import StorageError
from tune_encoder.experiment.epoch_row import EpochRow, checked_row
from tune_encoder.system.damage import parse_json
from tune_encoder.system.lock import LOCK_NAME

BEST, FINAL, CONFIG = "best_model.pt", "final_checkpoint.pt", "config.yaml"
METRICS, HISTORY = "metrics.jsonl", "training_history.json"
EXPORTED = "best"  # folder of its exported model


@dataclass(frozen=True)
class Run:
    """The files of one run by hand."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, also of the current folder."""
        return self.path.resolve().name

    def config(self) -> TrainConfig:
        """Read its settings.

        Raises:
            ConfigError: if they are missing or damaged.
        """
        return load_config(self.path / CONFIG, {})

    def rows(self) -> list[EpochRow]:
        """Read the rows of its finished epochs; none if the first is not finished yet.

        Raises:
            StorageError: if the file is damaged.
        """
        path = self.path / METRICS
        if not path.is_file():
            return []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return [checked_row(parse_json(line), ("val_skill", "seconds")) for line in lines]
        except ValueError as error:
            raise StorageError(f"{path}: damaged; resume the run, which writes it again") from error


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run by hand, even if its first epoch is not finished."""
    begun = any((folder / name).is_file() for name in (BEST, FINAL, LOCK_NAME))
    return begun and (folder / CONFIG).is_file()


def find_run(root: Path, name: str) -> Run | None:
    """Return the run of a name in the root of experiments, else at that path, if there is one."""
    if (root / name / "search.yaml").is_file():
        return None  # an experiment of that name
    return next((Run(path) for path in (root / name, Path(name)) if is_run(path)), None)


def list_runs(root: Path) -> list[Run]:
    """Return all runs directly in a root, sorted by name."""
    return [Run(path.parent) for path in sorted(root.glob(f"*/{CONFIG}")) if is_run(path.parent)]
