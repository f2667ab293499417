"""Searches between two metrics, on curves and without Ray."""

import json

import optuna
import pytest

from tests.builders import new_experiment, parse_space
from tests.tuning.driven import DrivenSearch
from tune_encoder.experiment.folder import STUDY_NAME
from tune_encoder.experiment.front import FrontPoint, describe_front, pareto_front
from tune_encoder.experiment.status import search_status, status_lines
from tune_encoder.experiment.trials import rank_trials
from tune_encoder.tuning.driver.steering import ENDED_BY_USER
from tune_encoder.tuning.extend import extend_search
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.repair import repair
from tune_encoder.tuning.record.stored_study import study_url

SEARCHERS = ["nsga2", "tpe", "random"]
EPOCHS = 3


def space_of(searcher="nsga2", trials=14, second="parameters", **more):
    return parse_space(
        {
            "metric": {"name": "val_loss", "second": second},
            "budget": {"trials": trials, "epochs": EPOCHS},
            "scheduler": {"name": "none"},
            "searcher": {"name": searcher, "startup_trials": 4},
            "space": {"hidden_dim": {"int": [8, 64]}, "dropout": {"float": [0.0, 0.5]}},
            **more,
        }
    )


def size_of(settings):
    return {"parameters": 1000 * settings["hidden_dim"]}


def number_of(trial, name):
    value = trial.settings[name]
    assert isinstance(value, int | float)
    return value


class Search(DrivenSearch):
    """A larger network with less dropout has a lower loss."""

    def __init__(self, experiment, space, **more):
        super().__init__(experiment, space, self.loss_of, measured=size_of, **more)

    def loss_of(self, number, epoch):
        trial = self.record.trials[number]
        return (1 + number_of(trial, "dropout") + 8 / number_of(trial, "hidden_dim")) / epoch


def searched(folder, space, every=None, **more):
    search = Search(new_experiment(folder, "curves", space), space, **more)
    search.run() if every is None else search.run_in_pieces(every)
    return search


