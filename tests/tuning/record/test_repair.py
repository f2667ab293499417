import itertools
import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import optuna
import pytest

from tests.builders import parse_space
from tests.tuning.conftest import Command
from tests.tuning.lost import CONTENT, SPACE, Search, delete, overwrite, run, study, truncate
from tune_encoder.config import read_yaml, write_yaml
from tune_encoder.space import override_space, space_to_content
from tune_encoder.tuning.record.record import Record


@pytest.fixture
def search(tmp_path):
    return Search(tmp_path / "runs")


# --- what is rebuilt -----------------------------------------------------------------------------


def test_settings_and_epochs_are_those_that_were_recorded(search):
    search.trial([0.9, 0.5, 0.6, 0.7], kept=[2, 4], finished=True)
    search.trial([0.8, 0.7], kept=[2])
    search.trial([], kept=[])
    old = study(search.experiment)

    before, after, done = search.repaired()

    assert [t.state for t in after] == ["COMPLETE", "RUNNING", "RUNNING"]
    assert [t.settings for t in after] == [t.settings for t in before]
    for ours, theirs in zip(study(search.experiment).trials, old.trials, strict=True):
        assert (ours.number, ours.value) == (theirs.number, theirs.value)
        assert (ours.params, ours.distributions) == (theirs.params, theirs.distributions)
        assert ours.intermediate_values == theirs.intermediate_values
    assert (done.states, done.epochs, done.checkpoints) == ({"COMPLETE": 1, "RUNNING": 2}, 6, 3)
    assert (done.lost, done.backup) == ([], None)


def test_rows_are_whole_again_but_for_checkpoints_that_are_gone(search):
    search.trial([0.9, 0.5, 0.6], kept=[2, 3])

    (before,), (after,), _ = search.repaired()

    gone = {"checkpoint", "checkpoint_sha256"}
    assert after.rows[1:] == before.rows[1:]
    assert after.rows[0] == {n: v for n, v in before.rows[0].items() if n not in gone}


def test_the_value_of_a_complete_trial_is_its_best_by_the_metric_of_the_space(tmp_path):
    content = {**CONTENT, "metric": {"name": "val_skill"}}
    search = Search(tmp_path, parse_space(content, "test", Path()))
    search.trial([0.9, 0.2, 0.4], finished=True)

    search.repaired()

    found = study(search.experiment)
    assert found.direction is optuna.study.StudyDirection.MAXIMIZE
    assert found.best_value == 0.8
    assert [row["objective"] for row in search.experiment.trials()[0].rows] == [
        pytest.approx(value) for value in (-0.1, -0.8, -0.6)
    ]


def test_a_trial_that_was_stopped_or_failed_is_left_for_the_scheduler_to_decide_on(search):
    search.record.prune(search.trial([0.9]))
    search.record.fail(search.trial([0.8]), "the loss is NaN")

    _, after, _ = search.repaired()

    assert [(t.state, t.reason) for t in after] == [("RUNNING", "")] * 2


def test_epochs_are_in_the_order_in_which_they_must_have_been_written(search):
    late, early = search.trial([0.9, 0.8]), search.trial([0.7, 0.6, 0.5])
    search.wrote_at(late, 1000.0)  # its epochs ended at 999 and 1000
    search.wrote_at(early, 999.5)  # and these at 997.5, 998.5 and 999.5

    _, after, _ = search.repaired()

    assert [row["order"] for row in after[late].rows] == [2, 4]
    assert [row["order"] for row in after[early].rows] == [0, 1, 3]


def test_configs_that_wait_to_be_tried_first_wait_again(search):
    search.trial([0.9])

    _, after, done = search.repaired()

    assert done.states == {"RUNNING": 1, "WAITING": 1}
    assert [t.state for t in after] == ["RUNNING"]
    asked = Record.open(search.experiment, SPACE).ask()
    assert asked is not None
    assert (asked.number, asked.settings["head"], asked.settings["dropout"]) == (1, "lowrank", 0.2)


def test_a_trial_that_left_nothing_begins_anew_under_its_number(search):
    for _ in range(4):
        search.trial([0.5])
    shutil.rmtree(search.experiment.trial_dir(1))
    shutil.rmtree(search.experiment.trial_dir(2))

    _, after, done = search.repaired()

    assert done.lost == ["trial 2: nothing can be read; it starts again with new settings"]
    assert [(t.number, t.state) for t in after] == [(n, "RUNNING") for n in (0, 3)]
    record = Record.open(search.experiment, SPACE)
    assert [t.number for t in record.unfinished()] == [0, 3]
    asked = [record.ask(), record.ask()]
    assert [t.number for t in asked] == [1, 2]
    assert all(t.settings for t in asked)


