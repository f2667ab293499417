"""Tables of recorded curves, and the start configs that are chosen from them."""

import itertools
import json

import numpy as np
import pytest

from tests.benchmarks.portfolio import (
    choose,
    expected_best,
    left_out,
    rank_correlations,
    start_section,
)
from tests.benchmarks.record_curves import (
    CHOSEN,
    CURVES,
    SETS,
    Curve,
    configs_of,
    read_curves,
    write_testbed,
)
from tests.benchmarks.simulated.testbed import (
    EPOCHS,
    MANY_CONFIGS,
    SHIPPED,
    TableTask,
    read_testbed,
)
from tune_encoder.experiment.portfolio import SIZE
from tune_encoder.space import find_space, load_space, space_to_content

SPACE = load_space(find_space("default"))
N_CONFIGS = 12


def curve_of(name, number, end):
    return Curve(name, number, [end + 1 / epoch for epoch in range(1, EPOCHS + 1)], {"mean": 1.0})


@pytest.fixture
def tables(tmp_path):
    """Two alike, on which config 3 is best, and one on which 5 is."""
    best = dict(zip([each.name for each in SETS[:3]], (3, 3, 5), strict=True))
    curves = [curve_of(s, i, abs(i - at) / 10) for i in range(N_CONFIGS) for s, at in best.items()]
    write_testbed(tmp_path, SPACE, configs_of(SPACE, N_CONFIGS), curves)
    tasks = {task.name: task for task in read_testbed(tmp_path)}
    return [tasks[name] for name in best]


def test_a_table_gives_a_config_the_curve_of_the_one_most_like_it(tables):
    configs = configs_of(SPACE, N_CONFIGS)

    for number, config in enumerate(configs):
        assert tables[0].curve(config)[-1] == pytest.approx(abs(number - 3) / 10 + 1 / EPOCHS)
    near = {**configs[0], "dropout": 0.201}
    assert tables[0].curve(near)[-1] == tables[0].curve(configs[0])[-1]


def test_the_scale_of_a_table_is_its_best_and_its_median_config(tables):
    assert tables[0].regret(tables[0].curves[3].min()) == 0
    ends = np.sort(tables[0].curves.min(axis=1))
    assert tables[0].median == pytest.approx((ends[5] + ends[6]) / 2)


def test_two_chosen_configs_are_recorded_first():
    configs = configs_of(SPACE, N_CONFIGS)

    assert tuple(SPACE.searched_settings(each) for each in configs[:2]) == CHOSEN
    assert all(SPACE.config(each).early_stopping_patience == 0 for each in configs)
    assert configs_of(SPACE, 20)[:N_CONFIGS] == configs


def test_a_curve_that_was_cut_off_by_a_kill_is_not_read(tmp_path):
    curve = curve_of("demo", 0, 0.5)
    whole = f"{json.dumps(curve._asdict())}\n"
    (tmp_path / CURVES).write_text(whole + whole[:50])

    assert read_curves(tmp_path / CURVES) == [curve]
    assert read_curves(tmp_path / "none") == []


def test_a_portfolio_has_the_best_config_of_each_table(tables):
    assert choose(tables, 2) == [3, 5]


def test_a_table_that_is_left_out_has_no_say_in_the_portfolio(tables):
    chosen, random = left_out(tables, 2)

    regret = tables[2].regret(tables[2].curves[3].min())
    assert chosen[2, 0] == pytest.approx(regret)  # of itself it would choose 5
    assert chosen[:2, 1].tolist() == pytest.approx([0.0, 0.0])
    assert (np.diff(random) < 0).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_best_of_random_configs_is_a_mean_over_all_subsets(n):
    values = np.random.default_rng(0).random(5)

    subsets = itertools.combinations(values, n)
    assert expected_best(values, n) == pytest.approx(np.mean([min(each) for each in subsets]))


def written_start(folder, configs):
    """The start configs of a space file into which a section was pasted."""
    (folder / "space.yaml").write_text(
        f"space: {json.dumps(space_to_content(SPACE)['space'])}\n"
        + start_section(configs, SPACE.parameters)
    )
    return load_space(folder / "space.yaml").start


def test_ranks_that_turn_around_are_seen_in_their_correlation(tmp_path):
    losses = [[10.0 + i] * 5 + [10.0 - i] * (EPOCHS - 5) for i in range(N_CONFIGS)]
    curves = [Curve(SETS[0].name, i, each, {}) for i, each in enumerate(losses)]
    write_testbed(tmp_path, SPACE, configs_of(SPACE, N_CONFIGS), curves)
    [task] = read_testbed(tmp_path)
    assert isinstance(task, TableTask)

    assert rank_correlations(task, (5, 6)) == pytest.approx([-1.0, 1.0])


def test_a_start_section_is_rounded_within_the_ranges(tmp_path):
    low = {**SPACE.start[0], "learning_rate": 0.0015, "dropout": 0.23456}

    assert written_start(tmp_path, [low]) == [{**low, "dropout": 0.23}]


@pytest.mark.parametrize(("folder", "sets"), [(SHIPPED, SETS), (MANY_CONFIGS, SETS[:3])])
def test_the_shipped_tables_are_of_the_space_as_it_is(folder, sets):
    tasks = read_testbed(folder)

    assert {task.name for task in tasks} == {each.name for each in sets}
    for task in tasks:
        assert isinstance(task, TableTask)
        assert task.parameters == SPACE.parameters
        assert task.curves.shape == (len(task.coordinates), EPOCHS)
        configs = configs_of(SPACE, len(task.coordinates))
        assert np.allclose(task.coordinates, [task.cube.coordinates(each) for each in configs])


def test_the_start_configs_of_default_are_those_chosen_from_the_shipped_tables(tmp_path):
    tasks = [task for task in read_testbed(SHIPPED) if isinstance(task, TableTask)]
    configs = [tasks[0].cube.settings(tasks[0].coordinates[i]) for i in choose(tasks, SIZE)]

    assert written_start(tmp_path, configs) == SPACE.start
