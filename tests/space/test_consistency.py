"""Conditions, grids, and what searchers and schedulers cannot do."""

import re
from pathlib import Path
from typing import Any, cast

import pytest

from tune_encoder.config import TrainConfig, to_mapping
from tune_encoder.errors import ConfigError
from tune_encoder.space import (
    MAX_GRID_POINTS,
    RandomSuggester,
    parse_space,
    sample_configs,
    space_to_content,
)


def parse(**content):
    return parse_space(content, "space.yaml", Path("/work"))


def refusal(message):
    return pytest.raises(ConfigError, match=rf"^space\.yaml{re.escape(message)}$")


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("optim.learning_rate", "learning_rate"),
        ("TrainConfig.learning_rate", "learning_rate"),
        ("TrainConfig.seed", "seed"),
        ("model.encoder.hidden_dims", "hidden_dim"),
    ],
)
def test_a_dotted_name_is_refused_with_the_nearest_flat_one(written, meant):
    unknown = f": unknown setting '{written}'; did you mean '{meant}'?"

    with refusal(f", space{unknown}"):
        parse(space={written: {"choice": [1]}})
    with refusal(f", base{unknown}"):
        parse(base={written: 1})
    with refusal(f", space.dropout, when{unknown}"):
        parse(space={"dropout": {"choice": [0.1], "when": {written: 1}}})


def test_a_dotted_section_is_refused_with_the_nearest_one():
    with refusal(": unknown section 'budget.trials'; did you mean 'budget'?"):
        parse(**{"budget.trials": 3})


@pytest.mark.parametrize("content", [{"choice": [0, 1, 2]}, {"int": [0, 2]}])
def test_the_seed_can_be_searched(content):
    space = parse(space={"seed": content})

    assert {settings["seed"] for settings in sample_configs(space, 30)} == {0, 1, 2}


# --- conditions ----------------------------------------------------------------------------------

# In the file, each parameter stands before the one that its condition names.
NESTED = {
    "kernel_size": {"choice": [3, 7], "when": {"pca_components": 32, "num_layers": [2, 3]}},
    "pca_components": {"choice": [16, 32], "when": {"head": "pca"}},
    "head": {"choice": ["pca", "linear"], "when": {"encoder_type": ["convnext", "cnn"]}},
    "num_layers": {"int": [2, 4]},
    "encoder_type": {"choice": ["convnext", "cnn", "transformer"]},
}


def test_a_nested_condition_holds_only_where_all_above_it_do():
    space = parse(base={"head": "pca"}, space=NESTED)  # which would meet a condition

    for settings in cast("list[dict[str, Any]]", list(sample_configs(space, 500))):
        expected = {"encoder_type", "num_layers"}
        if settings["encoder_type"] != "transformer":
            expected.add("head")
            if settings["head"] == "pca":
                expected.add("pca_components")
                if settings["pca_components"] == 32 and settings["num_layers"] < 4:
                    expected.add("kernel_size")
        assert space.searched_settings(settings).keys() == expected


def test_a_condition_on_what_was_not_searched_does_not_hold_by_its_default():
    searched = {
        "head": {"choice": ["pca", "linear"]},
        "pca_components": {"choice": [16, 64], "when": {"head": "pca"}},
        "kernel_size": {"choice": [3, 7], "when": {"pca_components": 64}},
    }
    settings = {**to_mapping(TrainConfig()), "head": "linear", "kernel_size": 3}
    assert settings["pca_components"] == 64

    assert parse(space=searched).searched_settings(settings) == {"head": "linear"}


def test_every_depth_of_conditions_is_met():
    space = parse(space=NESTED)

    assert {len(space.searched_settings(settings)) for settings in sample_configs(space, 500)} == {
        2,
        3,
        4,
        5,
    }


def test_a_setting_that_is_not_searched_in_a_trial_has_the_value_of_the_base():
    space = parse(base={"pca_components": 7}, space=NESTED)

    for settings in sample_configs(space, 100):
        if "pca_components" not in space.searched_settings(settings):
            assert settings["pca_components"] == 7


def test_a_nested_space_written_as_plain_values_reads_back_equal():
    space = parse(space=NESTED)

    assert parse(**space_to_content(space)) == space


def test_what_is_given_is_taken_and_the_rest_drawn():
    given = {"encoder_type": "cnn", "head": "linear", "pca_components": 16}

    settings = parse(space=NESTED).sample(RandomSuggester(0), given)

    assert (settings["encoder_type"], settings["head"]) == ("cnn", "linear")
    assert settings["num_layers"] in (2, 3, 4)
    assert settings["pca_components"] == TrainConfig().pca_components  # linear searches none


@pytest.mark.parametrize(
    ("conditions", "circle"),
    [
        ({"head": {"head": "pca"}}, "head needs head"),
        (
            {"head": {"num_layers": 3}, "num_layers": {"head": "pca"}},
            "head needs num_layers needs head",
        ),
        (
            {
                "kernel_size": {"head": "pca"},  # waits for the circle, but is not in it
                "head": {"num_layers": 3},
                "num_layers": {"pooling": "mean"},
                "pooling": {"head": "pca"},
            },
            "head needs num_layers needs pooling needs head",
        ),
    ],
)
def test_conditions_in_a_circle_are_refused_by_their_names(conditions, circle):
    values: dict[str, Any] = {
        "kernel_size": {"choice": [3, 5]},
        "head": {"choice": ["pca", "linear"]},
        "num_layers": {"int": [2, 4]},
        "pooling": {"choice": ["mean", "statistics"]},
    }
    searched = {name: {**values[name], "when": when} for name, when in conditions.items()}

    with refusal(f": conditions are circular ({circle}); remove one of them"):
        parse(space={"dropout": {"float": [0.0, 0.4]}, **searched})


