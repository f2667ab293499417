import pytest

from tune_encoder.config import ListenSettings
from tune_encoder.data.voice_bank import read_bank
from tune_encoder.model.clone import open_engine
from tune_encoder.report.listen import hear_all, open_listener


@pytest.fixture(scope="session")
def listener(stand_in_model, stand_in):
    bank = read_bank(stand_in_model)
    return open_listener("supertonic-3", stand_in, ListenSettings(), bank=bank)


@pytest.fixture(scope="session")
def hear(listener, stand_in_model):
    """A function that clones and hears recordings."""
    engine = open_engine(stand_in_model)
    return lambda *paths, by=listener: list(hear_all(by, engine, paths, None))
