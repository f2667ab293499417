import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import epoch_row
from tune_encoder.config import SettingValue
from tune_encoder.experiment.findings import assess_search, rung_correlation, spearman
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import parse_space

CONTENT = {
    "budget": {"epochs": 9},
    "scheduler": {"grace_period": 1, "reduction_factor": 3},
    "space": {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "num_layers": {"int": [2, 8]},
        "dropout": {"float": [0.0, 0.4]},
        "head": {"choice": ["pca", "lowrank"]},
        "head_rank": {"int": [16, 256], "log": True, "when": {"head": "lowrank"}},
    },
}
INSIDE: dict[str, SettingValue] = {
    "learning_rate": 1e-3,
    "num_layers": 4,
    "dropout": 0.1,
    "head": "pca",
    "head_rank": 64,
}
BASELINES = {"mean": {"skill": 0.0}, "ridge": {"skill": 0.42}}


def space_of(**changes):
    return parse_space({**CONTENT, **changes}, "test", Path())


SPACE = space_of()


def trial(number, values, space=SPACE, **settings):
    rows = [epoch_row(e, value, space, order=e) for e, value in values.items()]
    return TrialRecord(number, "COMPLETE", {**INSIDE, **settings}, rows)


def trials_of(early, late, epochs=(1, 3)):
    """Trials with these losses at two epochs; where there are fewer late ones, the rest ended."""
    pairs = itertools.zip_longest(early, late)
    values = ({e: v for e, v in zip(epochs, pair, strict=True) if v is not None} for pair in pairs)
    return [trial(n, each, learning_rate=1e-3 + n * 1e-5) for n, each in enumerate(values)]


# --- rungs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 25, 90], 1.0),
        ([1, 2, 3, 4], [9, 8, 7, 6], -1.0),
        # 1 - 6 * sum of squared differences / (n (n^2 - 1)) = 1 - 6 * 4 / 60
        ([1, 2, 3, 4], [2, 1, 4, 3], 0.6),
        # Ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
        ([5, 5, 7, 8], [1, 2, 3, 4], 0.9486833),
        ([5, 5, 5], [1, 2, 3], None),
    ],
)
def test_the_rank_correlation_is_spearmans_with_ties_at_their_mean_rank(a, b, expected):
    assert spearman(a, b) == (None if expected is None else pytest.approx(expected))


def test_only_trials_that_reached_both_rungs_are_correlated_and_both_counts_are_said():
    found = rung_correlation(trials_of([0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.3, 0.2]), 1, 3)

    assert str(found) == "rank correlation of epoch 1 with 3: 0.50 over 3 of 5 trials"


def test_when_every_trial_reached_both_one_count_is_said():
    found = rung_correlation(trials_of([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]), 1, 3)

    assert str(found) == "rank correlation of epoch 1 with 3: 1.00 over 3 trials"


def test_two_trials_are_too_few_to_correlate():
    assert rung_correlation(trials_of([0.1, 0.2, 0.3], [0.1, 0.2]), 1, 3) is None


def test_the_objective_is_correlated_so_a_metric_to_maximise_is_turned_round():
    space = space_of(metric={"name": "val_skill"})
    losses, skills = [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]
    trials = [
        TrialRecord(n, "COMPLETE", INSIDE, [epoch_row(1, loss), epoch_row(3, skill, space)])
        for n, (loss, skill) in enumerate(zip(losses, skills, strict=True))
    ]

    found = rung_correlation(trials, 1, 3)

    assert found is not None
    assert found.correlation == pytest.approx(1.0)


def test_copies_of_a_config_which_earlier_versions_trained_are_correlated_once():
    trials = trials_of([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])
    copies = [
        replace(trials[0], number=4, rows=trials[0].rows[:1]),
        replace(trials[1], number=5),
        replace(trials[2], number=6, settings={**trials[2].settings, "head_rank": 99}),  # not used
        replace(trials[3], number=7, settings={**trials[3].settings, "num_layers": 5}),
    ]

    found = assess_search(trials + copies, SPACE, BASELINES, "new")

    assert [(each.n_both, each.n_early) for each in found.rung_correlations] == [(5, 5)]


LOSSES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
SHUFFLED = [0.5, 0.6, 0.1, 0.4, 0.2, 0.8, 0.3, 0.7]  # rank correlation 1 - 6 * 66 / 504
WARNING = "epoch 1 does not predict epoch 3 (rank correlation 0.21 over 8 trials); raise scheduler"


def test_where_no_trial_is_stopped_at_a_rung_none_is_correlated():
    never = replace(SPACE, scheduler=replace(SPACE.scheduler, name="none"))

    found = assess_search(trials_of(LOSSES, SHUFFLED), never, BASELINES, "new")

    assert found.rung_correlations == []
    assert found.warnings == []


def test_an_early_rung_that_does_not_predict_the_next_is_a_warning():
    found = assess_search(trials_of(LOSSES, SHUFFLED), SPACE, BASELINES, "new")

    assert [str(each) for each in found.rung_correlations] == [
        "rank correlation of epoch 1 with 3: 0.21 over 8 trials"
    ]
    assert found.warnings == [WARNING + ".grace_period"]


