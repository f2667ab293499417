import re
from pathlib import Path
from typing import Any

import pytest

from tune_encoder.config import TrainConfig
from tune_encoder.errors import ConfigError
from tune_encoder.space import (
    RandomSuggester,
    find_space,
    load_space,
    override_space,
    parse_space,
    sample_configs,
    space_to_content,
)

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))

# Every kind of parameter, and a condition that stands before what it names.
FULL: dict[str, Any] = {
    "budget": {"trials": 3, "epochs": 9},
    "scheduler": {"name": "none"},
    "searcher": {"name": "random", "seed": 5},
    "resources": {"cpus": 2},
    "base": {"warmup_epochs": 0.0, "data_dir": "/voices"},
    "space": {
        "head_rank": {"int": [16, 64], "log": True, "when": {"head": ["lowrank"]}},
        "num_layers": {"int": [2, 8], "step": 2},
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "dropout": {"float": [0.0, 0.4], "step": 0.1},
        "head": {"choice": ["lowrank", "linear"]},
        "use_amp": {"choice": [True, False]},
    },
    "start": [{"head": "lowrank", "num_layers": 4}, {"dropout": 0.1}],
}


def parse(content):
    return parse_space(content, "space.yaml", Path("/work"))


def parse_searched(**searched):
    return parse({"space": searched})


# --- the built-in spaces -------------------------------------------------------------------------


