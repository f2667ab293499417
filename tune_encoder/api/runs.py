"""A run by hand, for a notebook: its learning curve, and its model."""

from pathlib import Path
from typing import TYPE_CHECKING

from tune_encoder.api.export_options import ExportOptions
from tune_encoder.api.options import expand_path
from tune_encoder.api.wording import methods_for_python
from tune_encoder.config import ExportSettings, from_mapping
from tune_encoder.errors import ConfigError
from tune_encoder.experiment import run as on_disk

if TYPE_CHECKING:
    from pandas import DataFrame
    from typing_extensions import Unpack


@methods_for_python
class Run:
    """A run that `train` made. Its files are read at every access, also while it trains.

    Example:
        >>> run = tune_encoder.Run("checkpoints")
        >>> run.curve().plot(x="epoch", y=["train_loss", "val_loss"])
        >>> run.export()
        PosixPath('checkpoints/best')
    """

    def __init__(self, path: str | Path) -> None:
        """Open the run.

        Args:
            path: Its folder, such as "checkpoints".

        Raises:
            ConfigError: if the folder is not that of a run.
        """
        folder = expand_path(path)
        if not on_disk.is_run(folder):
            raise ConfigError(f"{folder}: no run here; name the --checkpoint-dir of a `train`")
        self._folder = on_disk.Run(folder)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._folder.path

    def curve(self) -> "DataFrame":
        """Return a row for each finished epoch: `epoch` and every metric.

        Raises:
            StorageError: if the file of the epochs is damaged.
        """
        from pandas import DataFrame

        rows = [
            {"epoch": row["epoch"], **{n: v for n, v in row.items() if isinstance(v, float)}}
            for row in self._folder.rows()
        ]
        return DataFrame(rows, columns=None if rows else ["epoch"])

    def export(self, to: str | Path | None = None, **options: "Unpack[ExportOptions]") -> Path:
        """Export the epoch with the lowest validation loss, and return the model's folder.

        Args:
            to: The folder; by default `best` in the run's folder. An older export is replaced.
            options: `formats` and `int8`, as on the command line.

        Raises:
            ConfigError: if an option is unknown or out of range, or asks for several checkpoints.
            SearchFailed: if the run has no usable checkpoint.
            StorageError: if the model cannot be written, or does not reproduce the run's score.
        """
        from tune_encoder.export.runs import export_run

        settings = from_mapping(ExportSettings, options, "export()")
        folder = self.path / on_disk.EXPORTED if to is None else expand_path(to)
        export_run(self._folder, folder, settings)
        return folder
