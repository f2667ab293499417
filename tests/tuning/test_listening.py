"""What a search that listens needs on this machine, checked before Ray starts."""

import sys
from pathlib import Path

import pytest

from tests.builders import new_experiment
from tests.speech.stand_in import write_stand_in
from tests.tuning.conftest import TINY_SPACE
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.space import parse_space
from tune_encoder.tuning.start import resume_search, start_search


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # then importing it is an error


def space_of(model_dir, **changes):
    content = {
        **TINY_SPACE,
        "constraints": {"val_similarity": {"min": 0.5}},
        "similarity": {"model_dir": str(model_dir)},
    }
    return parse_space({**content, **changes}, "test", Path())


def refused(kind, said, tmp_path, space, data_dir=Path("none")):
    """Start a search that cannot run, on data that is not there either if not told."""
    with pytest.raises(kind, match=said):
        start_search(space, data_dir, tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()


def test_without_the_speaker_encoder_a_line_says_how_to_get_it(stand_in, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)

    said = (
        r"^val_similarity: the speaker encoder is missing, by which voices are compared; install "
        r"it with `pip install --no-deps resemblyzer==0\.1\.4`"
    )
    refused(ConfigError, said, tmp_path, space_of(stand_in))


@pytest.mark.weights
def test_without_supertonic_a_line_says_how_to_get_it(stand_in, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "supertonic", None)

    said = r"^val_similarity: Supertonic cannot be imported .*`pip install 'tune-encoder\[superton"
    refused(ConfigError, said, tmp_path, space_of(stand_in))


@pytest.mark.weights
def test_a_folder_without_a_model_is_named(tmp_path):
    said = rf"^val_similarity: {tmp_path}/none: has no onnx/tts.json, so it is no Supertonic model"
    refused(StorageError, said, tmp_path, space_of(tmp_path / "none"))


@pytest.mark.weights
def test_a_model_that_was_not_downloaded_is_not_downloaded_now(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERTONIC_CACHE_DIR", str(tmp_path / "cache"))

    said = r"^val_similarity: .*cache/supertonic-2: has no files of supertonic-2; `tune-encoder l"
    similarity = {"model": "supertonic-2"}
    refused(StorageError, said, tmp_path, space_of("", similarity=similarity))


@pytest.mark.weights
def test_styles_of_another_version_than_the_model_are_refused(spoken_set, tmp_path):
    other = write_stand_in(tmp_path / "other", version=1)

    said = (
        r"^val_similarity: .*other/voice_styles/.*\.json and voice .* of val are of different "
        r"Supertonic versions .*, or set similarity\.model to the version of the data$"
    )
    refused(DataError, said, tmp_path, space_of(other), spoken_set)


@pytest.mark.weights
def test_a_model_without_presets_is_refused_since_they_tell_its_version(
    stand_in, spoken_set, tmp_path
):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "onnx").symlink_to(stand_in / "onnx")

    said = r"^val_similarity: .*bare/voice_styles: has no style JSON; name a folder of styles"
    refused(DataError, said, tmp_path, space_of(bare), spoken_set)


@pytest.mark.weights
def test_a_search_is_not_resumed_without_the_model_and_its_budget_stays(tmp_path):
    experiment = new_experiment(tmp_path, "mine", space_of(tmp_path / "gone"))

    with pytest.raises(StorageError, match=r"^val_similarity: .*gone: has no onnx/tts.json"):
        resume_search(tmp_path, "mine", trials=99)
    assert experiment.space().budget.trials == TINY_SPACE["budget"]["trials"]


@pytest.mark.weights
def test_a_search_is_not_resumed_with_a_model_of_another_version(spoken_set, tmp_path):
    other = write_stand_in(tmp_path / "other", version=1)
    experiment = new_experiment(tmp_path, "mine", space_of(other), data_dir=str(spoken_set))

    with pytest.raises(DataError, match=r"^val_similarity: .* are of different Supertonic version"):
        resume_search(tmp_path, "mine", trials=99)
    assert experiment.space().budget.trials == TINY_SPACE["budget"]["trials"]


def test_a_search_that_does_not_listen_needs_none_of_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    monkeypatch.setitem(sys.modules, "supertonic", None)

    refused(DataError, r"none: ", tmp_path, space_of(tmp_path / "none", constraints={}))
