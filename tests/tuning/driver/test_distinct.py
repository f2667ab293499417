"""No config is trained twice in a search, without Ray: finite spaces, queued and added configs."""

from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from tests.builders import make_search, new_experiment, parse_space
from tests.tuning.driven import DrivenSearch
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.status import is_over
from tune_encoder.space import new_space
from tune_encoder.space.plan import plan_search
from tune_encoder.system.deadline import Deadline
from tune_encoder.tuning.driver.launch import launch_search
from tune_encoder.tuning.extend import extend_search
from tune_encoder.tuning.record.distinct import DistinctSampler
from tune_encoder.tuning.record.samplers import make_sampler

SEARCHERS = ("random", "tpe", "gp")
SEARCHED = {
    "head": {"choice": ["pca", "lowrank"]},
    "head_rank": {"int": [16, 18], "when": {"head": "lowrank"}},
    "dropout": {"float": [0.1, 0.3], "step": 0.1},
}
N_CONFIGS = (1 + 3) * 3  # head_rank does not apply to pca


def space_of(searcher="random", trials=40, scheduler="promote", searched=SEARCHED, **content):
    return parse_space(
        {
            "budget": {"trials": trials, "epochs": 3},
            "scheduler": {"name": scheduler},
            "searcher": {"name": searcher, "startup_trials": 4},
            "space": searched,
            **content,
        }
    )


def search_in(folder, space):
    return DrivenSearch(
        new_experiment(folder, "mine", space), space, lambda n, epoch: (n % 5 + 1) / epoch
    )


def configs(search):
    space = search.space
    return [space.config_key(trial.settings) for trial in search.experiment.trials()]


@pytest.mark.parametrize("scheduler", ["none", "asha", "promote", "asha-promote"])
@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_space_that_is_used_up_ends_the_search_with_each_config_tried_once(
    tmp_path, searcher, scheduler
):
    search = search_in(tmp_path, space_of(searcher, scheduler=scheduler))

    search.run()

    assert len(configs(search)) == len({*configs(search)}) == N_CONFIGS
    trials = search.experiment.trials()
    assert {trial.state for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert is_over(search.space, trials)
    assert not search.record.has_work()


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_resumed_again_and_again_it_tries_the_same_configs(tmp_path, searcher):
    space = space_of(searcher)
    whole, pieces = (search_in(tmp_path / name, space) for name in ("whole", "pieces"))

    whole.run()
    pieces.run_in_pieces(2)

    assert pieces.outcome() == whole.outcome()


def test_a_plan_has_no_more_trials_than_there_are_configs():
    assert plan_search(space_of()).trials == N_CONFIGS
    assert plan_search(space_of(trials=5)).trials == 5
    with_closed_form = space_of(searcher="random")
    assert with_closed_form.n_configs == N_CONFIGS


def test_the_end_of_a_space_is_said_in_one_line_also_when_it_is_resumed(tmp_path, capsys):
    search = search_in(tmp_path, space_of())
    search.run()

    wider = extend_search(search.experiment, search.space, {"trials": 99})
    search.space = wider
    search.start()
    launch_search(search.record, Path("none"), Deadline())

    assert wider.budget.trials == 40
    assert capsys.readouterr().out == "every config of the space has been tried: 12 trials\n"


# --- proposals -----------------------------------------------------------------------------------


class Stubborn(optuna.samplers.RandomSampler):
    """Always proposes the same."""

    def sample_independent(self, study, trial, param_name, param_distribution):
        return param_distribution.to_external_repr(param_distribution.to_internal_repr(0.2))


def proposal(space, taken, sampler, fixed=None):
    study = optuna.create_study(sampler=DistinctSampler(sampler, space, taken, seed=3))
    if fixed is not None:
        study.enqueue_trial(fixed)
    return space.config_key(space.sample(study.ask()))


def test_what_was_tried_is_drawn_again_at_random_where_the_sampler_insists():
    space = space_of(searched={"dropout": {"float": [0.0, 0.5]}})
    insists = space.config_key({"dropout": 0.2})

    assert proposal(space, set(), Stubborn()) == insists
    other = proposal(space, {insists}, Stubborn())
    assert other != insists
    assert proposal(space, {insists}, Stubborn()) == other


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_the_last_of_many_configs_is_found(searcher):
    space = space_of(searcher, searched={"hidden_dim": {"int": [8, 2007]}}, trials=2000)
    every = {space.config_key(each) for each in space.all_configs(2000) or []}
    left = space.config_key({"hidden_dim": 1999})

    assert len(every) == space.n_configs == 2000
    assert proposal(space, every - {left}, make_sampler(space, 9)) == left


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_what_a_queued_config_leaves_open_is_drawn_so_that_it_is_new(searcher):
    space = space_of(searcher)
    every = {space.config_key(each) for each in space.all_configs(40) or []}
    left = space.config_key({"head": "lowrank", "head_rank": 17, "dropout": 0.3})

    found = proposal(space, every - {left}, make_sampler(space, 9), {"head_rank": 17})

    assert found == left


def test_configs_are_the_same_where_they_differ_in_what_does_not_apply_or_by_rounding():
    space = space_of()
    key = space.config_key({"head": "pca", "head_rank": 17, "dropout": 0.1 + 0.2})

    assert key == space.config_key({"head": "pca", "dropout": 0.3})
    assert key != space.config_key({"head": "lowrank", "head_rank": 17, "dropout": 0.3})
    assert space.config_key({"head": "lowrank", "dropout": 0.3}) is None
    with_seed = space_of(searched={**SEARCHED, "seed": {"int": [0, 1]}})
    seeds = [with_seed.config_key({"head": "pca", "dropout": 0.3, "seed": n}) for n in (0, 1)]
    assert seeds[0] != seeds[1]


# --- what a user asks for ------------------------------------------------------------------------

TWICE = [{"head": "pca", "dropout": 0.1}, {"head": "pca", "dropout": 0.1, "head_rank": 16}]


def test_a_config_that_an_older_search_queued_twice_is_trained_once(tmp_path):
    search = search_in(tmp_path, space_of("tpe", start=TWICE))

    search.run()

    first, second, *others = search.experiment.trials()
    assert (first.state, second.state) == ("COMPLETE", "FAIL")
    assert second.reason == "not trained: trial 0 has the same config"
    assert [trial.rows for trial in (second,)] == [[]]
    assert len(others) == N_CONFIGS - 1
    assert {trial.state for trial in others} <= {"COMPLETE", "PRUNED"}


def test_a_copy_that_a_killed_search_had_begun_is_not_trained_at_the_resume(tmp_path):
    search = search_in(tmp_path, space_of(start=TWICE))
    search.record.ask()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.record, "fail", lambda *_: None)  # as if killed before it
        search.record.ask()

    search.start()
    search.run()

    assert search.experiment.trials()[1].reason == "not trained: trial 0 has the same config"