def test_there_are_shipped_spaces():
    assert [path.stem for path in SHIPPED] == ["cnn", "default", "quick", "refine", "wide"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_begins_with_what_it_is_for(path):
    assert path.read_text().startswith(f"# {path.stem.capitalize()}: ")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_proposes_usable_configs_that_differ(path):
    space = load_space(path)
    configs = [space.config(settings) for settings in sample_configs(space, 50)]

    assert len(set(configs)) == 50
    assert all(config.epochs == space.budget.epochs for config in configs)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_first_tries_configs_within_its_ranges(path):
    space = load_space(path)
    parameters = {parameter.name: parameter for parameter in space.parameters}

    for config in space.first_configs():
        assert config
        assert all(parameters[name].contains(value) for name, value in config.items())


def crops_of_least_epoch(settings):
    """Seconds of audio in the least epoch of a trial."""
    return settings["steps_per_epoch"] * settings["batch_size"] * settings["crop_seconds"]


def test_trials_do_equal_work_an_epoch_whatever_their_batches():
    space = parse(
        {
            "base": {"steps_per_epoch": 5},
            "space": {
                "batch_size": {"choice": [8, 16, 64], "when": {"head": "pca"}},
                "head": {"choice": ["pca", "linear"]},
                "crop_seconds": {"choice": [1.0, 2.0, 4.0]},
            },
        }
    )
    samples = list(sample_configs(space, 50))

    assert {crops_of_least_epoch(each) for each in samples} == {5 * 64 * 4.0}
    assert min(int(str(each["steps_per_epoch"])) for each in samples) == 5


def test_a_search_of_one_kind_of_batches_has_its_steps_as_they_are():
    samples = sample_configs(parse({"base": {"steps_per_epoch": 7, "batch_size": 48}}), 1)

    assert [each["steps_per_epoch"] for each in samples] == [7]


@pytest.mark.parametrize("name", ["epoch_of", "steps_per_epoch"])
def test_what_an_epoch_is_cannot_be_searched(name):
    choices = {"epoch_of": ["audio", "clips"], "steps_per_epoch": [8, 16]}[name]

    with pytest.raises(
        ConfigError, match=f"{name} cannot be searched; an epoch is equal work in all trials; set"
    ):
        parse_searched(**{name: {"choice": choices}})


def test_a_shipped_space_is_found_by_name_and_any_other_by_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("budget: {trials: 1}")

    assert find_space("quick") == SHIPPED[2]
    assert find_space(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


@pytest.mark.parametrize("name", ["quik", "", ".", "a\0b", "a" * 300])
def test_an_unknown_space_is_refused_with_the_names_there_are(name):
    with pytest.raises(
        ConfigError,
        match=r": neither a file nor a built-in space; built-in are cnn, default, quick,",
    ):
        find_space(name)


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [FULL, {"budget": {"trials": 1}}], ids=["full", "empty"])
def test_a_space_written_as_plain_values_reads_back_equal(content):
    space = parse(content)

    assert parse(space_to_content(space)) == space


def test_a_parameter_comes_after_those_its_condition_names():
    names = [parameter.name for parameter in parse(FULL).parameters]

    assert sorted(names) == sorted(FULL["space"])
    assert names.index("head") < names.index("head_rank")


def test_a_conditional_parameter_is_searched_only_where_its_condition_holds():
    settings = list(sample_configs(parse(FULL), 100))

    ranks = {
        name: {s["head_rank"] for s in settings if s["head"] == name}
        for name in ("lowrank", "linear")
    }
    assert len(ranks["lowrank"]) > 5
    assert ranks["linear"] == {TrainConfig().head_rank}


def test_a_condition_may_name_a_setting_of_the_base():
    content = {"head_rank": {"int": [16, 32], "when": {"head": "lowrank"}}}

    for head, expected in (("lowrank", set(range(16, 33))), ("linear", {TrainConfig().head_rank})):
        space = parse({"base": {"head": head}, "space": content})
        assert {settings["head_rank"] for settings in sample_configs(space, 300)} == expected


def test_proposals_keep_to_range_step_and_choice():
    settings: list[dict[str, Any]] = list(sample_configs(parse(FULL), 300))

    assert {s["num_layers"] for s in settings} == {2, 4, 6, 8}
    assert {s["dropout"] for s in settings} == {0.0, 0.1, 0.2, 0.3, 0.4}
    assert {s["use_amp"] for s in settings} == {True, False}
    assert all(1e-4 <= s["learning_rate"] <= 1e-2 for s in settings)
    assert 0.4 < sum(s["learning_rate"] < 1e-3 for s in settings) / 300 < 0.6  # as log demands


def test_proposals_depend_on_the_seed_alone():
    space = parse(FULL)

    assert list(sample_configs(space, 5, seed=1)) == list(sample_configs(space, 5, seed=1))
    assert list(sample_configs(space, 5, seed=1)) != list(sample_configs(space, 5, seed=2))


def test_every_trial_has_the_base_and_the_epochs_of_the_budget():
    settings = parse(FULL).sample(RandomSuggester(0))

    assert (settings["warmup_epochs"], settings["data_dir"], settings["epochs"]) == (
        0,
        "/voices",
        9,
    )


def test_the_closed_form_keeps_its_windows_whatever_the_base_crops():
    space = parse({**FULL, "base": {"crop_seconds": 4.0, "crop_seconds_min": 3.0}})

    config = space.config(space.closed_form_settings())

    assert (config.crop_seconds, config.crop_seconds_min) == (TrainConfig().crop_seconds, 0.0)


def test_without_start_the_defaults_that_are_in_range_are_tried_first():
    space = parse_searched(dropout={"float": [0.0, 0.3]}, num_layers={"int": [6, 8]})

    assert space.first_configs() == [{"dropout": TrainConfig().dropout}]


def test_a_data_folder_is_relative_to_the_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "base: {data_dir: voices}\nspace: {dropout: {choice: [0.0, 0.1]}}"
    )

    assert load_space(tmp_path / "mine.yaml").base["data_dir"] == str(tmp_path / "voices")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"budgets": {}}, ": unknown section 'budgets'; did you mean 'budget'?"),
        ({"budget": 5}, ": budget is 5; write `name: value` lines under it"),
        ({"budget": {"trial": 5}}, ", budget: unknown setting 'trial'; did you mean 'trials'?"),
        ({"budget": {"trials": 0}}, ", budget: trials is 0; it must be a whole number from 1 to"),
        ({"scheduler": {"name": "pbt"}}, ", scheduler: name is 'pbt'; it must be one of asha, as"),
        ({"base": {"drop": 0.1}}, ", base: unknown setting 'drop'; did you mean 'dropout'?"),
        ({"base": {"dropout": 2}}, ", base: dropout is 2; it must be a number from 0 to 0.9"),
        ({"base": {"epochs": 5}}, ", base: epochs is set here; set budget.epochs instead"),
        ({"start": {"dropout": 0.1}}, ", start: write a list of configs, each `- {setting: value"),
        ({"start": [3]}, ", start: write a list of configs, each `- {setting: value}`"),
        ({"start": [{"dropout": 0.1}]}, ", start: unknown setting 'dropout'; known: "),
        (
            {"resources": {"processes": 2}},
            ", resources: a trial has 2 processes for 0 GPUs and 1 CPUs; give each process one",
        ),
        (
            {"resources": {"gpus": 2.5}},
            ", resources: a trial has 2 processes for 2.5 GPUs and 1 CPUs; give each process one",
        ),
        (
            {"scheduler": {"grace_period": 30}},
            ": scheduler.grace_period is 30; it must be at most budget.epochs (27)",
        ),
        (
            {"budget": {"total_epochs": 26, "epochs": 27}, "scheduler": {"name": "none"}},
            ": budget.total_epochs is 26, but a single trial has at least 27 epochs; give at least",
        ),
        (
            {"budget": {"total_epochs": 2}, "scheduler": {"name": "asha", "grace_period": 3}},
            ": budget.total_epochs is 2, but a single trial has at least 3 epochs; give at least 3",
        ),
        (
            {"space": {"num_layers": {"int": [2, 8], "step": 2}}, "start": [{"num_layers": 3}]},
            ", start: num_layers is 3, outside its range [2, 8] in steps of 2",
        ),
        (
            {"space": {"dropout": {"float": [0.0, 0.4]}}, "start": [{"dropout": 0.5}]},
            ", start: dropout is 0.5, outside its range [0.0, 0.4]",
        ),
        (
            {"space": {"head": {"choice": ["pca", "linear"]}}, "start": [{"head": "query"}]},
            ", start: head is 'query', outside its range ['pca', 'linear']",
        ),
        (
            {
                "base": {"encoder_type": "transformer", "num_heads": 8},
                "space": {"hidden_dim": {"choice": [64, 100]}},
            },
            " can propose this: hidden_dim is 100; it must be a multiple of num_heads (8)",
        ),
        (
            {"base": {"kernel_size": 4}},
            " can propose this: kernel_size is 4; it must be odd",
        ),
        (
            {"metric": {"name": "val_skill", "mode": "min"}},
            ", metric: mode is min, but the max of val_skill is best; write auto",
        ),
    ],
)
def test_a_bad_space_is_refused_with_its_file_and_a_remedy(content, message):
    with pytest.raises(ConfigError, match=rf"^space\.yaml{re.escape(message)}"):
        parse(content)


