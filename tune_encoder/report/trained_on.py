"""The data a search began with."""

from pathlib import Path

from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import PackedData, open_pack, pack_data, pack_folder
from tune_encoder.errors import StorageError
from tune_encoder.report.facts import Facts


def read_data(facts: Facts) -> PackedData:
    """Map the data that the search began with, which may be gone if its features are there.

    Raises:
        DataError, StorageError: if neither are there.
    """
    settings = TrainConfig(**facts.space.base)
    folder = pack_folder(facts.content["fingerprint"], settings)
    if not folder.exists():
        folder = pack_data(Path(facts.content["data_dir"]), settings)
    data = open_pack(folder)
    if data.info["fingerprint"] != facts.content["fingerprint"]:
        raise StorageError(
            f"{facts.content['data_dir']}: not the data the search began with; restore it and "
            f"write the report again with `{facts.experiment.command('report')}`"
        )
    return data
