"""What stands at the axes of the live charts."""

from pathlib import Path

import pytest

from tests.builders import MadeSearch, epoch_row
from tests.report.conftest import made_search
from tune_encoder.report.facts import read_facts
from tune_encoder.serve.watched_experiment import WatchedExperiment
from tune_encoder.space import parse_space
from tune_encoder.system.lock import lock_experiment

SPACE = parse_space(
    {
        "space": {
            "learning_rate": {"float": [2e-3, 8e-3], "log": True},
            "weight_decay": {"float": [1e-3, 0.3], "log": True},
            "lambda_dp": {"float": [0.1, 10.0], "log": True},
            "pca_components": {"int": [4, 128], "log": True},
            "num_layers": {"int": [3, 6]},
            "spec_augment_time_mask": {"int": [0, 40]},
            "dropout": {"float": [0.05, 0.2]},
        }
    },
    "test",
    Path(),
)
SETTINGS = {
    "learning_rate": 4e-3,
    "weight_decay": 1e-2,
    "lambda_dp": 1.0,
    "pca_components": 64,
    "num_layers": 4,
    "spec_augment_time_mask": 20,
    "dropout": 0.1,
}
NAME_PX, GAP_PX = 159.2, 15  # of spec_augment_time_mask in DejaVu Sans of 12 px, and of ECharts


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The figures' options, by key."""
    from tune_encoder.serve.figures import figures

    trials = [("COMPLETE", SETTINGS, [0.9, 0.8])]
    facts = read_facts(made_search(tmp_path_factory.mktemp("axes"), trials, SPACE))
    return {name: draw(facts) for name, draw in figures(facts, {}).items()}


@pytest.mark.parametrize(
    ("name", "ticks"),
    [
        ("learning_rate", [2e-3, 8e-3]),
        ("weight_decay", [1e-3, 1e-2, 1e-1, 0.3]),
        ("lambda_dp", [0.1, 1, 10]),
        ("pca_components", [4, 10, 100, 128]),
    ],
)
def test_an_axis_of_powers_names_its_bounds_and_the_powers_of_ten_between(figures, name, ticks):
    axis = figures[f"slice-{name}"]["xAxis"]

    assert axis["axisLabel"]["customValues"] == axis["axisTick"]["customValues"] == ticks


def test_labels_that_overlap_are_hidden(figures):
    drawn = [figure for figure in figures.values() if "xAxis" in figure]
    axes = [axis for figure in drawn for axis in (figure["xAxis"], figure["yAxis"])]

    assert all(axis["axisLabel"]["hideOverlap"] for axis in axes)


@pytest.mark.parametrize(("name", "interval"), [("num_layers", 1), ("spec_augment_time_mask", 10)])
def test_the_axes_of_whole_numbers_have_whole_ticks(figures, name, interval):
    axes = {axis["name"]: axis for axis in figures["parallel"]["parallelAxis"]}

    assert axes[name]["interval"] == interval
    assert figures[f"slice-{name}"]["xAxis"]["minInterval"] == 1


def test_an_interval_has_no_digits_of_rounding(figures):
    axes = {axis["name"]: axis for axis in figures["parallel"]["parallelAxis"]}

    assert str(axes["dropout"]["interval"]) == "0.0375"


def test_the_longest_name_of_a_parallel_axis_has_room(figures):
    assert figures["parallel"]["parallel"]["left"] >= NAME_PX + GAP_PX


def test_the_end_of_the_timeline_is_not_named(figures):
    assert figures["timeline"]["xAxis"]["axisLabel"]["showMaxLabel"] is False


def test_kept_curves_are_as_if_all_were_drawn_again(tmp_path):
    from tune_encoder.serve.learning_curves import Curve, learning_curves

    made = MadeSearch(tmp_path)
    made.trial([0.8, 0.7], "COMPLETE")
    running = made.trial([0.9])
    watched = WatchedExperiment(made.experiment.path)
    known: dict[int, Curve] = {}
    learning_curves(read_facts(watched), known)
    before = dict(known)

    for epoch, value in ((2, 0.75), (3, 0.1)):  # the second is the best of all
        made.record.add_row(running, epoch_row(epoch, value))
        facts = read_facts(watched)
        assert learning_curves(facts, known) == learning_curves(facts, {})
        assert (known[0] is before[0]) == (epoch == 2)


def test_a_curve_is_drawn_again_when_its_search_ends(tmp_path):
    from tune_encoder.serve.learning_curves import Curve, learning_curves

    made = MadeSearch(tmp_path)
    made.trial([0.9])
    watched = WatchedExperiment(made.experiment.path)
    known: dict[int, Curve] = {}

    with lock_experiment(made.experiment.path):
        running = read_facts(watched)
        learning_curves(running, known)
    ended = read_facts(watched)

    assert ended.trials[0] is running.trials[0]
    assert learning_curves(ended, known) == learning_curves(ended, {})
    assert known[0].series["name"].startswith("trial 0, unfinished")