WHEN_RANK = {"int": [8, 16], "when": {"head": "lowrank"}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dropuot", {"float": [0, 0.4]}, ": unknown setting 'dropuot'; did you mean 'dropout'?"),
        ("n_mels", {"int": [40, 80]}, ": n_mels cannot be searched; each value would need its own"),
        (
            "augment_copies",
            {"int": [0, 3]},
            ": augment_copies cannot be searched; each value would",
        ),
        ("copy_room_prob", {"float": [0, 1]}, ": copy_room_prob cannot be searched; each value wo"),
        ("device", {"choice": ["cpu"]}, ": device cannot be searched; it is not a hyperparameter"),
        ("epochs", {"int": [1, 9]}, ": epochs cannot be searched; the scheduler decides; set budg"),
        ("dropout", 0.4, ".dropout: write one of float: [low, high], int: [low, high], choice: ["),
        ("dropout", {}, ".dropout: write one of float: [low, high], int: [low, high], choice: ["),
        ("dropout", {"int": [1, 2], "float": [1, 2]}, ".dropout: write one of float: "),
        ("dropout", {"float": [0, 0.4], "logs": True}, ".dropout: unknown option 'logs'; did you"),
        ("dropout", {"float": 0.4}, ".dropout: float is 0.4; write a list with at least one value"),
        ("dropout", {"float": [0.4]}, ".dropout: float has 1 value; write [low, high]"),
        ("dropout", {"float": [0, 0.2, 0.4]}, ".dropout: float has 3 values; write [low, high]"),
        ("dropout", {"float": [0, 1]}, ".dropout: dropout is 1; it must be a number from 0 to 0.9"),
        (
            "dropout",
            {"float": [0.4, 0.1]},
            ".dropout: low 0.4 is not below high 0.1; swap or widen",
        ),
        (
            "dropout",
            {"float": [0.1, 0.1]},
            ".dropout: low and high are both 0.1, so nothing is searched; set it in base, or w",
        ),
        ("dropout", {"int": [0, 0.4]}, ".dropout: dropout is not a whole number; use float or cho"),
        ("num_layers", {"float": [2, 4]}, ".num_layers: num_layers is not a number with a fracti"),
        ("num_layers", {"int": [2, 4.5]}, ".num_layers: num_layers is 4.5; it must be a whole num"),
        ("dropout", {"float": [0, 0.4], "log": True}, ".dropout: log needs a low above 0, not 0"),
        ("dropout", {"float": [0, 0.4], "log": 1}, ".dropout: log is 1; it must be true or false"),
        (
            "dropout",
            {"float": [0, 0.4], "step": 0.5},
            ".dropout: step is 0.5; it must be above 0, ",
        ),
        ("dropout", {"float": [0, 0.4], "step": 0}, ".dropout: step is 0; it must be above 0, at"),
        ("dropout", {"float": [0, 0.4], "step": "a"}, ".dropout: step is 'a'; it must be above 0"),
        ("num_layers", {"int": [2, 4], "step": 0.5}, ".num_layers: step is 0.5; it must be whole,"),
        ("num_layers", {"int": [2, 4], "step": True}, ".num_layers: step is True; it must be whol"),
        (
            "dropout",
            {"float": [0.1, 0.3], "step": 0.3},
            ".dropout: step is 0.3; it must be above 0, at most 0.2",
        ),
        (
            "dropout",
            {"float": [0.1, 0.5], "step": 0.3},
            ".dropout: steps of 0.3 from 0.1 end at 0.4, not at 0.5; write [0.1, 0.4]",
        ),
        (
            "num_layers",
            {"int": [2, 8], "step": 4},
            ".num_layers: steps of 4 from 2 end at 6, not at 8; write [2, 6]",
        ),
        (
            "num_layers",
            {"int": [2, 4], "step": 1, "log": True},
            ".num_layers: log and step cannot be combined; remove one of them",
        ),
        ("head", {"choice": []}, ".head: choice is []; write a list with at least one value"),
        ("head", {"choice": ["pca", "pca"]}, ".head: choice ['pca', 'pca'] has a duplicate value"),
        ("head", {"choice": ["mlp"]}, ".head: head is 'mlp'; it must be one of joint, pca, low"),
        ("head", {"choice": ["pca"], "log": True}, ".head: a choice has neither log nor step"),
        ("head", {"choice": ["pca"], "when": 1}, ".head: when is 1; write when: {setting: value}"),
        ("head", {"choice": ["pca"], "when": {"x": 1}}, ".head, when: unknown setting 'x'; known"),
        ("head_rank", {**WHEN_RANK, "when": {"head": []}}, ".head_rank, when: head has no value;"),
        ("head_rank", {**WHEN_RANK, "when": {"head": "a"}}, ".head_rank, when: head is 'a'; it m"),
    ],
)
def test_a_bad_parameter_is_refused_with_its_place_and_a_remedy(name, content, message):
    with pytest.raises(ConfigError, match=rf"^space\.yaml, space{re.escape(message)}"):
        parse_searched(**{name: content})


