import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

import tune_encoder
from tests.builders import new_experiment
from tests.fabricate import make_sample
from tests.tuning.conftest import TINY_SPACE
from tune_encoder.api import searching as api
from tune_encoder.api.export_options import ExportOptions
from tune_encoder.cli import main
from tune_encoder.config import (
    EXTENSIONS,
    OVERRIDES,
    ExportSettings,
    LaunchSettings,
    StorageSettings,
    write_yaml,
)
from tune_encoder.data.demo import demo_folder
from tune_encoder.data.samples import write_sample
from tune_encoder.errors import ConfigError, DataError, StorageError
from tune_encoder.space import load_space, parse_space, space_to_content

CONTENT = {
    "budget": {"trials": 6, "epochs": 4},
    "space": {"dropout": {"float": [0.0, 0.4]}, "hidden_dim": {"choice": [8, 16]}},
}


@pytest.fixture
def no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # then importing it is an error


@pytest.fixture
def voices(tmp_path):
    """Two clips to train on and one to validate, of voices with names."""
    for seed, name in enumerate(("train/a", "train/b", "val/a")):
        path = tmp_path / "voices" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sample(path, make_sample(seed, voice=f"v{seed}"))
    return tmp_path / "voices"


def prepare(space=None, data_dir="voices", name="mine", root="runs", **overrides):
    return api.prepare_search(CONTENT if space is None else space, data_dir, name, root, overrides)


def test_settings_that_are_none_are_not_given():
    options = {"storage": None, "record": None, "dashboard": None, "trials": None}

    assert api._pop_settings(StorageSettings, options) == StorageSettings()
    assert api._pop_settings(LaunchSettings, options) == LaunchSettings()
    assert options == {"trials": None}


# --- the package ---------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, tune_encoder; tune_encoder.search, tune_encoder.Experiment;"
        "heavy = ('torch', 'ray', 'optuna', 'pandas', 'numpy');"
        "print([name for name in heavy if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_the_public_names_are_there_and_no_others():
    assert set(tune_encoder.__all__) <= set(dir(tune_encoder))
    assert all(hasattr(tune_encoder, name) for name in tune_encoder.__all__)
    with pytest.raises(AttributeError, match=r"module 'tune_encoder' has no attribute 'serch'"):
        _ = tune_encoder.serch


def test_the_package_says_that_it_is_typed():
    assert (Path(tune_encoder.__file__).parent / "py.typed").is_file()


# --- what is searched ----------------------------------------------------------------------------


def test_a_space_may_be_a_dict_a_file_or_a_name(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(CONTENT))

    of_dict = prepare(CONTENT).space

    assert prepare(file).space == prepare(str(file)).space == of_dict
    assert of_dict == parse_space(CONTENT, "test", Path())
    assert prepare("quick").space.budget.trials == 5


def test_a_dict_may_hold_what_python_has_and_yaml_has_not(tmp_path):
    numbers = {"float": (np.float64(0.0), np.float32(0.5))}
    searched = {"dropout": numbers, "hidden_dim": {"choice": list(np.array([8, 16]))}}
    content = {"space": searched, "base": {"data_dir": Path("/voices"), "seed": np.int64(3)}}

    space = prepare(content).space

    (tmp_path / "space.yaml").write_text(write_yaml(space_to_content(space)))
    assert load_space(tmp_path / "space.yaml") == space
    assert [parameter.values for parameter in space.parameters] == [(0.0, 0.5), (8, 16)]
    assert space.base == {"data_dir": "/voices", "seed": 3}


def test_overrides_take_the_place_of_what_the_space_says():
    changed = prepare(trials=2, epochs=3, time="90m", concurrent=1, seed=7, folds=5).space

    assert (changed.budget.trials, changed.budget.epochs) == (2, 3)
    assert changed.budget.time == "90m"
    assert changed.resources.concurrent == 1
    assert changed.validation.voices == 5
    assert (changed.searcher.seed, changed.base) == (7, {"seed": 7})


def test_an_override_of_none_changes_nothing():
    unchanged = prepare(**dict.fromkeys(OVERRIDES)).space

    assert unchanged == prepare().space


def test_every_override_is_an_option_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["search", "--help"])

    printed = capsys.readouterr().out
    assert tuple(api.Overrides.__annotations__) == tuple(OVERRIDES)
    for name in OVERRIDES:
        assert f"--{name.replace('_', '-')} " in printed


def names_of(kind):
    return {field.name for field in dataclasses.fields(kind)}


def test_the_options_of_python_are_those_settings_that_the_command_line_offers():
    launch = set(api.LaunchOptions.__annotations__)
    storage = names_of(StorageSettings)

    assert launch == names_of(LaunchSettings)
    assert set(api.Options.__annotations__) == {*OVERRIDES, *launch, *storage, "warm_start"}
    extension = {*EXTENSIONS, "accept_data_change", "record"}
    assert set(api.ResumeOptions.__annotations__) == extension | launch
    assert set(ExportOptions.__annotations__) == names_of(ExportSettings)


def test_the_data_is_what_was_given_else_that_of_the_space_else_the_demo(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path))
    demo_folder().mkdir(parents=True)  # then it is taken for made
    own = {**CONTENT, "base": {"data_dir": "/of/the/space"}}

    given, of_space, demo = prepare(own), prepare(own, None), prepare(CONTENT, None)

    assert (given.data_dir, given.is_demo) == (Path("voices"), False)
    assert (of_space.data_dir, of_space.is_demo) == (Path("/of/the/space"), False)
    assert (demo.data_dir, demo.is_demo) == (demo_folder(), True)


