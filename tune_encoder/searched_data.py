"""The data of a search, refused where it is not what the search began with."""

from pathlib import Path

from tune_encoder.config import FrontendSettings
from tune_encoder.data.pack import open_pack, pack_data
from tune_encoder.errors import StorageError
from tune_encoder.experiment import Experiment


def searched_pack(experiment: Experiment, settings: FrontendSettings) -> Path:
    """Return the pack of an experiment's data.

    Raises:
        DataError: if the data is gone or damaged.
        StorageError: if it has changed since the search began.
    """
    pack = pack_data(Path(experiment.search()["data_dir"]), settings)
    refuse_other_data(experiment, open_pack(pack).info["fingerprint"])
    return pack


def refuse_other_data(experiment: Experiment, fingerprint: str) -> None:
    """Raise a `StorageError` if the search began with data of another fingerprint."""
    content = experiment.search()
    if content["fingerprint"] != fingerprint:
        raise StorageError(
            f"{content['data_dir']}: not the data {experiment.name} began with; restore it, search "
            "anew, or go on with other data by `resume --accept-data-change`"
        )


def accept_data(experiment: Experiment, settings: FrontendSettings) -> None:
    """Let the data as it is now be that of the search."""
    content = experiment.search()
    info = open_pack(pack_data(Path(content["data_dir"]), settings)).info
    experiment.write_search({**content, "fingerprint": info["fingerprint"]})
