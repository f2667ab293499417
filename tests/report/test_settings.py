"""Importances, parallel coordinates, slices."""

import pytest

from tests.report.conftest import (
    BEST,
    SPACE,
    TRIALS,
    made_search,
    marks,
    numbers,
    tips,
    trials_of,
    words,
)
from tune_encoder.experiment.importance import importances
from tune_encoder.report.facts import read_facts
from tune_encoder.report.importances import importance_bars
from tune_encoder.report.parallel import parallel_coordinates
from tune_encoder.report.slices import slices

SCORED = [n for n, (state, _, values, *_) in enumerate(TRIALS) if values and state != "FAIL"]


def test_a_bar_for_each_setting_by_its_importance(made, facts):
    rated = importances(made)

    figure = importance_bars(facts)

    assert [row[0] for row in numbers(figure).rows] == [each.name for each in rated.settings]
    assert tips(figure) == [
        f"{each.name}: {each.share:.0%}, over {each.n_trials} trials" for each in rated.settings
    ]
    assert "With fewer than 48 trials this is a rough estimate" in figure.summary


def test_too_few_trials_are_not_rated_and_that_is_said(tmp_path):
    figure = importance_bars(read_facts(made_search(tmp_path, TRIALS[:3])))

    assert figure.svg == ""
    assert figure.summary.startswith("Not available: mine: 3 trials have ended with a result")


def test_parallel_coordinates_have_a_line_for_each_trial_with_a_result(facts):
    figure = parallel_coordinates(facts)

    assert sorted(trials_of(figure)) == SCORED
    assert trials_of(figure)[-1] == BEST  # drawn last, so above the others
    assert {*(p.name for p in SPACE.parameters), "val_loss", "pca", "linear"} <= set(words(figure))
    assert "Trials in which a setting was not searched are at the far left" in figure.summary


def test_without_conditions_nothing_lies_at_the_far_left(tmp_path):
    trials = [trial for trial in TRIALS if trial[1]["head"] == "pca" and trial[0] != "FAIL"]
    figure = parallel_coordinates(read_facts(made_search(tmp_path, trials)))

    assert len(marks(figure)) == len(trials)
    assert "far left" not in figure.summary


def test_a_slice_shows_the_trials_that_have_the_setting(facts):
    by_name = {figure.title: figure for figure in slices(facts)}

    assert list(by_name) == [parameter.name for parameter in SPACE.parameters]
    assert sorted(trials_of(by_name["dropout"])) == SCORED
    with_pca = [n for n in SCORED if TRIALS[n][1]["head"] == "pca"]
    assert sorted(trials_of(by_name["pca_components"])) == with_pca
    assert numbers(by_name["dropout"]).rows[0] == ["3", "0", "0.42"]


def test_a_bound_that_the_best_trial_hit_is_hatched_and_said(facts):
    by_name = {figure.title: figure for figure in slices(facts)}

    assert "It is at the upper bound of the range (hatched): widen the range." in (
        by_name["learning_rate"].summary
    )
    assert "<pattern" in by_name["learning_rate"].svg
    for name in ("dropout", "head", "pca_components"):  # dropout is 0: it cannot be less
        assert "end of the range" not in by_name[name].summary
        assert "<pattern" not in by_name[name].svg


def test_a_logarithmic_axis_is_written_in_plain_numbers(facts):
    (figure,) = [each for each in slices(facts) if each.title == "learning_rate"]

    assert {"0.0001", "0.001", "0.01"} <= set(words(figure))
    assert "0.0002" not in words(figure)  # so close they would cover each other


@pytest.mark.parametrize("make", [parallel_coordinates, lambda facts: slices(facts)[0]])
def test_before_the_first_result_they_say_that_there_is_none(tmp_path, make):
    figure = make(read_facts(made_search(tmp_path, [])))

    assert figure.svg == ""
    assert "a result yet" in figure.summary