# --- overriding ----------------------------------------------------------------------------------


def test_the_command_line_changes_what_it_names_and_nothing_else():
    space = parse(FULL)

    changed = override_space(
        space, {"budget": {"trials": 7, "epochs": None}, "base": {"seed": 4}}, "command line"
    )

    expected = space_to_content(space)
    expected["budget"]["trials"] = 7
    expected["base"] = {**expected["base"], "seed": 4}
    assert space_to_content(changed) == expected


def test_overriding_nothing_leaves_the_space_equal():
    space = parse(FULL)

    assert override_space(space, {"budget": {"trials": None}}, "command line") == space


def test_a_bad_override_is_refused_as_one_of_the_command_line():
    with pytest.raises(ConfigError, match=r"^command line, budget: trials is 0; .* from 1 to"):
        override_space(parse(FULL), {"budget": {"trials": 0}}, "command line")


def test_fewer_epochs_on_the_command_line_leave_fewer_brackets():
    space = parse({"scheduler": {"name": "hyperband", "grace_period": 2, "brackets": 3}})

    assert override_space(space, {"budget": {"epochs": 17}}, "command line").scheduler.brackets == 2
    assert override_space(space, {"budget": {"epochs": 18}}, "command line").scheduler.brackets == 3


def test_fewer_epochs_than_the_grace_period_on_the_command_line_shorten_it():
    space = parse({"scheduler": {"grace_period": 5}})

    assert (
        override_space(space, {"budget": {"epochs": 3}}, "command line").scheduler.grace_period == 3
    )
    assert (
        override_space(space, {"budget": {"epochs": 9}}, "command line").scheduler.grace_period == 5
    )


def test_a_folder_of_a_section_is_relative_to_the_file_and_kept_with_its_whole_path():
    space = parse({"space": FULL["space"], "report": {"listen": True, "model_dir": "models/3"}})

    content = space_to_content(space)

    assert content["report"]["model_dir"] == "/work/models/3"
    again = parse_space(content, "search.yaml", Path("/elsewhere"))
    assert again.report.model_dir == "/work/models/3"
    assert parse({"space": FULL["space"]}).report.model_dir == ""
    with pytest.raises(ConfigError, match=r"report: model_dir is 3; it must be a text"):
        parse({"space": FULL["space"], "report": {"model_dir": 3}})
