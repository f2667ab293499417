"""What stands at the axes of the live charts."""

from pathlib import Path

import pytest

from tests.report.conftest import made_search
from tune_encoder.report.facts import read_facts
from tune_encoder.space import parse_space

SPACE = parse_space(
    {
        "space": {
            "learning_rate": {"float": [2e-3, 8e-3], "log": True},
            "weight_decay": {"float": [1e-3, 0.3], "log": True},
            "num_layers": {"int": [3, 6]},
            "dropout": {"float": [0.05, 0.2]},
            "augment_noise_snr_min": {"float": [10, 25]},
        }
    },
    "test",
    Path(),
)
SETTINGS = {
    "learning_rate": 4e-3,
    "weight_decay": 1e-2,
    "num_layers": 4,
    "dropout": 0.1,
    "augment_noise_snr_min": 20.0,
}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The figures' options, by key."""
    from tune_encoder.serve.figures import figures

    trials = [("COMPLETE", SETTINGS, [0.9, 0.8])]
    facts = read_facts(made_search(tmp_path_factory.mktemp("axes"), trials, SPACE))
    return {name: draw(facts) for name, draw in figures(facts).items()}


def test_an_axis_of_powers_names_its_bounds_and_the_powers_of_ten_between(figures):
    rate, decay = (figures[f"slice-{name}"]["xAxis"] for name in ("learning_rate", "weight_decay"))

    assert rate["axisLabel"]["customValues"] == [2e-3, 8e-3]
    assert decay["axisLabel"]["customValues"] == [1e-3, 1e-2, 1e-1, 0.3]


def test_the_axes_of_whole_numbers_have_whole_ticks(figures):
    axes = {axis["name"]: axis for axis in figures["parallel"]["parallelAxis"]}

    assert axes["num_layers"]["interval"] == 1
    assert figures["slice-num_layers"]["xAxis"]["minInterval"] == 1
    assert str(axes["dropout"]["interval"]) == "0.0375"  # no digits of rounding


def test_the_longest_name_of_a_parallel_axis_has_room(figures):
    assert figures["parallel"]["parallel"]["left"] >= 7 * len("augment_noise_snr_min")


def test_the_end_of_the_timeline_is_not_named(figures):
    assert figures["timeline"]["xAxis"]["axisLabel"]["showMaxLabel"] is False