def test_a_config_of_the_search_is_not_added_and_that_is_said(tmp_path, capsys):
    search = search_in(tmp_path, space_of(trials=3))
    search.run()
    config = search.space.searched_settings(search.experiment.trials()[0].settings)

    for asked in (config, {"dropout": 0.1}):
        Controls(search.experiment).request_add(asked)
    search.run()

    assert len({*configs(search)}) == 4
    assert search.record.space.budget.trials == 4
    pairs = " ".join(f"{name}={value}" for name, value in config.items())
    assert capsys.readouterr().out == f"add: {pairs} is a config of this search already\n"


def test_a_config_is_queued_once(tmp_path):
    record = search_in(tmp_path, space_of(trials=3)).record
    config = {"head": "pca", "dropout": 0.1}

    assert [record.add(config), record.add({**config, "head_rank": 17})] == [True, False]


def test_a_config_that_failed_may_be_added_again(tmp_path):
    search = search_in(tmp_path, space_of(trials=3, start=TWICE[:1]))
    record = search.record
    record.fail(record.ask().number, "the worker died")

    assert record.add(TWICE[0])
    assert record.ask().state == "RUNNING"


def test_the_command_add_refuses_a_config_that_has_been_tried(tmp_path, capsys, monkeypatch):
    from tune_encoder.cli import main

    space = space_of()
    tried = [("COMPLETE", TWICE[0], [0.5]), ("FAIL", {"head": "pca", "dropout": 0.2}, [])]
    made = make_search(tmp_path, space, tried)
    said = []
    for words in ("head=pca dropout=0.1", "head=pca dropout=0.2", "dropout=0.1"):
        with pytest.raises(SystemExit) as ended:
            main(["add", "mine", *words.split(), "--root", str(tmp_path)])
        said.append(SimpleNamespace(code=ended.value.code, err=capsys.readouterr().err))

    assert [each.code for each in said] == [2, 0, 0]
    assert said[0].err == (
        "tune-encoder: command line: trial 0 of mine has this config; see "
        f"`{made.command('show')} 0`, or change a setting\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"space": {}},
            "my.yaml: space is empty, so all trials would be the same; list at least one setting, "
            "or use `tune-encoder train` for a single run",
        ),
        (
            {"space": SEARCHED, "start": [{"dropout": 0.2}, *TWICE]},
            "my.yaml, start: config 3 is the same as config 2; write it once",
        ),
        (
            {"space": SEARCHED, "scheduler": {"name": "asha-promote"}},
            "my.yaml, scheduler: name is asha-promote, which only searches of earlier versions "
            "have; write promote, which has replaced it",
        ),
    ],
)
def test_a_new_search_is_not_begun_with_what_only_older_ones_have(content, message):
    with pytest.raises(ConfigError) as refused:
        new_space(content, "my.yaml", Path())

    assert str(refused.value) == message
    assert parse_space(content) is not None  # one that has been begun is read
