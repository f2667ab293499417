import pytest

from tune_encoder.config import ListenSettings
from tune_encoder.report.listen import open_listener


@pytest.fixture(scope="session")
def listener(stand_in_model, stand_in):
    return open_listener(stand_in_model, None, ("supertonic-3", stand_in), ListenSettings())