@pytest.mark.parametrize(
    ("late", "n_early", "warned"),
    [
        ([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 6, True),
        ([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 8, True),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 8, False),  # five trials: often chance
        ([0.2, 0.1, 0.4, 0.3, 0.6, 0.5], 8, False),  # 0.83
    ],
)
def test_few_trials_or_a_fair_correlation_are_no_warning(late, n_early, warned):
    found = assess_search(trials_of(LOSSES[:n_early], late), SPACE, BASELINES, "new")

    assert len(found.rung_correlations) == 1
    assert any("does not predict" in each for each in found.warnings) == warned


# --- the best trial ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        (
            {"learning_rate": 0.0098},
            "learning_rate of the best trial is 0.0098, at the upper bound of its range 0.0001 to "
            "0.01; widen it",
        ),
        (
            {"learning_rate": 0.000102},
            "learning_rate of the best trial is 0.000102, at the lower bound of "
            "its range 0.0001 to 0.01; widen it",
        ),
        (
            {"num_layers": 8},
            "num_layers of the best trial is 8, at the upper bound of its range 2 to 8; widen it",
        ),
        (
            {"dropout": 0.395},
            "dropout of the best trial is 0.395, at the upper bound of its range 0 "
            "to 0.4; widen it",
        ),
        (
            {"head": "lowrank", "head_rank": 16},
            "head_rank of the best trial is 16, at the lower bound of its range 16 "
            "to 256; widen it",
        ),
    ],
)
def test_a_best_value_at_an_end_of_its_range_is_a_warning(settings, warning):
    trials = [trial(0, {1: 0.9}), trial(1, {1: 0.2}, **settings)]

    assert assess_search(trials, SPACE, BASELINES, "new").warnings == [warning]


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.009},  # 2.3 % of the range from its end, in the logarithm
        {"learning_rate": 0.00012},  # 0.2 % of the range from its end, were it not logarithmic
        {"num_layers": 7},
        {"dropout": 0.0},  # no dropout can be lower
        {"head_rank": 16},  # of a head that is not used
    ],
)
def test_a_best_value_within_its_range_or_at_the_end_of_all_values_is_no_warning(settings):
    assert assess_search([trial(0, {1: 0.2}, **settings)], SPACE, BASELINES, "new").warnings == []


def test_only_the_best_trial_is_asked():
    trials = [trial(0, {1: 0.2}), trial(1, {1: 0.3}, num_layers=8)]

    assert assess_search(trials, SPACE, BASELINES, "new").warnings == []


def test_a_searched_seed_has_no_end_worth_widening():
    space = space_of(space={"seed": {"int": [1, 3]}})

    assert assess_search([trial(0, {1: 0.2}, seed=3)], space, BASELINES, "new").warnings == []


@pytest.mark.parametrize(
    ("ridge", "loss", "beaten_by"),
    [
        (0.42, 0.59, "new-voice skill 0.410) does not beat ridge (0.420)"),
        (0.5, 0.5, "new-voice skill 0.500) does not beat ridge (0.500)"),
        (-0.3, 1.1, "new-voice skill -0.100) does not beat mean (0.000)"),
    ],
)
def test_a_best_trial_that_beats_no_baseline_is_a_warning(ridge, loss, beaten_by):
    baselines = {**BASELINES, "ridge": {"skill": ridge}}

    assert assess_search([trial(0, {1: 1.7, 2: loss})], SPACE, baselines, "new").warnings == [
        f"the best trial ({beaten_by}, which needs no training; raise budget.epochs, widen the "
        "space or add voices"
    ]


def test_failed_trials_and_a_search_without_a_result_are_no_best_trial():
    failed = replace(trial(0, {1: 0.9}), state="FAIL")

    assert assess_search([failed, trial(1, {})], SPACE, BASELINES, "new").warnings == []
    assert assess_search([], SPACE, BASELINES, "new").rung_correlations == []


# --- the start config and the closed form --------------------------------------------------------

STARTED = space_of(start=[{"learning_rate": 1e-3}])
CLOSED = {"encoder_type": "statistics"}


def test_the_best_network_stands_beside_the_start_config_after_the_same_epochs():
    start = trial(1, {1: 0.9, 2: 0.8})
    best = trial(2, {1: 0.7, 2: 0.6, 3: 0.5}, learning_rate=2e-3)

    said = assess_search([start, best], STARTED, BASELINES, "new").start

    assert said == (
        "new-voice skill after 2 epochs: 0.400 of the best network, trial 2; 0.200 of the first "
        "start config, trial 1"
    )


def test_the_start_config_may_be_the_best_or_untried():
    start = trial(1, {1: 0.5})

    assert assess_search([start], STARTED, BASELINES, None).start == (
        "the best network is the first start config, trial 1"
    )
    assert not assess_search([start], SPACE, BASELINES, None).start
    other = trial(1, {1: 0.5}, learning_rate=2e-3)
    assert not assess_search([other], STARTED, BASELINES, None).start


def test_a_closed_form_that_no_network_beats_is_a_warning():
    closed, network = trial(0, {1: 0.4}, **CLOSED), trial(1, {1: 0.5})

    (warning,) = assess_search([closed, network], SPACE, BASELINES, "new").warnings

    assert warning == (
        "no network of this search beats the closed-form encoder (new-voice skill 0.600); raise "
        "budget.epochs, widen the space or add voices"
    )
