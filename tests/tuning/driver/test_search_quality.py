"""The comparison of methods on a testbed, on one that is made up."""

import json

import numpy as np
import pytest

from tests.benchmarks.search_quality import (
    RANDOM,
    TOTAL_EPOCHS,
    Job,
    Method,
    read_runs,
    run_job,
)
from tests.benchmarks.simulated.regret_table import Run, difference, reach, scores_of, table_lines
from tests.benchmarks.simulated.testbed import EPOCHS, learned_starts, read_testbed
from tune_encoder.errors import ConfigError

TASKS = ("first", "second", "third")
N_CONFIGS = 60


def write_table(folder, name, seed):
    """Curves that end the lower the nearer a config is to one point, the same for all tables."""
    random = np.random.default_rng(seed)
    places = random.random((N_CONFIGS, 2))
    ends = 0.1 + ((places - 0.7) ** 2).sum(axis=1)
    curves = ends[:, None] + 1 / np.arange(1, EPOCHS + 1)
    names, low, high = ["learning_rate", "weight_decay"], [1e-4] * 2, [1e-1] * 2
    np.savez(folder / f"{name}.npz", U=places, Y=curves, names=names, low=low, high=high)
    return [float(curves.min()), float(np.median(curves[:, -1]))]


@pytest.fixture(scope="module")
def testbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("testbed")
    scale = {name: write_table(folder, name, seed) for seed, name in enumerate(TASKS)}
    (folder / "scale.json").write_text(json.dumps(scale))
    return folder


def run(testbed, method, task=0, seed=0, workers=4):
    return run_job(testbed, Job(Method.parse(method), task, seed, workers))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("method", [RANDOM, "asha+tpe", "promote+random", "hyperband+random"])
def test_a_search_spends_the_epochs_and_no_more(testbed, method, workers):
    found = run(testbed, method, workers=workers)

    assert found.spent == TOTAL_EPOCHS
    assert [value for _, value in found.trace] == sorted((v for _, v in found.trace), reverse=True)
    assert found.n_full >= 2


def test_a_rule_that_fills_its_rungs_gets_as_many_trials_as_the_epochs_suffice_for(testbed):
    found = run(testbed, "asha-promote+random")

    assert (found.n_trials, found.n_full) == (174, 6)
    assert 0.95 * TOTAL_EPOCHS < found.spent <= TOTAL_EPOCHS


def test_a_search_finds_the_same_again_and_something_else_with_other_seeds_and_tasks(testbed):
    found = run(testbed, "promote+random")

    assert run(testbed, "promote+random") == found
    assert run(testbed, "promote+random", seed=1).trace != found.trace
    firsts = [Method.parse(RANDOM).space(task, 0).searcher.seed for task in read_testbed(testbed)]
    assert len({*firsts}) == len(TASKS)


def test_starts_are_learned_on_the_other_tasks_and_tried_first(testbed):
    tasks = read_testbed(testbed)

    starts = learned_starts(tasks[0], tasks, 3, seed=0)

    best = tasks[0].curve(starts[0]).min()
    assert tasks[0].regret(best) < 0.3
    with_starts, without = (
        np.mean([run(testbed, m, seed=s).regrets(tasks[0])[0] for s in range(3)])
        for m in ("promote+random+starts=3", "promote+random")
    )
    assert with_starts < without


def test_the_regret_of_the_best_config_is_0_and_of_a_median_one_trained_fully_1(testbed):
    (task, *_) = read_testbed(testbed)

    assert task.regret(task.best) == 0
    assert task.regret(task.median) == 1
    assert task.regret(100.0) == 1.5
    assert task.regret(0.0) == 0


def runs_of(method, values, seed=0):
    return [Run(method, n, seed, [(1, 9.0), (500, v)], 20, 3, 1000) for n, v in values.items()]


def test_the_table_compares_each_method_with_random_search_and_with_the_best_peer(testbed):
    tasks = read_testbed(testbed)
    halves = {task.name: (task.best + task.median) / 2 for task in tasks}
    mine = runs_of(RANDOM, {t.name: t.median for t in tasks}) + runs_of("promote+gp", halves)
    peers = runs_of("theirs", {t.name: t.best for t in tasks}) + runs_of("part", {"first": 0.0})

    header, *lines, last = table_lines(tasks, mine, peers, RANDOM)

    figures = {line[:52].strip(): line[52:].split() for line in lines}
    assert "final - best peer" in header
    assert list(figures) == ["peer: theirs", "peer: part", "promote+gp", RANDOM]
    assert figures["promote+gp"][:2] == ["3", "50.0"]
    assert figures["promote+gp"][8:11] == ["0.50", "-50.0", "+-"]
    assert figures["promote+gp"][-3:] == ["+50.0", "+-", "0.0"]
    assert last == "best peer that was run on all tasks: theirs"


def test_the_area_is_the_mean_regret_over_the_epochs(testbed):
    tasks = read_testbed(testbed)
    (scores,) = scores_of(runs_of("any", {"first": tasks[0].best}), tasks)

    assert scores.final[0] == 0
    assert scores.area[0] == pytest.approx(150 * 24 / 50)  # 20, 40, ... 480 of 1,000 epochs


def test_a_method_that_never_has_the_regret_of_the_other_reaches_it_never(testbed):
    tasks = read_testbed(testbed)
    best = tasks[0].best
    better, worse = scores_of(
        [*runs_of("better", {"first": best}), *runs_of("worse", {"first": best + 0.01})], tasks
    )

    assert (reach(better, worse), reach(worse, worse)) == (0.5, 0.5)
    assert reach(worse, better) == float("inf")


def test_a_difference_has_an_interval_over_the_tasks_that_both_have():
    one, other = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 9.0}, {"a": 0.0, "b": 0.0, "c": 0.0}

    mean, half = difference(one, other)

    assert mean == 2
    assert half == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)  # of Student's t, 2 degrees


def test_traces_are_read_as_they_are_written(tmp_path):
    written = {"method": "peer", "task": "first", "seed": 100, "trace": [[1, 0.5], [7, 0.25]]}
    line = json.dumps({**written, "n_trials": 9, "n_full": 2, "spent": 1000})
    (tmp_path / "peers.jsonl").write_text(f"{line}\n")

    (found,) = read_runs(tmp_path / "peers.jsonl")

    assert (found.method, found.trace[-1], found.workers) == ("peer", (7, 0.25), 4)
    assert read_runs(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("asha+tpe+start=8", "unknown option 'start'; known: starts, grace, factor, startup"),
        ("ahsa+tpe", "name is 'ahsa'"),
        ("asha", "no searcher in 'asha'"),
    ],
)
def test_an_unknown_method_is_refused(method, message):
    with pytest.raises(ConfigError, match=message):
        Method.parse(method)


def test_a_folder_without_tasks_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"no tasks; a testbed has \*.npz or lcbench.json"):
        read_testbed(tmp_path)


def test_a_testbed_without_what_its_tasks_need_is_refused(tmp_path):
    write_table(tmp_path, "first", 0)
    with pytest.raises(SystemExit, match=r"scale.json: missing; a testbed needs it"):
        read_testbed(tmp_path)

    (tmp_path / "scale.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"scale.json: lacks first"):
        read_testbed(tmp_path)
