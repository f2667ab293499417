import shutil
import sys

import numpy as np
import onnx
import pytest

from tune_encoder.errors import StorageError
from tune_encoder.model.onnx.session import AUDIO_ENCODER, VOICE_ENCODER, open_onnx
from tune_encoder.system.manifest import save_with_hash


@pytest.fixture
def copied(model_dir, tmp_path):
    return shutil.copytree(model_dir, tmp_path / "model")


def test_a_damaged_file_is_refused_by_name(copied):
    path = copied / VOICE_ENCODER
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)

    with pytest.raises(StorageError, match=r"voice_encoder\.onnx: damaged, its SHA-256 is not"):
        open_onnx(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match=r"audio_encoder\.onnx: cannot be read \(No such file"):
        open_onnx(tmp_path / AUDIO_ENCODER)


def test_what_is_no_onnx_is_refused_though_it_is_listed(copied):
    save_with_hash(copied / VOICE_ENCODER, b"no graph", epoch=1)

    with pytest.raises(StorageError, match=r"onnxruntime cannot load it \(.*\); export it again"):
        open_onnx(copied / VOICE_ENCODER)


@pytest.mark.parametrize(("value", "found"), [(None, "none"), ("2", "2")])
def test_a_file_of_another_format_is_refused_with_both(copied, value, found):
    model = onnx.load(copied / VOICE_ENCODER)
    for entry in list(model.metadata_props):
        if entry.key == "tune_encoder_onnx":
            model.metadata_props.remove(entry)
    if value:
        onnx.helper.set_model_props(model, {"tune_encoder_onnx": value})
    save_with_hash(copied / VOICE_ENCODER, model.SerializeToString(), epoch=1)

    with pytest.raises(
        StorageError, match=rf"its format is {found}, this program reads 1; export it again"
    ):
        open_onnx(copied / VOICE_ENCODER)


def test_without_onnxruntime_the_error_says_how_to_install_it(model_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(StorageError, match=r"needs onnxruntime; install it with `pip install 'tu"):
        open_onnx(model_dir / VOICE_ENCODER)


def test_the_file_says_what_a_reader_has_to_know(model_dir):
    for name in (AUDIO_ENCODER, VOICE_ENCODER):
        session = open_onnx(model_dir / name)

        assert session.sample_rate == 24000
        told = {key: session.metadata[key] for key in ("n_fft", "hop_length", "n_mels")}
        assert told == {"n_fft": "1024", "hop_length": "256", "n_mels": "80"}
        assert session.metadata["window_frames"] == "188"


def test_any_batch_and_length_are_taken(model_dir):
    audio, voice = (open_onnx(model_dir / name) for name in (AUDIO_ENCODER, VOICE_ENCODER))

    for B, length in ((1, 1), (3, 97), (2, 513)):
        for session, values in (
            (audio, np.zeros((B, 80, length))),
            (voice, np.ones((B, 100 * length))),
        ):
            ttl, dp = session.run(values.astype(np.float32))
            assert (ttl.shape, dp.shape) == ((B, 1, 50, 256), (B, 1, 8, 16))
            assert np.isfinite(ttl).all()
