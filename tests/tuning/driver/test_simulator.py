import pytest

from tests.benchmarks.simulate import (
    CURVES,
    OURS,
    STOCK,
    Table,
    changed,
    compare,
    table_lines,
)

SEEDS = 5


@pytest.fixture(scope="module")
def outcomes():
    table = Table.read(CURVES)
    return compare(table, changed(table.space, "searcher", name="random"), 2, SEEDS, timed=False)


def test_full_training_spends_everything_and_finds_the_best(outcomes):
    assert {o.epochs for o in outcomes["full training"]} == {24 * 9}
    assert {o.regret for o in outcomes["full training"]} == {0.0}
    assert {o.makespan for o in outcomes["full training"]} == {24 * 9 / 2}


def test_promotion_spends_what_ideal_halving_does_and_less_than_asha_with_any_seed(outcomes):
    assert {o.epochs for o in outcomes[OURS]} == {24 * 1 + 8 * 2 + 2 * 6}
    assert {o.makespan for o in outcomes[OURS]} == {26.0}  # no worker is ever idle
    for ours, stock in zip(outcomes[OURS], outcomes[STOCK], strict=True):
        assert ours.epochs < stock.epochs


def test_the_one_epoch_baseline_trains_two_trials_fully(outcomes):
    assert {o.epochs for o in outcomes["1 epoch, top 2"]} == {24 + 2 * 8}


def test_no_rule_beats_full_training_of_the_same_configs(outcomes):
    for name, each in outcomes.items():
        for outcome, full in zip(each, outcomes["full training"], strict=True):
            assert outcome.best - outcome.regret == pytest.approx(full.best, abs=1e-12), name
            assert outcome.regret >= 0


def test_the_table_has_a_line_for_each_rule_within_80_columns(outcomes):
    lines = list(table_lines(outcomes))

    assert [line[:15].strip() for line in lines[2:]] == [name.strip() for name in outcomes]
    assert max(map(len, lines)) <= 80


def test_the_nearest_config_is_the_same_or_the_most_alike_of_those_left():
    table = Table.read(CURVES)
    config = table.settings[7]

    assert table.nearest(config, list(range(64))) == 7
    wider = {**config, "dropout": config["dropout"] + 0.01}
    table.settings[3] = wider
    assert table.nearest(config, [i for i in range(64) if i != 7]) == 3
