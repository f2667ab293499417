"""Supertonic as it is loaded, what it is asked, and what is said when it cannot be."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.speech.stand_in import SAMPLE_RATE, preset_styles, write_stand_in
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.speech.engine import (
    Engine,
    downloaded_model,
    find_model,
    model_hashes,
    model_languages,
)

STYLE = preset_styles()["F1"]


def speak(engine, text="Good morning.", lang="en", speed=1.0, seed=0):
    return engine.speak(STYLE, text, lang, steps=5, speed=speed, seed=seed)


def test_equal_seeds_give_equal_speech_and_leave_numpys_generator_as_it_was(engine):
    before = np.random.get_state(legacy=False)  # noqa: NPY002

    first, again, other = (speak(engine, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_equal(np.random.get_state(legacy=False), before)  # noqa: NPY002


def test_speech_ends_where_the_model_says_without_the_padding_of_its_last_block(engine):
    slow, quick = (len(speak(engine, speed=speed)) for speed in (1.0, 1.25))

    assert slow % 3072
    assert quick == pytest.approx(slow / 1.25, abs=1)
    assert engine.sample_rate == SAMPLE_RATE


def test_a_text_that_the_package_refuses_is_named(engine):
    with pytest.raises(
        DataError, match=r"Supertonic cannot speak 'a{40}' in en \(ValueError: .*; try another text"
    ):
        speak(engine, "a" * 200_000)


def test_each_model_has_its_languages():
    assert model_languages("supertonic") == ("en",)
    assert "ja" not in model_languages("supertonic-2")
    assert {"ja", "na"} < set(model_languages("supertonic-3"))


def test_hashes_tell_models_apart(models, tmp_path):
    other = model_hashes(write_stand_in(tmp_path / "other", version=1))

    ours = model_hashes(models)
    assert ours["onnx/vocoder.onnx"] == other["onnx/vocoder.onnx"]
    assert ours["onnx/text_encoder.onnx"] != other["onnx/text_encoder.onnx"]


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "supertonic", None)

    with pytest.raises(ConfigError, match=r"install it with `pip install 'tune-encoder\[superton"):
        find_model("supertonic-3", None)


def test_an_unknown_model_is_refused_with_those_that_are_known(models):
    with pytest.raises(ConfigError, match=r"unknown model 'supertonic-9'; known: supertonic, "):
        find_model("supertonic-9", models)


def test_a_folder_without_models_is_refused_with_how_to_get_them(tmp_path):
    with pytest.raises(StorageError, match=r"has no onnx/tts\.json, so it is no .*--model-dir out"):
        find_model("supertonic-3", tmp_path)


@pytest.mark.parametrize("name", ["tts.json", "unicode_indexer.json", "vocoder.onnx"])
def test_a_damaged_model_is_refused(name, tmp_path):
    folder = write_stand_in(tmp_path / "models")
    (folder / "onnx" / name).write_bytes(b"torn")

    with pytest.raises(
        StorageError, match=r"not a readable Supertonic model \(.*leave --model-dir"
    ):
        Engine("supertonic-3", folder)


@pytest.mark.parametrize("find", [find_model, downloaded_model])
def test_each_model_has_a_folder_of_its_own_under_the_packages_variable(
    find, tmp_path, monkeypatch
):
    monkeypatch.setenv("SUPERTONIC_CACHE_DIR", str(tmp_path))
    folders = [write_stand_in(tmp_path / model) for model in ("supertonic-2", "supertonic-3")]

    assert [find(folder.name, None) for folder in folders] == folders


@pytest.mark.parametrize("find", [find_model, downloaded_model])
def test_one_model_in_the_folder_of_the_packages_variable_is_not_taken_for_another(
    find, tmp_path, monkeypatch
):
    folder = write_stand_in(tmp_path / "cache")
    monkeypatch.setenv("SUPERTONIC_CACHE_DIR", str(folder))

    said = (
        f"SUPERTONIC_CACHE_DIR is {folder}: has files of one model, which may not be supertonic-2; "
        f"if they are, move them to {folder}/supertonic-2, or name the folder with --model-dir"
    )
    with pytest.raises(StorageError, match=f"^{said}$"):
        find("supertonic-2", None)


def test_without_a_network_it_is_said_how_to_bring_the_model(tmp_path):
    code = (
        "from tune_encoder.speech.engine import find_model\n"
        "from tune_encoder.errors import StorageError, error_line\n"
        "try: find_model('supertonic-3', None)\n"
        "except StorageError as error: print(error_line(error))"
    )
    places = {"SUPERTONIC_CACHE_DIR": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hub")}
    nowhere = {"HF_HUB_OFFLINE": "1"}  # without, the hub tries for half a minute

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **places, **nowhere},
        capture_output=True,
        text=True,
        check=True,
    )

    place = tmp_path / "cache" / "supertonic-3"
    assert done.stdout.startswith("supertonic-3 cannot be downloaded (")
    assert done.stdout.endswith(
        f"or copy {place} from a machine that has it and name it with --model-dir\n"
    )
    assert done.stdout.count("\n") == 1
    assert "Failed to download" not in done.stdout  # the package's line around the cause
