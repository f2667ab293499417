import pytest

from tune_encoder.config import GenerationSettings
from tune_encoder.speech.engine import Engine
from tune_encoder.speech.generating import Sources


@pytest.fixture(scope="session")
def models(stand_in):
    """The folder of the stand-in models."""
    return stand_in


@pytest.fixture(scope="session")
def engine(models):
    return Engine("supertonic-3", models)


def small(**changes):
    """Settings of a set of thirteen voices, three of them mixed."""
    return GenerationSettings(**{"voices": 13, "clips_per_voice": 1, "steps": "5", **changes})


def sources(models, **changes):
    return Sources(**{"model": "supertonic-3", "model_dir": models, **changes})