def test_without_its_config_a_trial_has_the_settings_of_its_checkpoint(search):
    number = search.trial([0.5, 0.4], kept=[1, 2])
    search.experiment.trial_config(number).unlink()

    (before,), (after,), done = search.repaired()

    assert after.settings == before.settings
    assert after.settings["num_threads"] == 3  # the worker had set its own
    assert done.lost == []


def test_damaged_configs_give_way_to_the_checkpoints_and_are_told(search):
    for text in (
        "head: nose\n",
        "head: [",
        "",
        "head: pca\nepochs: 4\n",
        "head: lowrank\ndropout: 0.2\n",
    ):
        number = search.trial([0.5, 0.4], kept=[2])
        search.experiment.trial_config(number).write_text(text)

    before, after, done = search.repaired()

    assert [t.settings for t in after] == [t.settings for t in before]
    assert done.lost == [f"trial {n}: config.yaml is damaged" for n in range(5)]


def test_damaged_metrics_give_way_to_the_history_of_the_checkpoints_and_are_told(search):
    texts = (
        '{"epoch": 1, "val_l',
        '{"epoch": 1}\n',
        '{"epoch": 2, "val_loss": 0.5, "finished": false}\n',
        '{"epoch": 1, "val_loss": null, "finished": false}\n',
        "[]\n",
    )
    for text in texts:
        number = search.trial([0.5, 0.4], kept=[2])
        search.experiment.trial_metrics(number).write_text(text)

    before, after, done = search.repaired()

    assert [[row["val_loss"] for row in t.rows] for t in after] == [[0.5, 0.4]] * len(texts)
    assert [t.settings for t in after] == [t.settings for t in before]
    assert done.lost == [f"trial {n}: metrics.jsonl is damaged" for n in range(len(texts))]


def test_epochs_that_only_the_checkpoint_knows_are_added(search):
    number = search.trial([0.5, 0.4, 0.3], kept=[3])
    metrics = search.experiment.trial_metrics(number)
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:1]))

    (before,), (after,), _ = search.repaired()

    assert [row["val_loss"] for row in after.rows] == [0.5, 0.4, 0.3]
    assert after.rows[-1] == before.rows[-1]


def test_a_damaged_checkpoint_is_told_and_belongs_to_no_row(search):
    number = search.trial([0.5, 0.4], kept=[1, 2])
    (_, newest) = search.experiment.checkpoint_files(number)
    newest.write_bytes(newest.read_bytes()[:-10])

    _, (after,), done = search.repaired()

    assert ["checkpoint" in row for row in after.rows] == [True, False]
    assert done.lost == ["trial 0: the checkpoint 1/0000/checkpoint_000001 is damaged"]


def test_a_trial_whose_settings_are_nowhere_fails_with_that_reason(search):
    number = search.trial([0.5, 0.4], kept=[])
    search.experiment.trial_config(number).unlink()

    _, (after,), done = search.repaired()

    assert (after.state, after.reason) == ("FAIL", "its settings were lost with the record")
    assert [row["val_loss"] for row in after.rows] == [0.5, 0.4]
    assert done.lost == ["trial 0: its settings were lost with the record"]


def test_the_checkpoint_of_a_later_launch_counts(search):
    number = search.trial([0.5, 0.4], kept=[2])
    settings = search.experiment.trials()[number].settings
    (old,) = search.experiment.checkpoint_files(number)
    os.utime(old, (1000, 1000))
    place = {"checkpoint": "2/0000_ab12/checkpoint_000000"}
    lines = search.experiment.trial_metrics(number).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    search.save(place, settings, rows)

    _, (after,), _ = search.repaired()

    assert after.rows[-1]["checkpoint"] == place["checkpoint"]


def test_a_trial_that_ended_before_the_search_got_more_epochs_goes_on_to_them(search):
    search.trial([0.9, 0.5, 0.4, 0.3], finished=True)
    search.trial([0.9, 0.5], finished=True)  # out of patience
    longer = override_space(SPACE, {"budget": {"epochs": 9}}, "test")
    content = {**search.experiment.read_search(), "space": space_to_content(longer)}
    (search.experiment.path / "search.yaml").write_text(write_yaml(content))

    _, after, _ = search.repaired()

    assert [(t.state, t.settings["epochs"]) for t in after] == [("RUNNING", 9), ("COMPLETE", 4)]
    assert [t.rows[-1]["finished"] for t in after] == [False, True]


