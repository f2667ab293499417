import os

import pytest

from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack, pack_data
from tune_encoder.data.samples import find_samples, read_sample
from tune_encoder.voice_bank import bank_of_clips, write_bank

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


@pytest.fixture(scope="session")
def model_dir(packed, tmp_path_factory):
    """A model as export writes it, with ONNX files and the training voices; copy to change it."""
    from tests.fabricate import SMALL_ENCODER, random_encoder, write_model
    from tune_encoder.onnx_files import write_onnx

    folder = tmp_path_factory.mktemp("model")
    encoder = random_encoder(SMALL_ENCODER, packed.statistics)
    write_model(folder, SMALL_ENCODER, encoder.state_dict())
    write_onnx(folder, encoder, SMALL_ENCODER, epoch=1, int8=True)
    write_bank(folder, bank_of_clips(packed.train.voices, packed.train.styles), epoch=1)
    return folder


@pytest.fixture(scope="session")
def voices(data_dir):
    """Two demo voices at 24 kHz."""
    return [read_sample(path).audio for path in find_samples(data_dir / "val")[:2]]
