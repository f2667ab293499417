"""What is refused before anything is packed or Ray starts."""

import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.builders import new_experiment
from tests.fabricate import write_wav
from tests.tuning.conftest import TINY_SPACE
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data, pack_of_search
from tune_encoder.errors import ConfigError, DataError, Interrupted, StorageError
from tune_encoder.space import parse_space
from tune_encoder.tuning.cluster import temporary
from tune_encoder.tuning.start import (
    _taken,
    accept_data,
    fork_search,
    resume_search,
    start_search,
)


def refused(tmp_path, changes):
    """Start a search that cannot run, on data that is not there either."""
    space = parse_space({**TINY_SPACE, **changes}, "test", Path())
    with pytest.raises((ConfigError, StorageError)) as refusal:
        start_search(space, tmp_path / "none", tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()
    return str(refusal.value)


def test_more_cores_than_the_machine_has_are_refused(tmp_path):
    said = refused(tmp_path, {"resources": {"cpus": 999}})

    assert re.fullmatch(
        r"resources.cpus is 999, but this machine has \d+; lower it in the search space", said
    )


def test_more_gpus_than_the_machine_has_are_refused(tmp_path):
    said = refused(tmp_path, {"resources": {"gpus": 64}})

    assert re.fullmatch(
        r"resources.gpus is 64, but this machine has \d+; lower it in the search space", said
    )


@pytest.fixture
def no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # then importing it is an error


def test_more_folds_than_voices_are_refused(data_dir, tmp_path, no_ray):
    space = parse_space({**TINY_SPACE, "validation": {"voices": 33}}, "test", Path())

    with pytest.raises(DataError, match=r"have 32 voices; .* into 33 folds; give at most 32"):
        start_search(space, data_dir, tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()


def test_folds_in_several_processes_are_refused(data_dir, tmp_path, no_ray):
    changes = {"validation": {"voices": 3}, "resources": {"cpus": 2, "processes": 2}}
    space = parse_space({**TINY_SPACE, **changes}, "test", Path())

    with pytest.raises(ConfigError, match=r"resources.processes is 2, but 3 folds of voices"):
        start_search(space, data_dir, tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()


@pytest.mark.parametrize(("before", "asked"), [(3, 1), (0, 3), (3, 4)])
def test_a_fork_that_would_compare_other_scores_is_refused(tmp_path, no_ray, before, asked):
    new_experiment(tmp_path, "old", with_folds(before), data_dir=str(tmp_path))

    words = rf"validation.voices is {asked}, but the trials of old were scored with {before or 1}"
    with pytest.raises(ConfigError, match=f"{words}, and cannot be compared; leave it out, or sta"):
        fork_search(tmp_path, "old", "new", with_folds(asked))
    assert not (tmp_path / "new").exists()


def test_a_fork_with_other_copies_is_refused(tmp_path, no_ray):
    """Also of a search that was begun before there were copies, whose search.yaml names none."""
    new_experiment(tmp_path, "old", with_folds(1), data_dir=str(tmp_path))
    content = {**TINY_SPACE, "base": {**TINY_SPACE["base"], "augment_copies": 2}}

    said = (
        "augment_copies is 2, but the trials of old were trained with 0, and cannot be compared; "
        "set it to 0 in base, or start a new search with the option `--warm-start old`"
    )
    with pytest.raises(ConfigError, match=f"^{said}$"):
        fork_search(tmp_path, "old", "new", parse_space(content, "test", Path()))
    assert not (tmp_path / "new").exists()


def with_folds(count):
    return parse_space({**TINY_SPACE, "validation": {"voices": count}}, "test", Path())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_says_how_to_resume_from_the_moment_that_the_folder_exists(tmp_path, number):
    experiment = new_experiment(tmp_path, "mine", with_folds(1))

    said = r"^stopped, everything is saved; resume with `tune-encoder resume mine --root "
    with pytest.raises(Interrupted, match=said) as stopped, _taken(experiment):
        os.kill(os.getpid(), number)
    assert stopped.value.exit_code == 128 + number


# --- folders of noise and rooms that have changed ------------------------------------------------


@pytest.fixture(params=["copy_noise_dir", "copy_rooms_dir"])
def copied(request, data_dir, tmp_path, cache):
    """A search with copies, whose folder of sounds has then changed."""
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    write_wav(sounds / "a.wav", np.random.default_rng(0).normal(scale=0.1, size=2400))
    copies = {"augment_copies": 1, request.param: str(sounds)}
    content = {**TINY_SPACE, "base": {**TINY_SPACE["base"], **copies}}
    space = parse_space(content, "test", Path())
    info = open_pack(pack_data(data_dir, space.base_config())).info
    origin = {"data_dir": str(data_dir), "fingerprint": info["fingerprint"]}
    experiment = new_experiment(tmp_path, "mine", space, **origin, copies=info["copies"])
    write_wav(sounds / "b.wav", np.random.default_rng(1).normal(scale=0.1, size=2400))
    return experiment, request.param


def test_a_search_is_not_resumed_with_other_noise_or_rooms(copied, no_ray):
    experiment, name = copied
    said = (
        f"{name} is {experiment.path.parent / 'sounds'}: its audio files have not the names and "
        "sizes that the search began with; restore them, start a new search, or continue with "
        "this folder by `resume --accept-data-change`"
    )

    with pytest.raises(StorageError, match=f"^{re.escape(said)}$"):
        resume_search(experiment.path.parent, experiment.name)


def test_other_noise_or_rooms_can_be_accepted(copied):
    experiment, _ = copied
    settings = experiment.space().base_config()

    accept_data(experiment, settings)

    assert pack_of_search(experiment.data_source(), settings).is_dir()


def test_a_search_of_an_earlier_version_has_not_recorded_its_noise(copied):
    experiment, _ = copied
    content = experiment.read_search()
    del content["copies"]
    experiment.write_search(content)

    assert pack_of_search(experiment.data_source(), experiment.space().base_config()).is_dir()


# --- a home folder that is missing or cannot be written ------------------------------------------

TINY = parse_space(TINY_SPACE, "test", Path())


@pytest.fixture
def homeless(tmp_path, monkeypatch):
    """A user whose home folder nobody can write, not even root."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)


def test_without_a_place_for_its_token_a_search_names_a_variable_and_leaves_its_name_free(
    data_dir, packed, tmp_path, homeless, no_ray
):
    said = r"file/\.ray/auth_token: Ray's token cannot be .*; set RAY_AUTH_TOKEN_PATH to a file"
    with pytest.raises(StorageError, match=said):
        start_search(TINY, data_dir, tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()


def test_without_a_place_for_packs_a_search_names_a_variable(
    data_dir, tmp_path, homeless, monkeypatch, no_ray
):
    monkeypatch.delenv("TUNE_ENCODER_CACHE")

    with pytest.raises(StorageError, match=r"cannot be written .*; set TUNE_ENCODER_CACHE to a"):
        start_search(TINY, data_dir, tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()


def test_a_path_of_sockets_that_is_too_long_is_refused_before_a_folder_takes_the_name(
    data_dir, packed, tmp_path, monkeypatch, no_ray
):
    monkeypatch.setattr(temporary, "_SHORT", ())
    monkeypatch.setenv("TMPDIR", "/a/" + "x" * 60)

    with pytest.raises(StorageError, match=r"^TMPDIR is /a/x+: too long"):
        start_search(TINY, data_dir, tmp_path / "runs", "tiny")
    assert not (tmp_path / "runs" / "tiny").exists()
