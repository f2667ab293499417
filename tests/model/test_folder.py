import os
import shutil

import pytest

from tune_encoder.errors import StorageError
from tune_encoder.model.folder import load_model


def copy_of(model_dir, folder):
    return shutil.copytree(model_dir, folder, dirs_exist_ok=True)


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


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "manifest.json"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(model_dir, tmp_path, name):
    file = copy_of(model_dir, tmp_path) / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)

    with pytest.raises(StorageError, match=rf"{tmp_path}: (not a usable model|no model here)"):
        load_model(tmp_path)


def test_weights_without_settings_are_refused(model_dir, tmp_path):
    (copy_of(model_dir, tmp_path) / "config.yaml").unlink()

    with pytest.raises(StorageError, match=r"config\.yaml: no such file.*export it again"):
        load_model(tmp_path)
