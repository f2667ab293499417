"""The two metrics of a search, and the front between them."""

import pytest

from tests.builders import make_search
from tests.report.conftest import CONTENT, Clock, linear, marks, numbers, trials_of
from tune_encoder.report.contents import read_contents
from tune_encoder.report.facts import read_facts
from tune_encoder.report.front import front
from tune_encoder.space import parse_space

SIZES = (30_000, 9_000, 20_000, 1_200_000)
TRIALS = [
    ("COMPLETE", linear(0.001, 0.1), [0.9, 0.5]),
    ("COMPLETE", linear(0.002, 0.2), [0.8, 0.7]),
    ("COMPLETE", linear(0.003, 0.3), [0.95, 0.75]),
    ("COMPLETE", linear(0.004, 0.3), [0.2, 0.1]),
]


@pytest.fixture
def made(tmp_path):
    """Trial 2 is beaten by trial 0, and trial 3 is too large."""
    content = {
        **CONTENT,
        "metric": {"name": "val_loss", "second": "parameters"},
        "scheduler": {"name": "none"},
        "searcher": {"name": "nsga2", "closed_form": False},
        "constraints": {"parameters": {"max": 1e6}},
    }
    space = parse_space(content, "test", tmp_path)
    clock = Clock(space)

    def row_of(number, epoch, value):
        return {**clock(number, epoch, value), "parameters": SIZES[number]}

    return make_search(tmp_path, space, TRIALS, row_of=row_of)


def test_each_trial_that_keeps_the_constraints_is_a_point(made):
    figure = front(read_facts(made))

    assert sorted(trials_of(figure)) == [0, 1, 2]
    assert len(marks(figure)) == 3


def test_the_table_has_the_front_with_both_values_and_the_settings(made):
    found = numbers(front(read_facts(made)))

    assert found.columns[:6] == [
        "trial", "epoch", "val_loss", "parameters", "learning_rate", "head",
    ]  # fmt: skip
    assert [row[:5] for row in found.rows] == [
        ["0", "2", "0.5", "30000", "0.001"],
        ["1", "2", "0.7", "9000", "0.002"],
    ]


def test_the_summary_says_which_values_the_front_has_and_which_are_better(made):
    summary = front(read_facts(made)).summary

    assert summary.startswith(
        "2 trials: val_loss 0.5 to 0.7, parameters 30,000 to 9,000 (orange), of 3 trials with a "
        "result: no other trial is better in both metrics. val_loss: lower is better; parameters: "
        "lower is better. Export one with: tune-encoder export mine"
    )


def test_the_page_has_the_front_and_says_the_constraints(made):
    contents = read_contents(made)

    assert "front" in [section.key for section in contents.sections]
    rows = {row[0]: row[1] for row in contents.data.rows}
    assert rows["second metric"] == "parameters"
    assert rows["constraints"] == (
        "parameters at most 1,000,000; broken by 1 trial, 0 of them not trained"
    )


def test_without_a_result_it_says_so(tmp_path, made):
    facts = read_facts(made)
    facts.status["front"] = []

    assert front(facts).summary == "No trial has a result yet."


def test_a_search_with_one_metric_has_no_such_section(contents):
    assert "front" not in [section.key for section in contents.sections]
