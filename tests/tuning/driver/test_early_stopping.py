import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tune_encoder.space import parse_space
from tune_encoder.space.plan import bracket_rungs
from tune_encoder.tuning.driver.early_stopping import (
    Decision,
    PromoteFirstRule,
    PromotionRule,
    make_rule,
)


def row(epoch, loss):
    return {"epoch": epoch, "objective": float(loss)}


class Race:
    """Trials with known curves under a rule, in the order in which a search asks it.

    A worker that is free goes on with one that the rule promotes, else with a new trial. Which
    worker ends its epoch first is random.
    """

    def __init__(self, rule, curves, workers=2, seed=0, fails=()):
        self.rule, self.curves = rule, np.asarray(curves)
        self.workers, self.order = workers, np.random.default_rng(seed)
        self.fails = set(fails)
        """(trial, epoch) that ends in a failure instead of a row."""
        self.epochs = [0] * len(self.curves)
        self.running, self.held, self.waiting = [], [], list(range(len(self.curves)))
        self.rows, self.asked = [], []

    def run(self):
        while True:
            self._fill_workers()
            if not self.running:
                return self
            self._step(self.running[self.order.integers(len(self.running))])

    def _fill_workers(self):
        while len(self.running) < self.workers:
            may_start = bool(self.waiting)
            question = (len(self.rows), tuple(self.held), tuple(self.running), may_start)
            number = self.rule.promote(self.held, self.running, may_start=may_start)
            self.asked.append((*question, number))
            if number is not None:
                self.held.remove(number)
            elif may_start:
                number = self.waiting.pop(0)
                self.rule.on_trial_start(number)
            else:
                return
            self.running.append(number)

    def _step(self, number):
        self.epochs[number] += 1
        epoch = self.epochs[number]
        decision = None
        if (number, epoch) not in self.fails:
            self.rows.append((number, row(epoch, self.curves[number, epoch - 1])))
            decision = self.rule.on_result(*self.rows[-1])
        if decision is Decision.CONTINUE and epoch < self.curves.shape[1]:
            return
        self.running.remove(number)
        if decision is Decision.PAUSE:
            self.held.append(number)


def halved(curves, levels, factor):
    """Epochs of each trial if all of a rung are known before the best of them go on."""
    curves = np.asarray(curves)
    epochs = np.zeros(len(curves), int)
    remaining = np.arange(len(curves))
    for level in levels:
        epochs[remaining] = level
        best = remaining[np.argsort(curves[remaining, level - 1], kind="stable")]
        remaining = best[: max(1, int(len(best) / factor))]
    epochs[remaining] = curves.shape[1]
    return epochs.tolist()


def ideal(n_trials, n_epochs, levels, factor):
    return sum(halved(np.zeros((n_trials, n_epochs)), levels, factor))


def curves_of(seed, n_trials, n_epochs):
    return np.random.default_rng(seed).uniform(size=(n_trials, n_epochs))


def rule_of(name, epochs, **scheduler):
    return make_rule(space_of(name, epochs, **scheduler))


def space_of(name, epochs, **scheduler):
    content = {
        "budget": {"trials": 24, "epochs": epochs},
        "scheduler": {"name": name, **scheduler},
        "space": {"dropout": {"float": [0.0, 0.5]}},
    }
    return parse_space(content, "test", Path())


# --- promotion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("seed", range(20))
def test_promotion_spends_what_ideal_halving_does_on_the_same_trials(workers, seed):
    shape = np.random.default_rng(seed)
    n_trials, n_epochs = int(shape.integers(1, 40)), int(shape.integers(1, 30))
    grace, factor = int(shape.integers(1, n_epochs + 1)), float(shape.choice([1.5, 2, 3, 4]))
    curves = curves_of(seed, n_trials, n_epochs)
    scheduler = {"grace_period": grace, "reduction_factor": factor}
    (rungs,) = bracket_rungs(space_of("asha-promote", n_epochs, **scheduler))

    race = Race(PromotionRule(rungs, factor), curves, workers, seed).run()

    assert race.epochs == halved(curves, rungs, factor)


