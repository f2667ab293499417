"""The data a search began with."""

from pathlib import Path

from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import PackedData, open_pack, pack_data, pack_folder
from tune_encoder.report.facts import Facts
from tune_encoder.searched_data import refuse_other_data


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
    refuse_other_data(facts.experiment, data.info["fingerprint"])
    return data
