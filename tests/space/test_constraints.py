"""Limits of a trial's quantities, and a second metric: what a space says of them."""

import re
from pathlib import Path

import pytest

from tune_encoder.errors import ConfigError
from tune_encoder.space import (
    broken_constraints,
    excesses,
    load_space,
    parse_space,
    space_to_content,
)

SPACE = {"dropout": {"float": [0.0, 0.5]}}
TWO = {"second": "parameters"}


def parse(**content):
    return parse_space({"space": SPACE, **content}, "space.yaml", Path("/work"))


def refused(message, **content):
    with pytest.raises(ConfigError, match=rf"^space\.yaml{re.escape(message)}$"):
        parse(**content)


def constraints(**limits):
    return parse(constraints=limits).constraints


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"parameter": {"max": 1}}, ": unknown quantity 'parameter'; did you mean 'parameters'?"),
        ({"parameters": 5}, ": parameters is 5; write {max: NUMBER}, min, or both"),
        ({"parameters": {}}, ": parameters is {}; write {max: NUMBER}, min, or both"),
        ({"seconds": {"most": 1}}, ": seconds is {'most': 1}; write {max: NUMBER}, min, or both"),
        ({"clone_ms": {"max": "9"}}, ", clone_ms: max is '9'; it must be a number"),
        ({"clone_ms": {"max": True}}, ", clone_ms: max is True; it must be a number"),
        ({"clone_ms": {"min": float("nan")}}, ", clone_ms: min is nan; it must be a number"),
        ({"val_loss": {"min": 2, "max": 1}}, ", val_loss: min is 2, above max, 1"),
    ],
)
def test_a_wrong_constraint_is_refused_with_what_is_allowed(limits, message):
    refused(f", constraints{message}", constraints=limits)


def test_constraints_are_lines_under_their_section():
    refused(
        ": constraints is ['parameters']; write `name: value` lines under it",
        constraints=["parameters"],
    )


def test_a_space_with_constraints_is_written_and_read_again():
    space = parse(constraints={"parameters": {"max": 1e6}, "val_skill": {"min": 0, "max": 1}})

    again = parse_space(space_to_content(space), "again", Path("/work"))

    assert again == space
    assert [each.name for each in again.constraints] == ["parameters", "val_skill"]


def test_a_limit_may_be_written_as_a_power_of_ten_in_a_file(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "constraints: {parameters: {max: 1.0e6}}\nspace: {dropout: {choice: [0.1, 0.2]}}\n"
    )

    assert load_space(file).constraints[0].max == 1e6


def test_an_excess_is_relative_to_its_limit_and_negative_within_it():
    limits = constraints(parameters={"max": 200}, val_skill={"min": 0.5}, seconds={"max": 0})

    found = excesses(limits, {"parameters": 300, "val_skill": 0.75, "seconds": 2.0})

    assert found == {"parameters max": 0.5, "val_skill min": -0.5, "seconds max": 2.0}


def test_an_unknown_quantity_has_no_excess_and_breaks_nothing():
    limits = constraints(parameters={"max": 200}, clone_ms={"max": 5})

    assert excesses(limits, {"clone_ms": 4.0}) == {"clone_ms max": -0.2}
    assert broken_constraints(limits, {}) == ""


def test_each_limit_that_is_broken_is_named_and_a_value_at_it_is_allowed():
    limits = constraints(parameters={"max": 1e6}, val_skill={"min": 0.5})

    assert broken_constraints(limits, {"parameters": 1_000_000, "val_skill": 0.5}) == ""
    assert broken_constraints(limits, {"parameters": 1_234_567, "val_skill": 0.25}) == (
        "parameters is 1,234,567, above its maximum of 1,000,000; "
        "val_skill is 0.25, below its minimum of 0.5"
    )


# --- two metrics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["asha", "asha-promote", "promote", "hyperband", "median"])
def test_two_metrics_with_a_scheduler_of_one_are_refused(scheduler):
    refused(
        f": scheduler.name is {scheduler}, which compares trials by one metric, but metric.second "
        "is parameters; write `scheduler: {name: none}`",
        metric=TWO,
        scheduler={"name": scheduler},
    )


def test_the_default_scheduler_is_refused_with_two_metrics():
    with pytest.raises(ConfigError, match=r"write `scheduler: {name: none}`$"):
        parse(metric=TWO)


@pytest.mark.parametrize("searcher", ["nsga2", "tpe", "random"])
def test_two_metrics_are_searched_without_early_stopping(searcher):
    space = parse(metric=TWO, scheduler={"name": "none"}, searcher={"name": searcher})

    assert space.metric.names == ("val_loss", "parameters")
    assert space.metric.directions == ("min", "min")
    assert space.measures == ("parameters",)


def test_a_searcher_of_one_metric_is_refused_with_two():
    refused(
        ": searcher.name is gp, which has one metric, but metric.second is parameters; write "
        "nsga2, tpe or random",
        metric=TWO,
        scheduler={"name": "none"},
        searcher={"name": "gp"},
    )


def test_a_searcher_of_two_metrics_is_refused_with_one():
    refused(
        ": searcher.name is nsga2, which is for two metrics; set metric.second, or write another "
        "searcher",
        searcher={"name": "nsga2"},
    )


def test_a_metric_named_twice_is_refused():
    refused(
        ", metric: second is val_skill, as is name; name another metric, or none",
        metric={"name": "val_skill", "second": "val_skill"},
    )


def test_an_unknown_second_metric_is_refused_with_those_there_are():
    with pytest.raises(
        ConfigError, match=r"second is 'size'; it must be one of val_loss, .*clone_ms"
    ):
        parse(metric={"second": "size"})