def test_of_24_trials_8_go_on_to_epoch_3_and_2_to_the_last():
    race = Race(rule_of("asha-promote", 9), curves_of(1, 24, 9)).run()

    assert sorted(race.epochs) == [1] * 16 + [3] * 6 + [9] * 2
    assert sum(race.epochs) == 52


@pytest.mark.parametrize("n_trials", [1, 2])
def test_of_fewer_trials_than_the_factor_the_best_goes_to_the_end(n_trials):
    curves = curves_of(5, n_trials, 9)

    race = Race(PromotionRule([1, 3], 3.0), curves).run()

    assert race.epochs[int(curves[:, 0].argmin())] == 9
    assert sorted(race.epochs)[:-1] == [1] * (n_trials - 1)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("seed", range(30))
def test_with_failures_every_search_ends_within_the_epochs_of_ideal_halving(workers, seed):
    """Each failure makes a rung smaller, so failures never cost more than they save."""
    random = np.random.default_rng(seed)
    fails = [(n, int(random.integers(1, 10))) for n in range(24) if random.random() < 0.4]
    curves = curves_of(seed, 24, 9)

    race = Race(PromotionRule([1, 3], 3.0), curves, workers, seed, fails).run()

    assert sum(race.epochs) <= ideal(24, 9, [1, 3], 3.0)
    ended = [n for n in range(24) if race.epochs[n] == 9 or (n, race.epochs[n]) in fails]
    for level in (1, 3):
        reached = [n for n, r in race.rows if r["epoch"] == level]
        went_on = [n for n in reached if race.epochs[n] > level]
        best = sorted(reached, key=lambda n: curves[n, level - 1])
        assert set(went_on) == set(best[: max(1, len(reached) // 3)])
    assert set(ended) | set(race.held) == set(range(24))


def test_a_worker_is_given_a_sure_winner_while_another_trial_still_runs():
    rule = PromotionRule([1, 3], 3.0)
    for number in range(5):
        rule.on_result(number, row(1, number))

    assert (
        rule.promote(paused=range(5), running=[5], may_start=False) == 0
    )  # one of two places is safe
    assert rule.promote(paused=[1, 2, 3, 4], running=[0, 5], may_start=False) is None
    rule.on_result(5, row(1, 0.5))
    assert rule.promote(paused=[1, 2, 3, 4, 5], running=[0], may_start=False) == 5


def test_a_place_is_not_sure_while_those_below_may_yet_come_for_it():
    rule = PromotionRule([1, 3], 3.0)
    for number in range(9):
        rule.on_result(number, row(1, number))
    for number in (0, 1):
        rule.on_result(number, row(3, number))

    assert (
        rule.promote(paused=range(9), running=[], may_start=False) == 2
    )  # not 0, which 2 could still beat
    assert rule.promote(paused=[0, 1, *range(3, 9)], running=[2], may_start=False) is None
    rule.on_result(2, row(3, 0.5))
    assert rule.promote(paused=range(9), running=[], may_start=False) == 0


def test_a_trial_ended_by_hand_uses_its_place_up_and_no_worse_one_gets_it():
    rule = PromotionRule([1, 3], 3.0)
    for number in range(6):
        rule.on_result(number, row(1, number))

    assert rule.promote(paused=[1, 2, 3, 4, 5], running=[], may_start=False) == 1  # 0 was ended
    assert rule.promote(paused=[2, 3, 4, 5], running=[], may_start=False) is None


@pytest.mark.parametrize("rule_type", [PromotionRule, PromoteFirstRule])
@pytest.mark.parametrize("seed", range(5))
def test_after_a_replay_of_any_rows_the_same_trials_are_promoted(seed, rule_type):
    fails = [(3, 1), (7, 2)]
    race = Race(rule_type([1, 3], 3.0), curves_of(seed, 13, 9), 2, seed, fails).run()

    for n_rows, held, running, may_start, promoted in race.asked:
        rule = rule_type([1, 3], 3.0)
        for number, each in race.rows[:n_rows]:
            rule.on_result(number, each)
        assert rule.promote(held, running, may_start=may_start) == promoted


def test_while_new_trials_may_start_no_trial_is_certain_to_be_among_the_best():
    rule = PromotionRule([1, 3], 3.0)
    for number in range(6):
        rule.on_result(number, row(1, number))

    assert rule.promote(paused=range(6), running=[], may_start=True) is None
    assert rule.promote(paused=range(6), running=[], may_start=False) == 0


def test_a_trial_that_waits_where_there_is_no_rung_goes_on_to_the_next():
    """An older version had them at the nearest whole epoch: with a factor of 2.5 at 1, 2, 6, 16."""
    rule = rule_of("asha-promote", 27, reduction_factor=2.5)
    for number in range(6):
        assert rule.on_result(number, row(1, number)) is Decision.PAUSE
    assert rule.on_result(1, row(2, 1)) is Decision.CONTINUE  # it waits here in the record

    assert rule.promote(paused=[0, 1, 2, 3, 4, 5], running=[], may_start=False) == 1
    assert rule.promote(paused=[0, 2, 3, 4, 5], running=[1], may_start=False) == 0
    assert rule.on_result(1, row(3, 1)) is Decision.PAUSE


# --- promotion before new trials ---------------------------------------------------------------


def first_rule():
    return rule_of("promote", 9)


def test_before_a_new_trial_is_started_the_best_third_so_far_goes_on():
    rule = first_rule()
    for number, loss in enumerate([0.5, 0.3]):
        rule.on_result(number, row(1, loss))
    assert rule.promote(paused=[0, 1], running=[], may_start=True) is None

    rule.on_result(2, row(1, 0.4))

    assert rule.promote(paused=[0, 1, 2], running=[], may_start=True) == 1
    assert rule.promote(paused=[0, 2], running=[1], may_start=True) is None


def test_a_later_trial_takes_no_place_from_those_that_went_on_before_it():
    rule = first_rule()
    for number in range(3):
        rule.on_result(number, row(1, 1 - number / 10))
    assert rule.promote(paused=[0, 1, 2], running=[], may_start=True) == 2

    rule.on_result(3, row(1, 0.1))

    assert rule.promote(paused=[0, 1, 3], running=[2], may_start=True) == 3


def test_the_highest_rung_with_a_trial_to_promote_comes_first():
    rule = first_rule()
    for number in range(12):
        rule.on_result(number, row(1, number))
    for number in range(3):
        rule.on_result(number, row(3, number))

    assert rule.promote(paused=range(12), running=[], may_start=True) == 0
    assert rule.promote(paused=range(1, 12), running=[0], may_start=True) == 3


def test_a_trial_that_was_ended_uses_its_place_up_before_new_ones_too():
    rule = first_rule()
    for number in range(3):
        rule.on_result(number, row(1, number))

    assert rule.promote(paused=[1, 2], running=[], may_start=True) is None


@pytest.mark.parametrize("workers", [1, 2, 5, 40])
@pytest.mark.parametrize("seed", range(20))
def test_in_the_end_the_best_of_each_rung_have_gone_on_and_one_to_its_last_epoch(seed, workers):
    n_trials = int(np.random.default_rng(seed).integers(1, 40))
    curves = curves_of(seed, n_trials, 9)

    race = Race(first_rule(), curves, workers, seed).run()

    assert 9 in race.epochs
    for level in (1, 3):
        reached = [n for n in range(n_trials) if race.epochs[n] >= level]
        best = sorted(reached, key=lambda n: curves[n, level - 1])[: max(1, len(reached) // 3)]
        assert all(race.epochs[n] > level for n in best)


@pytest.mark.parametrize("seed", range(20))
def test_it_promotes_what_the_paper_does_as_long_as_trials_may_start(seed):
    race = Race(first_rule(), curves_of(seed, 40, 9), 3, seed).run()

    for n_rows, held, _, may_start, promoted in race.asked:
        if may_start:
            assert promoted == get_job(race.rows[:n_rows], held, levels=[1, 3], factor=3)


def get_job(rows, held, levels, factor):
    """Algorithm 2 of Li et al. 2020: the trial to promote, None for a new one."""
    for level in reversed(levels):
        results = {number: row["objective"] for number, row in rows if row["epoch"] == level}
        top = sorted(results, key=results.__getitem__)[: len(results) // factor]
        left = [n for n in top if n in held and not any(
            number == n and row["epoch"] > level for number, row in rows
        )]  # fmt: skip
        if left:
            return left[0]
    return None


# --- Ray's rules -------------------------------------------------------------------------------


def stops(rule, curves):
    """Epoch after which the rule stops each trial, one after another; None if never."""
    return {number: stopped_after(rule, number, curve) for number, curve in curves.items()}


def stopped_after(rule, number, curve):
    rule.on_trial_start(number)
    for epoch, loss in enumerate(curve, start=1):
        if rule.on_result(number, row(epoch, loss)) is Decision.STOP:
            return epoch
    return None


def ever_worse(numbers):
    """Each trial is worse than all before it, so it goes only as far as its bracket lets it."""
    return {number: [float(place)] * 27 for place, number in enumerate(numbers)}


def compared_at(space, one, other):
    """The epochs at which a trial is stopped that is as good as another one until then."""
    found = []
    for epoch in range(1, space.budget.epochs):
        rule = make_rule(space)
        stopped_after(rule, one, [0.0] * epoch)
        if stopped_after(rule, other, [0.0] * (epoch - 1) + [1.0]) == epoch:
            found.append(epoch)
    return found


@pytest.mark.parametrize("factor", [1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 3.7])
@pytest.mark.parametrize("grace", [1, 2, 10])
def test_ray_compares_trials_at_the_rungs_and_at_no_other_epoch(grace, factor):
    space = space_of("asha", 40, grace_period=grace, reduction_factor=factor)

    assert [compared_at(space, 0, 1)] == bracket_rungs(space)


@pytest.mark.parametrize(
    ("factor", "of_each_bracket"),
    [(2.5, [(0, 2), (1, 3), (5, 11)]), (3.0, [(0, 1), (2, 5), (8, 17)])],
)
@pytest.mark.parametrize("grace", [1, 2, 3])
def test_ray_does_so_in_each_bracket_of_hyperband(grace, factor, of_each_bracket):
    space = space_of("hyperband", 40, brackets=3, grace_period=grace, reduction_factor=factor)

    assert [compared_at(space, *pair) for pair in of_each_bracket] == bracket_rungs(space)


def test_hyperband_gives_every_third_and_ninth_trial_a_longer_grace_period():
    graces = [1, 1, 3, 1, 1, 3, 1, 1, 9] * 2
    first_of_their_brackets = {0, 2, 8}

    stopped = stops(rule_of("hyperband", 27, brackets=3), ever_worse(range(18)))

    assert stopped == {
        number: None if number in first_of_their_brackets else grace
        for number, grace in enumerate(graces)
    }


def test_a_trials_bracket_depends_on_its_number_and_not_on_who_came_before():
    order = [17, 16, 14, 15, 13, 11, 8, 9]

    stopped = stops(rule_of("hyperband", 27, brackets=3), ever_worse(order))

    assert list(stopped.values()) == [None, None, None, 1, 1, 3, 9, 1]


def test_asha_stops_at_each_rung_who_is_worse_than_the_best_third():
    curves = [[0.0] * 9, [0.5] * 9, [0.1] * 2 + [0.9] * 7, [0.0] * 9, [1.0] * 9]

    stopped = stops(rule_of("asha", 9), dict(enumerate(curves)))

    assert list(stopped.values()) == [None, 1, 3, None, 1]


def test_the_median_rule_stops_a_trial_worse_than_half_of_the_others():
    curves = [[0.1] * 9, [0.2] * 9, [0.3] * 9, [0.9] * 9, [0.15] * 9]

    stopped = stops(rule_of("median", 9, grace_period=3), dict(enumerate(curves)))

    assert list(stopped.values()) == [None, None, None, 3, None]


def test_without_a_scheduler_every_trial_uses_all_its_epochs():
    rule = rule_of("none", 9)

    assert stops(rule, {0: [0.1] * 9, 1: [0.9] * 9}) == {0: None, 1: None}


def test_a_scheduler_without_a_rule_is_not_taken_for_another():
    space = space_of("asha", 9)
    other = dataclasses.replace(space, scheduler=dataclasses.replace(space.scheduler, name="pasha"))

    with pytest.raises(NotImplementedError, match=r"scheduler.name is pasha, which has no rule"):
        make_rule(other)
