import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from tests.fabricate import write_model
from tune_encoder.clone import clone, predict_style
from tune_encoder.config import TrainConfig
from tune_encoder.data.samples import find_samples, read_sample
from tune_encoder.errors import DataError, StorageError
from tune_encoder.model_folder import load_model
from tune_encoder.models import build_encoder
from tune_encoder.voice_style import read_voice_style

REAL_CLIP = Path(__file__).parents[2] / "shared" / "real" / "voices" / "F1.wav"
CONFIG = TrainConfig(hidden_dim=8, num_layers=1, dropout=0.0)


@pytest.fixture(scope="module")
def model_dir(packed, tmp_path_factory):
    """A model as export writes it, whose head is random, so that it answers to what it hears."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    weights = build_encoder(CONFIG, packed.statistics).state_dict()
    for name in ("head.ttl.coefficients.weight", "head.dp.coefficients.weight"):
        torch.nn.init.normal_(weights[name], std=0.3)
    return write_model(folder, CONFIG, weights)


@pytest.fixture(scope="module")
def voices(data_dir):
    """Two demo voices at 24 kHz."""
    return [read_sample(path).audio for path in find_samples(data_dir / "val")[:2]]


def write_wav(path, audio, rate=24000):
    soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


def distance(a, b):
    return float(np.linalg.norm(a.ttl - b.ttl) + np.linalg.norm(a.dp - b.dp))


def test_the_json_is_nested_typed_and_of_unit_rows(model_dir, voices, tmp_path):
    recording = write_wav(tmp_path / "me.wav", voices[0])

    style = clone(model_dir, recording, tmp_path / "me.json")

    written = json.loads((tmp_path / "me.json").read_text())
    for name, shape in (("style_ttl", [1, 50, 256]), ("style_dp", [1, 8, 16])):
        data = np.array(written[name]["data"])
        assert list(data.shape) == written[name]["dims"] == shape
        assert written[name]["type"] == "float32"
        assert np.isfinite(data).all()
        np.testing.assert_allclose(np.linalg.norm(data, axis=-1), 1, atol=1e-5)
    assert written["metadata"]["source_file"] == "me.wav"
    assert written["metadata"]["target_sample_rate"] == 24000
    assert distance(read_voice_style(tmp_path / "me.json"), style) < 1e-4


def test_rate_channels_and_level_of_a_recording_hardly_change_its_style(
    model_dir, voices, tmp_path
):
    model, config = load_model(model_dir)
    mono = write_wav(tmp_path / "mono.wav", voices[0])
    upsampled = 0.5 * soxr.resample(voices[0], 24000, 44100)
    stereo = write_wav(tmp_path / "stereo.wav", np.stack([upsampled, upsampled], axis=1), 44100)
    other = write_wav(tmp_path / "other.wav", voices[1])

    usual, converted, another = (
        predict_style(model, config, path) for path in (mono, stereo, other)
    )

    assert distance(usual, converted) < 0.1 * distance(usual, another)


def test_a_recording_under_a_second_is_refused_and_nothing_is_written(model_dir, voices, tmp_path):
    recording = write_wav(tmp_path / "short.wav", voices[0][:12000])

    with pytest.raises(
        DataError, match=r"short\.wav: 0\.\d\d s of sound; at least 1 s.*record more"
    ):
        clone(model_dir, recording, tmp_path / "out.json")

    assert not (tmp_path / "out.json").exists()


def test_a_missing_model_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(StorageError, match=r"none: no model here; make one with `tune-encoder exp"):
        clone(tmp_path / "none", tmp_path / "me.wav", tmp_path / "me.json")


def copy_of(model_dir, folder):
    for path in model_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def flip_late(content):
    return content[:-50] + bytes([content[-50] ^ 1]) + content[-49:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-100],
        lambda b: b[:20],
        lambda b: b"",
        lambda b: b[:9] + b"?" + b[10:],
        flip_late,
    ],
    ids=["cut", "header cut", "empty", "header changed", "one bit of a weight"],
)
def test_damaged_weights_are_refused(model_dir, tmp_path, damage):
    weights = copy_of(model_dir, tmp_path) / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))

    with pytest.raises(StorageError, match=r"not a usable model \(.+\); export it again"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("hidden_dim: 16\nnum_layers: 1\n", "size mismatch"),
        ("encoder_type: cnn\nhidden_dim: 8\nnum_layers: 1\n", "Missing key"),
        ("hidden_size: 8\n", "unknown setting 'hidden_size'"),
    ],
)
def test_settings_that_are_not_those_of_the_weights_are_refused(
    model_dir, tmp_path, settings, reason
):
    (copy_of(model_dir, tmp_path) / "config.yaml").write_text(settings)

    with pytest.raises(StorageError, match=rf"not a usable model \(.*{reason}.*export it again"):
        load_model(tmp_path)


def test_weights_without_settings_are_refused(model_dir, tmp_path):
    (copy_of(model_dir, tmp_path) / "config.yaml").unlink()

    with pytest.raises(StorageError, match=r"config\.yaml: no such file.*export it again"):
        load_model(tmp_path)


@pytest.mark.skipif(not REAL_CLIP.exists(), reason="the real voices are not beside this checkout")
def test_a_real_recording_becomes_a_style(model_dir, tmp_path):
    clone(model_dir, REAL_CLIP, tmp_path / "f1.json")

    style = read_voice_style(tmp_path / "f1.json")
    assert style.ttl.shape == (50, 256)