def test_without_any_trial_the_record_is_that_of_a_search_that_begins(search):
    _, after, done = search.repaired()

    assert (after, done.states) == ([], {"WAITING": 2})
    assert (done.epochs, done.lost) == (0, [])


# --- a real search -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, data_dir):
    """A search stopped in its middle; not to be changed."""
    command = Command(tmp_path_factory.mktemp("stopped"), data_dir)
    long = {"budget": {"trials": 3, "epochs": 8}, "scheduler": {"name": "none"}}
    command.stop_after(command.start(*command.search_options(long)), 12, signal.SIGTERM)
    return command


@pytest.fixture
def copied(stopped, tmp_path):
    """The stopped search, to be damaged."""
    shutil.copytree(stopped.folder / "runs", tmp_path / "runs")
    return Command(tmp_path, stopped.data_dir)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_trial_leaves_the_settings_it_was_started_with(stopped):
    for trial in stopped.experiment.trials():
        assert read_yaml(stopped.experiment.trial_config(trial.number)) == trial.settings


ONLY_THE_DRIVER_KNEW = {"attempt", "recorded_at", "worker"}


def without(row, *names):
    return {name: value for name, value in row.items() if name not in names}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("damage", [delete, overwrite, truncate])
def test_a_real_search_is_rebuilt_as_it_was(copied, damage, capsys):
    experiment, old = copied.experiment, study(copied.experiment).trials
    before = experiment.trials()
    damage(experiment.study_path)

    assert run(capsys, f"repair tiny --root {experiment.path.parent}")[0] == 0

    after = experiment.trials()
    assert [t.settings for t in after] == [t.settings for t in before]
    for ours, theirs in zip(study(experiment).trials, old, strict=True):
        assert (ours.params, ours.distributions) == (theirs.params, theirs.distributions)
    for ours, theirs in zip(after, before, strict=True):
        # A trial writes an epoch down before it reports it, and a stop may fall in between.
        assert len(ours.rows) - len(theirs.rows) in (0, 1)
        assert ours.state == theirs.state or len(ours.rows) > len(theirs.rows)
        for row, recorded in zip(ours.rows, theirs.rows, strict=False):
            lost = set(recorded) - set(row)
            assert lost - ONLY_THE_DRIVER_KNEW in (set(), {"checkpoint", "checkpoint_sha256"})
            assert without(row, "order") == without(recorded, "order", *lost)
            assert ("checkpoint" in row) == experiment.checkpoint_file(recorded).is_file()
    orders = [row["order"] for trial in after for row in trial.rows]
    assert sorted(orders) == list(range(len(orders)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_repaired_search_goes_on_where_it_was(copied):
    before = copied.experiment.trials()
    truncate(copied.experiment.study_path)
    assert copied.run("repair", "tiny").returncode == 0

    ended = copied.run("resume", "tiny", "--no-export")

    assert ended.returncode == 0, ended.stderr
    after = copied.experiment.trials()
    assert [t.state for t in after] == ["COMPLETE"] * 3
    assert [[row["epoch"] for row in t.rows] for t in after] == [list(range(1, 9))] * 3
    for ours, theirs in zip(after, before, strict=False):
        assert ours.settings == theirs.settings
        losses = [row["val_loss"] for row in theirs.rows]
        assert [row["val_loss"] for row in ours.rows][: len(losses)] == losses
    for trial in after:
        assert str(trial.rows[-1]["checkpoint"]).startswith(("1/", "2/"))
        assert copied.experiment.checkpoint_file(trial.rows[-1]).is_file()


@pytest.mark.parametrize("n_free", range(7))
def test_a_full_disk_ends_repair_in_a_line_and_takes_nothing(small_disk, capsys, n_free):
    search = Search(small_disk(60))
    search.trial([0.9, 0.5], kept=[2])
    delete(search.experiment.study_path)
    before = leave_free(search.experiment.path.parent, n_free)

    code, _, said = run(capsys, f"repair mine --root {search.experiment.path.parent}")

    assert (code, said.count("\n")) == (4, 1)
    assert "make room on the disk" in said
    assert files_below(search.experiment.path.parent) - {Path("mine/lock")} == before


def leave_free(disk, n_files):
    """Fill a disk until it takes so many files; all that is on it."""
    with suppress(OSError):
        for number in itertools.count():
            (disk / f"filler {number}").touch()
    for path in sorted(disk.glob("filler *"))[:n_files]:
        path.unlink()
    return files_below(disk)


def files_below(folder):
    return {path.relative_to(folder) for path in folder.rglob("*")}
