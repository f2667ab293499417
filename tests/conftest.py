import os

import pytest

from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack, pack_data

# Before torch is imported: with one thread a tensor of a few kilobytes is no slower, and on a
# busy machine many times faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of this test session, so that no test meets ~/.cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_ENCODER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A demo set of 24, 8 and 8 voices; copy it before changing it."""
    folder = tmp_path_factory.mktemp("data") / "demo"
    make_demo(folder, voices=24, val_voices=8, test_voices=8, seed=3)
    return folder


@pytest.fixture(scope="session")
def packed(data_dir, cache):
    return open_pack(pack_data(data_dir, TrainConfig()))
