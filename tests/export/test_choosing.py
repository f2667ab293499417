"""Which epoch is exported, and why; nothing is written."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.export.conftest import change_row, confirmed, rows_by_loss
from tune_encoder.errors import ConfigError, SearchFailed
from tune_encoder.experiment.confirmation import newest_confirmation
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.export import choose

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # the first trains and exports


def test_the_objective_of_the_search_decides_and_not_the_loss(experiment):
    trial, _ = rows_by_loss(experiment)[0]
    last = trial.rows[-1]
    assert last is not min(trial.rows, key=lambda row: row["val_loss"])
    change_row(experiment, trial.number, {**last, "objective": -1.0})

    (choice,) = choose(experiment, 1)

    assert (choice.trial.number, choice.row["epoch"]) == (trial.number, last["epoch"])


def test_each_of_several_is_of_another_trial_and_says_its_rank(searched):
    first, second = choose(searched, 5)

    assert (first.trial.number, second.trial.number) == (1, 0)
    assert first.why == "the lowest val_loss of 2 trials"
    assert second.why == "number 2 by val_loss of 2 trials"
    assert objective(first.row) < objective(second.row)
    assert first.trained_in == "made"


def test_a_trial_that_is_asked_for_is_chosen_and_no_other_stands_in_for_it(experiment):
    (choice,) = choose(experiment, 1, 0)

    assert choice.trial.number == 0
    assert choice.row == choice.trial.best
    assert choice.why == "the trial that was asked for"
    shutil.rmtree(experiment.checkpoints / "1" / "0000")
    with pytest.raises(SearchFailed, match=r"made: trial 0 has no usable checkpoint$"):
        choose(experiment, 1, 0)
    with pytest.raises(ConfigError, match=r"made: no trial 7; there are 2, from 0 to 1$"):
        choose(experiment, 1, 7)


def test_an_epoch_that_breaks_a_constraint_is_not_chosen_by_itself(experiment):
    for trial, row in rows_by_loss(experiment):
        if trial.number == 1:
            change_row(experiment, 1, {**row, "violation": 0.5})

    (choice,) = choose(experiment, 1)

    assert choice.trial.number == 0
    assert choose(experiment, 1, 1)[0].trial.number == 1


def test_the_confirmed_config_comes_first_then_the_other_trials(experiment, packed):
    confirming = confirmed(experiment, packed)
    found = newest_confirmation(experiment)
    assert found is not None
    best, other = found.configs

    first, second = choose(experiment, 2)

    assert first.search == confirming
    assert first.trained_in == "made/confirm/top2x2"
    assert first.config.learning_rate == best.settings["learning_rate"]
    assert objective(first.row) == min(best.objectives)
    assert first.config.seed in best.seeds
    assert first.why.startswith(
        f"the config of trial {best.trial}, which has the best mean val_loss over 2 further seeds, "
    )
    noise = (
        "significantly better" if found.winner else "though the top 2 do not differ significantly"
    )
    assert noise in first.why
    assert second.trained_in == "made"
    assert second.trial.number == other.trial


def test_a_confirmation_without_the_best_trial_is_ignored_and_the_reason_says_so(
    experiment, packed
):
    confirmed(experiment, packed, "top1x2", n_configs=1)
    trial = experiment.trials()[0]
    change_row(experiment, trial.number, {**trial.rows[-1], "objective": -1.0})

    (choice,) = choose(experiment, 1)

    assert (choice.trained_in, choice.trial.number) == ("made", 0)
    assert choice.why.endswith("; confirm/top1x2 is ignored, since it does not include trial 0")


def test_a_confirmation_that_has_not_ended_is_not_asked(experiment, packed):
    (experiment.path / "confirm" / "top2x2").mkdir(parents=True)
    text = (experiment.path / "search.yaml").read_text()
    (experiment.path / "confirm" / "top2x2" / "search.yaml").write_text(text)

    assert newest_confirmation(experiment) is None
    assert choose(experiment, 1)[0].trained_in == "made"


def test_a_confirmation_without_a_result_is_ignored_and_the_reason_says_so(experiment, packed):
    confirming = confirmed(experiment, packed)
    with closing(sqlite3.connect(confirming.study_path)) as database, database:
        database.execute("UPDATE trials SET state = 'FAIL'")

    (choice,) = choose(experiment, 1)

    assert choice.why == (
        "the lowest val_loss of 2 trials; its confirmation is ignored, since none of its configs "
        "had a result"
    )


def test_without_checkpoints_a_finished_search_is_not_advised_to_resume(experiment):
    shutil.rmtree(experiment.checkpoints)

    with pytest.raises(SearchFailed, match=r"no trial has a usable checkpoint; restore .*/check"):
        choose(experiment, 1)