# --- what is refused -----------------------------------------------------------------------------

REFUSED = [
    (
        {"space": "quik"},
        ConfigError,
        "quik: neither a file nor a built-in space; built-in are cnn, def",
    ),
    (
        {"space": 3},
        ConfigError,
        "space is 3; give the name of a built-in space, the path of a YAML",
    ),
    ({"space": {"spaces": {}}}, ConfigError, "space: unknown section 'spaces'; did you mean 'spa"),
    (
        {"space": {"space": {"dropout": {"float": [0.5, 0.1]}}}},
        ConfigError,
        "space, space.dropout: low 0.5 is not below high 0.1; swap or widen them",
    ),
    ({"trails": 3}, ConfigError, "search(): unknown option 'trails'; did you mean 'trials'?"),
    ({"trials": 0}, ConfigError, "search(), budget: trials is 0; it must be a whole number from 1"),
    ({"time": "soon"}, ConfigError, "search(), budget: time is 'soon'; write it as 45s, 90m, 2h"),
    ({"name": "../x"}, ConfigError, "the experiment name '../x' is not valid; use up to 64"),
    (
        {"name": "taken"},
        ConfigError,
        'taken exists; continue it with `tune_encoder.resume("taken", root="',
    ),
    ({"data_dir": "none"}, DataError, "none: no such folder; it must hold train/ and val/"),
]


@pytest.mark.parametrize(
    ("changes", "error", "words"), REFUSED, ids=[words[:20] for *_, words in REFUSED]
)
@pytest.mark.usefixtures("no_ray")
def test_a_bad_search_is_refused_before_anything_starts(voices, tmp_path, changes, error, words):
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    asked = {"space": CONTENT, "data_dir": voices, "root": tmp_path / "runs", **changes}

    with pytest.raises(error, match=re.escape(words)):
        tune_encoder.search(**asked)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["taken"]


def test_what_the_data_check_warns_of_is_a_warning(voices, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    clip = make_sample(0, sample_rate=None, voice="v0")
    write_sample(voices / "train" / "a.npz", clip)

    with (
        pytest.warns(UserWarning, match="24000 Hz"),
        pytest.raises(
            StorageError, match=r"Ray is already running in this process; shut it down first "
        ),
    ):
        tune_encoder.search(CONTENT, voices, root=tmp_path)


def experiment(root):
    return new_experiment(root, space=parse_space(CONTENT, "test", Path()))


def test_a_resume_is_refused_for_an_unknown_name_or_option(tmp_path):
    experiment(tmp_path)

    with pytest.raises(ConfigError, match=r"none: no such experiment; there are mine"):
        tune_encoder.resume("none", tmp_path)
    typo: dict[str, Any] = {"epoch": 3}
    with pytest.raises(ConfigError, match=r"resume\(\): unknown option 'epoch'; did you mean 'epo"):
        tune_encoder.resume("mine", tmp_path, **typo)


@pytest.mark.parametrize("left", ["trials/0000", "checkpoints/1/0000"])
def test_a_resume_without_the_record_of_its_trials_names_what_rebuilds_it(tmp_path, left):
    made = experiment(tmp_path)
    (made.path / left).mkdir(parents=True)

    with pytest.raises(
        StorageError,
        match=r"study\.db: cannot be read \(.*; rebuild it with `tune_encoder\.repair\(",
    ):
        tune_encoder.resume("mine", tmp_path)
    assert not made.study_path.exists()


def test_a_running_ray_is_left_alone_and_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    experiment(tmp_path)

    with pytest.raises(
        StorageError,
        match=r"Ray is already running in .* shut it down first with ray\.shutdown\(\)",
    ):
        tune_encoder.resume("mine", tmp_path)


# --- a real search -------------------------------------------------------------------------------

SESSION = """
import json, sys, threading
import tune_encoder

space, data_dir = json.loads(sys.argv[1]), sys.argv[2]
found = []

def work():
    found.append(tune_encoder.search(space, data_dir, "first", trials=4, epochs=2))

thread = threading.Thread(target=work)
thread.start()
thread.join()
found.append(tune_encoder.search(space, data_dir, "second", trials=4, epochs=2))
found.append(tune_encoder.resume("first"))
model = found[1].export(formats="torch")
told = [
    [each.trials[["state", *space["space"]]].values.tolist(), each.curves()["val_loss"].tolist()]
    for each in found
]
print("\\n" + json.dumps([told, str(model), repr(found[1])]))
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory, data_dir):
    """A session that searched twice, resumed and exported: its folder, output and what it told."""
    folder = tmp_path_factory.mktemp("session")
    space = {**TINY_SPACE, "scheduler": {"name": "none"}, "resources": {"concurrent": 1}}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, json.dumps(space), str(data_dir)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, done, *json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_searches_of_one_seed_one_trial_at_a_time_have_the_same_trials_and_losses(session):
    _, _, ((trials, losses), second, resumed), _, _ = session

    assert second == resumed == [trials, losses]
    assert [state for state, *_ in trials] == ["COMPLETE"] * 4
    assert len({str(settings) for _, *settings in trials}) == 4
    assert len(losses) == 4 * 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_of_a_session_is_exported_and_told_in_a_line(session):
    folder, _, _, model, line = session

    assert model == "runs/second/best"
    assert (folder / model / "model.safetensors").is_file()
    assert line.startswith("Experiment('runs/second'): 4 trials (4 COMPLETE), best val_skill ")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_library_prints_nothing(session):
    _, done, *_ = session

    assert "Traceback" not in done.stderr
    assert done.stdout.strip().count("\n") == 0
