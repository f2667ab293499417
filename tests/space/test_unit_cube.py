from typing import Any

import numpy as np
import pytest

from tests.builders import parse_space
from tune_encoder.space.sampling import sample_configs
from tune_encoder.space.unit_cube import UnitCube

SPACE = parse_space(
    {
        "space": {
            "head": {"choice": ["joint", "pca", "lowrank"]},
            "pca_components": {"int": [8, 256], "log": True, "when": {"head": ["joint", "pca"]}},
            "head_rank": {"int": [16, 64], "step": 16, "when": {"head": "lowrank"}},
            "learning_rate": {"float": [1.0e-4, 1.0e-2], "log": True},
            "dropout": {"float": [0.0, 0.3], "step": 0.1},
            "crop_seconds": {"choice": [2.0, 3.0]},
        }
    }
)
CUBE = UnitCube(SPACE)


def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("near", [False, True])
def test_what_is_drawn_is_within_the_space_and_has_what_applies_and_no_more(near):
    drawn = CUBE.draw(200, random())
    if near:
        drawn = CUBE.neighbours(drawn[:5], 200, random())

    for row in drawn:
        settings = CUBE.settings(row)
        assert set(settings) == set(SPACE.searched_names(settings))
        assert all(p.contains(settings[p.name]) for p in SPACE.parameters if p.name in settings)
    assert len({CUBE.settings(row)["head"] for row in drawn}) == 3


def test_settings_come_back_from_their_coordinates():
    for config in sample_configs(SPACE, 100):
        searched = SPACE.searched_settings(config)
        assert CUBE.settings(CUBE.coordinates(searched)) == pytest.approx(searched)


def test_any_two_choices_are_as_far_apart_as_the_ends_of_a_range():
    base: dict[str, Any] = {
        "head": "lowrank",
        "head_rank": 16,
        "learning_rate": 1e-4,
        "dropout": 0.0,
    }
    configs = [
        {**base, "crop_seconds": 2.0},
        {**base, "crop_seconds": 3.0},
        {**base, "crop_seconds": 2.0, "learning_rate": 1e-2},
    ]
    points = CUBE.columns(np.array([CUBE.coordinates(config) for config in configs]))

    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(1.0)
    assert np.linalg.norm(points[0] - points[2]) == pytest.approx(1.0)
    assert points.shape == (3, len(CUBE.owners))


def test_a_neighbour_shares_some_settings_and_differs_little_in_the_others():
    drawn = CUBE.draw(1, random())
    near = CUBE.neighbours(drawn, 200, random())
    rate = [p.name for p in SPACE.parameters].index("learning_rate")

    gaps = np.abs(near[:, rate] - drawn[0, rate])
    assert 0.3 < (gaps == 0).mean() < 0.7
    assert np.median(gaps[gaps > 0]) < 0.2


def test_a_condition_on_a_setting_that_is_not_searched_is_met_by_its_value():
    searched = {"pca_components": {"int": [8, 256], "when": {"head": "pca"}}}
    for head, applies in (("pca", True), ("linear", False)):
        space = parse_space(
            {"base": {"head": head}, "space": {**searched, "dropout": {"float": [0.0, 0.3]}}}
        )
        (drawn,) = UnitCube(space).draw(1, random())
        assert ("pca_components" in UnitCube(space).settings(drawn)) == applies