@pytest.mark.parametrize(
    ("parameter", "allowed", "message"),
    [
        ({"choice": ["pca", "linear"]}, "query", "'query'; its choice is ['pca', 'linear']"),
        ({"choice": ["pca"]}, ["query", "linear"], "'query' or 'linear'; its choice is ['pca']"),
    ],
)
def test_a_condition_that_no_proposal_meets_is_refused(parameter, allowed, message):
    searched = {"dropout": {"choice": [0.1], "when": {"head": allowed}}, "head": parameter}

    with refusal(f", space.dropout, when: head is never {message}"):
        parse(space=searched)


@pytest.mark.parametrize(
    ("parameter", "allowed", "message"),
    [
        ({"int": [2, 8], "step": 2}, 3, "num_layers is never 3; its int is [2, 8]"),
        ({"int": [2, 8]}, 9, "num_layers is never 9; its int is [2, 8]"),
    ],
)
def test_a_condition_outside_a_range_or_between_its_steps_is_refused(parameter, allowed, message):
    searched = {"head": {"choice": ["pca"], "when": {"num_layers": allowed}}}

    with refusal(f", space.head, when: {message}"):
        parse(space={**searched, "num_layers": parameter})


def test_a_condition_on_one_value_of_a_continuous_range_is_refused():
    searched = {
        "head": {"choice": ["pca"], "when": {"dropout": 0.1}},
        "dropout": {"float": [0.0, 0.4]},
    }

    with refusal(", space.head, when: dropout is never 0.1; its float is [0.0, 0.4]"):
        parse(space=searched)


# --- grids ---------------------------------------------------------------------------------------


def grid(**searched):
    return parse(searcher={"name": "grid"}, space=searched).grid()


def test_a_grid_has_every_combination_the_last_setting_changing_first():
    points = grid(
        use_amp={"choice": [True, False]},
        num_layers={"int": [2, 6], "step": 2},
        dropout={"float": [0.1, 0.4], "step": 0.1},
    )

    assert points == [
        {"use_amp": use_amp, "num_layers": num_layers, "dropout": dropout}
        for use_amp in (True, False)
        for num_layers in (2, 4, 6)
        for dropout in (0.1, 0.2, 0.3, 0.4)
    ]


def test_a_grid_honours_nested_conditions_and_repeats_no_config():
    space = parse(space={**NESTED, "num_layers": {"choice": [2, 4]}})

    points = space.grid()

    configs = [space.sample(RandomSuggester(0), point) for point in points]
    assert [space.searched_settings(config) for config in configs] == points
    assert len({space.config(config) for config in configs}) == len(points)
    # For each of 2 depths: transformer, and for 2 encoders linear, pca of 16 and pca of 32; with
    # pca of 32 and 2 layers, also 2 kernels.
    assert len(points) == 2 * (1 + 2 * 3) + 2


def test_a_grid_counts_the_steps_that_floats_would_miss():
    assert len(grid(dropout={"float": [0.0, 0.3], "step": 0.1})) == 4  # 0.3 / 0.1 is below 3
    assert len(grid(dropout={"float": [0.1, 0.3], "step": 0.2})) == 2  # and 0.3 - 0.1 below 0.2


def test_the_grid_of_an_empty_space_is_its_one_config():
    assert grid() == [{}]


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("dropout", {"float": [0.0, 0.4]}, "add a step, or write it as a choice"),
        ("num_layers", {"int": [2, 8]}, "add a step, or write it as a choice"),
        ("learning_rate", {"float": [1e-4, 1e-2], "log": True}, "write it as a choice"),
        ("head_rank", {"int": [16, 64], "log": True}, "write it as a choice"),
    ],
)
def test_a_grid_over_a_range_without_steps_is_refused(name, content, remedy):
    message = f": a grid needs steps, and space.{name} is a range without a step; {remedy}"

    with refusal(message):
        grid(head={"choice": ["pca"]}, **{name: content})


def test_a_grid_of_too_many_points_is_refused_before_it_is_made():
    message = ": the grid has over 100,000 points; list fewer choices, or use larger steps"

    with refusal(message):
        grid(seed={"int": [0, MAX_GRID_POINTS], "step": 1})
    with refusal(message):
        grid(
            seed={"int": [0, 2**30], "step": 1},
            weight_decay={"float": [0.0, 1.0], "step": 1e-9},
        )
    assert len(grid(seed={"int": [1, MAX_GRID_POINTS], "step": 1})) == MAX_GRID_POINTS


def test_other_searchers_need_no_steps():
    assert parse(searcher={"name": "tpe"}, space={"dropout": {"float": [0.0, 0.4]}})


# --- Hyperband ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "grace_period", "factor", "most"),
    [(27, 1, 3, 4), (26, 1, 3, 3), (18, 2, 3, 3), (17, 2, 3, 2), (9, 9, 3, 1), (10, 1, 1.5, 6)],
)
def test_more_brackets_than_the_epochs_hold_are_refused_with_the_most(
    epochs, grace_period, factor, most
):
    def scheduler(brackets, name="hyperband"):
        rule = {"grace_period": grace_period, "reduction_factor": factor, "brackets": brackets}
        return parse(budget={"epochs": epochs}, scheduler={"name": name, **rule})

    begins = grace_period * factor**most
    assert scheduler(most)
    assert scheduler(most + 1, "asha")  # which has no brackets
    with refusal(
        f": scheduler.brackets is {most + 1}, so the last bracket would stop nothing before epoch "
        f"{begins:g} of {epochs}; it must be at most {most}"
    ):
        scheduler(most + 1)
