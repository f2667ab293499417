import shlex
from pathlib import Path
from typing import cast

import pytest

from tests.builders import SPACE, new_experiment
from tune_encoder.config import SchedulerSettings, SearcherSettings, TrainConfig
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import (
    SearchContent,
    create_experiment,
    experiment_path,
    open_experiment,
)
from tune_encoder.space import parse_space

# --- names and folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "7", "My-search_2.1", "a" * 64])
def test_a_plain_name_is_a_folder_in_the_root(name):
    assert experiment_path(Path("runs"), name) == Path("runs") / name


BAD_NAMES = (
    *(
        "",
        ".",
        "..",
        "../x",
        "/abs",
        "a/b",
        "a\\b",
        "a\nb",
        "a\n",
        "nul\0",
        ".hidden",
        "-rf",
        "a b",
    ),
    *("a;b", "$x", "stimme_ü", "\uff11", "a" * 65, "a" * 300),
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leaves_the_root_or_confuses_a_shell_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"name '.*' is not valid; use up to 64 letters, dig"):
        create_experiment(tmp_path / "runs", name, cast("SearchContent", {}))
    assert list(tmp_path.iterdir()) == []


def test_a_new_experiment_opens_with_what_it_was_made_with(tmp_path):
    new_experiment(tmp_path / "runs", data_dir="/voices")

    opened = open_experiment(tmp_path / "runs", "mine")

    assert opened.name == "mine"
    assert opened.read_search()["data_dir"] == "/voices"
    assert parse_space(opened.read_search()["space"], "test", Path()) == SPACE


def test_a_name_in_use_is_refused_with_how_to_resume(tmp_path):
    new_experiment(tmp_path, data_dir="/old")

    with pytest.raises(
        ConfigError, match=r"mine exists; continue it with `tune-encoder resume mine --root "
    ):
        new_experiment(tmp_path, data_dir="/new")
    assert open_experiment(tmp_path, "mine").read_search()["data_dir"] == "/old"


def test_a_root_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "runs").write_text("")

    with pytest.raises(StorageError, match=r"runs/mine: cannot be "):
        new_experiment(tmp_path / "runs")


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(ConfigError, match=rf"mine: no such experiment; {tmp_path} has none"):
        open_experiment(tmp_path, "mine")

    new_experiment(tmp_path, "b")
    new_experiment(tmp_path, "a")
    with pytest.raises(ConfigError, match=r"mine: no such experiment; there are a, b$"):
        open_experiment(tmp_path, "mine")


def test_an_experiment_of_a_newer_program_is_refused_with_both_formats(tmp_path):
    made = new_experiment(tmp_path, format=2)

    with pytest.raises(StorageError, match=r"format 2, this program reads up to 1; update tune-e"):
        made.read_search()


def test_a_damaged_search_file_is_refused_with_what_is_missing(tmp_path):
    made = new_experiment(tmp_path)
    (made.path / "search.yaml").write_text("format: two\nspace: {}\n")

    with pytest.raises(StorageError, match=r"search.yaml: damaged, format is 'two' and data_dir,"):
        made.read_search()


@pytest.mark.parametrize(
    ("space", "why"),
    [
        (3, r"space: is 3; write `name: value` lines under it"),
        ({"space": ["head"]}, r"space: space is \['head'\]; write `name: value` lines under it"),
        ({"budget": {"trials": 0}}, r"space, budget: trials is 0; it must be a whole number from"),
    ],
)
def test_a_damaged_space_is_refused_with_its_file_and_key(tmp_path, space, why):
    made = new_experiment(tmp_path)
    made.write_search({**made.read_search(), "space": space})

    with pytest.raises(StorageError, match=rf"mine/search\.yaml, {why}.*; restore the file$"):
        made.space()


@pytest.mark.parametrize("root", ["what?", "100%"])
def test_a_root_that_sqlite_cannot_name_is_refused(tmp_path, root):
    with pytest.raises(ConfigError, match=r"has '\?' or '%' in its path; choose another --root"):
        new_experiment(tmp_path / root)


def test_a_search_that_stored_no_defaults_keeps_those_of_its_time(tmp_path):
    made = new_experiment(
        tmp_path, space=parse_space({"space": {"seed": {"int": [0, 9]}}}, "", tmp_path)
    )
    file = made.path / "search.yaml"
    file.write_text(file.read_text().partition("defaults:")[0])

    config = made.space().base_config()

    assert (config.head, config.epoch_of) == ("pca", "clips")
    assert TrainConfig().epoch_of == "audio"


@pytest.mark.parametrize("stored", [{}, {"scheduler": {"grace_period": 2}, "searcher": None}])
def test_a_search_that_stored_no_scheduler_and_no_searcher_keeps_those_of_its_time(
    tmp_path, stored
):
    made = new_experiment(tmp_path)
    content = made.read_search()
    left = {n: v for n, v in content["space"].items() if n not in ("scheduler", "searcher")}
    made.write_search({**content, "space": {**left, **stored}})

    space = made.space()

    assert (space.scheduler.name, space.searcher.name) == ("asha", "tpe")
    assert (SchedulerSettings().name, SearcherSettings().name) == ("promote", "random")


@pytest.mark.parametrize("names", [("asha-promote", "gp"), ("promote", "random"), ("asha", "tpe")])
def test_a_search_keeps_the_scheduler_and_the_searcher_that_it_stored(tmp_path, names):
    scheduler, searcher = ({"name": name} for name in names)
    searched = {"dropout": {"float": [0.0, 0.3]}}
    content = {"scheduler": scheduler, "searcher": searcher, "space": searched}
    space = parse_space(content, "", tmp_path)

    kept = new_experiment(tmp_path, space=space).space()

    assert (kept.scheduler.name, kept.searcher.name) == names


def test_a_search_keeps_its_defaults_if_those_of_the_program_change(tmp_path):
    made = new_experiment(tmp_path, space=parse_space({"base": {"dropout": 0.2}}, "", tmp_path))
    assert made.space().base == {"dropout": 0.2}
    file = made.path / "search.yaml"
    file.write_text(file.read_text().replace("learning_rate: 0.001", "learning_rate: 0.007"))

    assert made.space().base == {"dropout": 0.2, "learning_rate": 0.007}
    made.write_search(made.read_search())
    assert made.space().base == {"dropout": 0.2, "learning_rate": 0.007}


# --- the record ----------------------------------------------------------------------------------


def test_an_absent_record_is_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match=r"study\.db: cannot be read \(unable to open"):
        begun_experiment(tmp_path).trials()


def begun_experiment(root):
    made = new_experiment(root)
    made.trial_dir(0).mkdir(parents=True)
    return made


def test_a_search_in_its_first_seconds_has_no_trials(tmp_path):
    assert new_experiment(tmp_path).trials() == []


def test_a_command_line_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    made = new_experiment(tmp_path / "my runs")

    assert shlex.split(made.command("best"))[-2:] == ["--root", str(tmp_path / "my runs")]