def study_of(experiment):
    return optuna.load_study(study_name=STUDY_NAME, storage=study_url(experiment.study_path))


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_the_study_has_two_directions_and_both_values_of_each_trial(tmp_path, searcher):
    search = searched(tmp_path, space_of(searcher))

    study = study_of(search.experiment)
    assert [each.name for each in study.directions] == ["MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["val_loss", "parameters"]
    assert len(study.trials) == 14
    for trial, own in zip(study.trials, search.experiment.trials(), strict=True):
        assert trial.values == [own.rows[-1]["val_loss"], own.rows[-1]["parameters"]]


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_the_front_is_that_of_optuna(tmp_path, searcher):
    search = searched(tmp_path, space_of(searcher))

    front = pareto_front(search.space, search.experiment.trials())

    assert {point["trial"] for point in front} == {
        t.number for t in study_of(search.experiment).best_trials
    }
    losses = [point["values"]["val_loss"] for point in front]
    sizes = [point["values"]["parameters"] for point in front]
    assert losses == sorted(losses)
    assert sizes == sorted(sizes, reverse=True)
    assert rank_trials(search.experiment.trials())[0].number == front[0]["trial"]


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_interrupted_again_and_again_it_proposes_the_same_configs(tmp_path, searcher):
    space = space_of(searcher)

    whole = searched(tmp_path / "whole", space)
    pieces = searched(tmp_path / "pieces", space, every=4)

    assert pieces.outcome() == whole.outcome()


def test_of_two_scores_one_may_be_better_when_it_is_higher(tmp_path):
    space = space_of(second="val_skill")
    search = Search(new_experiment(tmp_path, "curves", space), space)
    search._measured = lambda settings: {"val_skill": settings["dropout"]}
    search.run()

    study = study_of(search.experiment)
    assert [each.name for each in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    front = pareto_front(space, search.experiment.trials())
    assert {point["trial"] for point in front} == {each.number for each in study.best_trials}


def test_genetic_proposals_come_nearer_to_the_front_than_random_ones(tmp_path):
    """Without dropout a network is as good as its size allows."""
    drawn, bred = (
        searched(tmp_path / name, space_of(name, trials=60)) for name in ("random", "nsga2")
    )

    dropouts = [
        sum(number_of(trial, "dropout") for trial in search.experiment.trials()[-30:]) / 30
        for search in (drawn, bred)
    ]
    assert dropouts[1] < 0.7 * dropouts[0]


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_trial_that_the_user_ended_or_that_failed_does_not_stop_the_others(tmp_path, searcher):
    space = space_of(searcher)
    search = Search(new_experiment(tmp_path, "curves", space), space)
    while search.record.n_started() < 8 or len(search.record.running()) < 2:
        search.step()
    failed, ended = search.record.running()
    search.scheduler.end_requests[ended] = ENDED_BY_USER
    search.scheduler.fail(failed, "it diverged")

    search.run()

    trials = search.experiment.trials()
    assert len(trials) == 14
    assert (trials[failed].state, trials[ended].state) == ("FAIL", "PRUNED")
    assert study_of(search.experiment).trials[ended].values is None


def test_one_that_breaks_a_constraint_is_not_on_the_front(tmp_path):
    space = space_of(constraints={"val_spread": {"max": 0.25}})
    search = Search(new_experiment(tmp_path, "curves", space), space)
    search._measured = lambda settings: {**size_of(settings), "val_spread": settings["dropout"]}
    search.run()

    trials = search.experiment.trials()
    broken = {t.number for t in trials if number_of(t, "dropout") > 0.25}
    front = {point["trial"] for point in pareto_front(space, trials)}
    assert broken
    assert front.isdisjoint(broken)
    assert front == {trial.number for trial in study_of(search.experiment).best_trials}


def test_more_trials_and_more_epochs_continue_it(tmp_path):
    space = space_of()
    search = searched(tmp_path, space)

    wider = extend_search(search.experiment, space, {"trials": 18, "epochs": 5})
    again = Search(search.experiment, wider)
    again.run()

    trials = search.experiment.trials()
    assert [len(trial.rows) for trial in trials] == [5] * 18
    front = {point["trial"] for point in pareto_front(wider, trials)}
    assert front == {trial.number for trial in study_of(search.experiment).best_trials}


def test_a_repaired_record_has_both_values_again(tmp_path):
    space = space_of(constraints={"parameters": {"max": 40_000}})
    search = searched(tmp_path, space, known=size_of)
    for trial in search.experiment.trials():
        _write_metrics(search.experiment, trial)
    before = study_of(search.experiment).best_trials

    repair(search.experiment, force=True)

    after = study_of(search.experiment).best_trials
    assert [(each.number, each.values) for each in after] == [
        (each.number, each.values) for each in before
    ]
    assert after[0].constraints["parameters max"] <= 0


def _write_metrics(experiment, trial):
    text = "".join(json.dumps(row) + "\n" for row in trial.rows)
    if text:
        experiment.trial_metrics(trial.number).write_text(text)


def test_a_fork_takes_over_trials_that_have_both_values(tmp_path):
    search = searched(tmp_path, space_of())
    wider = space_of(trials=20)
    fork = new_experiment(tmp_path, "fork", wider, forked_from="curves")

    Record.open(fork, wider)

    taken = study_of(fork).trials[:14]
    assert [each.values for each in taken] == [
        each.values for each in study_of(search.experiment).trials
    ]


def test_a_fork_leaves_out_trials_whose_second_value_is_not_known(tmp_path):
    searched(tmp_path, space_of())
    other = space_of(second="clone_ms")
    fork = new_experiment(tmp_path, "fork", other, forked_from="curves")

    Record.open(fork, other)

    assert [each.state.name for each in study_of(fork).trials] == ["WAITING"]


def test_the_status_says_how_many_are_on_the_front_and_between_which_values(tmp_path):
    search = searched(tmp_path, space_of())

    view = search_status(search.space, search.experiment.trials(), None, None)

    assert view["front"] is not None
    first, last = view["front"][0]["values"], view["front"][-1]["values"]
    assert (
        f"front   {len(view['front'])} trials: val_loss {first['val_loss']:.4g} to "
        f"{last['val_loss']:.4g}, parameters {first['parameters']:,} to {last['parameters']:,}"
    ) in status_lines(view, unicode=False)


def test_a_front_of_no_trial_and_of_one():
    assert describe_front([]) == "none yet"
    only: FrontPoint = {"trial": 3, "epoch": 1, "values": {"val_loss": 0.5, "parameters": 12_345}}
    assert describe_front([only]) == "1 trial: val_loss 0.5, parameters 12,345"
