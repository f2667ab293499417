import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest

from tests.builders import MadeSearch, new_experiment
from tests.experiment.conftest import row, space_of
from tune_encoder.cli import main
from tune_encoder.data.pack import open_pack
from tune_encoder.data.pack_info import pack_folder
from tune_encoder.data.packing import pack_data
from tune_encoder.experiment.epoch_row import EpochRow, as_row, score_of
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.status import (
    BestEpoch,
    Launch,
    format_best,
    is_over,
    search_status,
    status_lines,
)
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.experiment.views import status
from tune_encoder.system.lock import LOCK_NAME, lock_experiment

STATUS = """\
mine: stopped
trials  2 finished, 1 stopped early, 1 failed, 1 unfinished of 6
epochs  10 done, 2 saved by early stopping
best    skill 0.600, trial 3 epoch 1: learning_rate 0.003, head linear
history ▁▇▇▇▇▇████ skill 0.100 to 0.600
time    10:00 of training

resume it:  tune-encoder resume mine --root {root}
"""


# --- status --------------------------------------------------------------------------------------


def test_status_of_a_stopped_search_shows_progress_and_how_to_resume(say, root):
    assert say("status mine") == STATUS.format(root=root)


def test_status_without_a_name_is_that_of_the_experiment_launched_last(say, tmp_path):
    for name in ("a", "b", "c"):
        made = new_experiment(tmp_path, name, space=space_of())
        os.utime(made.path / "search.yaml", (1, 1))
    (tmp_path / "b" / LOCK_NAME).write_text("pid 1 on here\n")

    assert say("status", tmp_path).splitlines()[:2] == ["b: stopped", "trials  none yet of 6"]


def test_status_of_a_running_search_names_its_process_and_guesses_the_time_left(
    say, root, monkeypatch
):
    with lock_experiment(root / "mine"):
        began = (root / "mine" / LOCK_NAME).stat().st_mtime - 600
        os.utime(root / "mine" / LOCK_NAME, (began, began))
        monkeypatch.setattr("tune_encoder.experiment.views.time.time", lambda: began + 600)
        lines = say("status").splitlines()

    assert lines[0].startswith(f"mine: running, pid {os.getpid()} on ")
    assert lines[1] == "trials  2 finished, 1 stopped early, 1 failed, 1 running of 6"
    assert lines[5:] == [
        "time    10:00, about 5:00 left",
        "  trial 4  epoch 1/4  skill 0.300  loss 0.700  end in  3:00  rung 3 in 2:00",
        "",
        f"watch it:   tune-encoder status mine --watch --root {root}",
        f"stop it:    tune-encoder stop mine --root {root}",
    ]


def test_trials_that_ended_before_this_launch_do_not_tell_how_fast_it_is(root):
    with lock_experiment(root / "mine"):
        os.utime(root / "mine" / LOCK_NAME, (2e9, 2e9))  # later than any of them

        assert status(Experiment(root / "mine"))["time"]["left_s"] is None


def test_a_holder_about_to_write_who_it_is_still_counts_as_running(root):
    with lock_experiment(root / "mine"):
        (root / "mine" / LOCK_NAME).write_text("")

        view = status(Experiment(root / "mine"))

    assert (view["state"], view["process"]) == ("running", {"pid": None, "host": None})
    assert view["resume"] is None


def test_a_search_whose_trials_have_all_ended_is_finished(say, tmp_path):
    made = MadeSearch(tmp_path, space_of(budget={"trials": 1, "epochs": 4}), "all", row_of=row)
    made.trial([0.5], "COMPLETE")

    lines = say("status all", tmp_path).splitlines()

    assert lines[:2] == ["all: finished", "trials  1 finished of 1"]
    assert lines[-1] == f"export it:  tune-encoder export all --root {tmp_path}"
    assert not [line for line in lines if "resume" in line]


def test_a_search_that_is_exported_says_how_to_clone_and_to_evaluate(tmp_path, capsys):
    root = tmp_path / "my runs"
    made = MadeSearch(root, space_of(budget={"trials": 1, "epochs": 4}), "all", row_of=row)
    made.trial([0.5], "COMPLETE")
    (root / "all" / "best").mkdir()
    (root / "all" / "best" / "provenance.json").write_text("{}")

    with pytest.raises(SystemExit):
        main(["status", "all", "--root", str(root)])
    clone, evaluate = capsys.readouterr().out.splitlines()[-2:]

    assert clone == f"clone:      tune-encoder clone '{root}/all/best' voice.wav -o voice.json"
    assert evaluate == f"evaluate:   tune-encoder evaluate '{root}/all/best'"


def test_a_search_without_a_result_names_a_trial_that_says_why(say, tmp_path):
    made = MadeSearch(tmp_path, space_of(budget={"trials": 1, "epochs": 4}), "all", row_of=row)
    made.trial([], "FAIL", "TrainingDiverged: the loss is nan")

    assert say("status all", tmp_path).splitlines()[-1] == (
        f"see why:    tune-encoder show all 0 --root {tmp_path}"
    )


@pytest.mark.parametrize(
    ("skill", "line"),
    [
        (0.389, "beats   0.389, the strongest baseline (ridge)"),
        (0.6, "equals  0.600, the strongest baseline (ridge)"),
        (0.7, "below   0.700, the strongest baseline (ridge)"),
    ],
)
def test_the_strongest_baseline_stands_below_the_best(say, tmp_path, skill, line):
    baselines = {"mean": {"skill": 0.0}, "ridge": {"skill": skill}, "statistics": {"skill": -0.1}}
    space = space_of(validation={"voices": 3})
    made = MadeSearch(tmp_path, space, "mine", row_of=row, baselines=baselines, folds=3)
    made.trial([0.4])

    lines = say("status mine", tmp_path).splitlines()

    assert lines[3].startswith("best    skill 0.600, trial 0 epoch 1")
    assert lines[4] == line
    assert json.loads(say("status mine --json", tmp_path))["baseline"] == {
        "name": "ridge", "skill": skill,
    }  # fmt: skip


def test_before_the_first_epoch_the_strongest_baseline_is_what_to_beat(say, tmp_path):
    new_experiment(tmp_path, "new", space_of(), baselines={"ridge": {"skill": 0.25}}, folds=3)

    assert "to beat 0.250, the strongest baseline (ridge)" in say("status new", tmp_path)


def test_the_baselines_of_the_val_split_are_those_of_the_pack_in_the_cache(tmp_path, data_dir):
    space = space_of()
    pack = open_pack(pack_data(data_dir, space.base_config()))
    fingerprint = pack.info["fingerprint"]

    made = new_experiment(tmp_path, "new", space, fingerprint=fingerprint, voices="new")

    assert made.baselines() == pack.info["baselines"]["val"]
    assert new_experiment(tmp_path, "other", space, fingerprint="gone").baselines() is None


@pytest.mark.parametrize(
    "damaged", ['{"baselines": [1]}', '{"baselines": {"val": {"mean": {}}}}', "[]", "\\"]
)
def test_a_pack_that_is_damaged_has_no_baselines(tmp_path, monkeypatch, damaged):
    monkeypatch.setenv("TUNE_ENCODER_CACHE", str(tmp_path / "cache"))
    space = space_of()
    file = pack_folder("abc", space.base_config()) / "pack.json"
    file.parent.mkdir(parents=True)
    file.write_text(damaged)

    assert new_experiment(tmp_path, "new", space, fingerprint="abc").baselines() is None


@pytest.mark.parametrize(
    ("metric", "target", "over"),
    [
        ("val_loss", 0.4, True),
        ("val_loss", 0.39, False),
        ("val_skill", 0.6, True),
        ("val_skill", 0.61, False),
    ],
)
def test_a_search_that_met_its_target_is_over(root, metric, target, over):
    trials = Experiment(root / "mine").trials()
    sign = 1 if metric == "val_loss" else -1
    for each in (epoch for trial in trials for epoch in trial.rows):
        each["objective"] = sign * score_of(each, metric)
    space = space_of(metric={"name": metric}, budget={"trials": 6, "epochs": 4, "target": target})

    assert is_over(space, trials) is over


def test_a_trial_that_waits_at_a_rung_is_said_to():
    space = space_of()
    trials = [
        TrialRecord(n, "RUNNING", rows=[{**row(n, 1, 0.5), "order": n}], paused=n < 2)
        for n in range(3)
    ]

    view = search_status(space, trials, Launch(7.0, 0, 0), None)

    assert status_lines(view, unicode=True)[0] == "trials  1 running, 2 waiting at a rung of 6"
    assert status_lines(view, unicode=False)[3] == "time    0:07"


def test_trials_of_a_fork_are_said_to_count_on_from_those_that_seeded_it():
    trials = [TrialRecord(n, "COMPLETE", rows=[{**row(n, 1, 0.5), "order": n}]) for n in (3, 4)]

    view = search_status(space_of(budget={"trials": 2, "epochs": 4}), trials, None, None)

    assert view["first_trial"] == 3
    assert status_lines(view, unicode=False)[0] == "trials  2 finished of 2, numbered from 3"


def test_the_history_of_the_best_skill_is_in_order_of_recording():
    orders = [[0, 2, 3], [1, 4]]
    losses = [[0.9, 0.6, 0.7], [0.8, 0.1]]
    trials = [
        TrialRecord(n, "RUNNING", rows=[{**row(n, e, loss), "order": order}
                                        for e, (loss, order) in enumerate(zip(*each, strict=True))])
        for n, each in enumerate(zip(losses, orders, strict=True))
    ]  # fmt: skip
    space = space_of()

    view = search_status(space, trials, Launch(7.0, 0, 0), None)

    assert view["history"] == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.9])
    lines = status_lines(view, unicode=True)
    assert lines[3] == "history \u2581\u2582\u2584\u2584\u2588 skill 0.100 to 0.900"
    assert "history" not in str(status_lines(view, unicode=False))


def test_the_history_spans_the_epochs_of_failed_trials_without_their_results():
    def trial(number: int, state: str, *epochs: tuple[int, float, float]) -> TrialRecord:
        rows = [{**row(number, e, loss), "order": order, "violation": beyond}
                for e, (order, loss, beyond) in enumerate(epochs, start=1)]  # fmt: skip
        return TrialRecord(number, state, rows=[as_row(each) for each in rows])

    best = trial(0, "COMPLETE", (0, 0.9, 0.0), (2, 0.2, 1.0), (4, 0.5, 0.0))
    failed = trial(1, "FAIL", (1, 0.1, 0.0), (3, 0.1, 0.0), (5, 0.1, 0.0))

    view = search_status(space_of(), [best, failed], None, None)

    assert view["history"] == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.5, 0.5])


def test_a_long_history_keeps_to_80_columns_and_ends_with_the_best():
    rows: list[EpochRow] = [{**row(0, e, 1 / e), "order": e} for e in range(1, 1000)]
    space = space_of()

    view = search_status(space, [TrialRecord(0, "RUNNING", rows=rows)], None, None)

    assert len(view["history"]) == 40
    assert view["history"][-1] == 1 - 1 / 999
    assert max(map(len, status_lines(view, unicode=True))) <= 80


def test_the_best_line_names_another_metric_and_leaves_out_whole_settings_that_do_not_fit():
    best: BestEpoch = {
        "trial": 3,
        "epoch": 5,
        "metric": "val_retrieval",
        "value": 0.25,
        "skill": 0.5,
        "skill_se": None,
        "voices": None,
        "settings": {"learning_rate": 2.034e-6, "weight_decay": 2.034e-6},
    }

    assert format_best(best, 80) == (
        "val_retrieval 0.250, skill 0.500, trial 3 epoch 5: learning_rate 2.03e-06, ..."
    )


# --- watching ------------------------------------------------------------------------------------


@pytest.fixture
def when_it_waits(monkeypatch):
    """Let something happen instead of each wait between two looks."""
    return lambda act: monkeypatch.setattr("tune_encoder.cli.views.time.sleep", lambda _: act())


def test_watching_without_a_terminal_prints_a_line_on_change_until_the_search_ends(
    say, tmp_path, when_it_waits
):
    made = MadeSearch(tmp_path, space_of(), "w", row_of=row)
    made.trial([0.5])
    search = contextlib.ExitStack()
    search.enter_context(lock_experiment(made.experiment.path))
    steps = iter([lambda: None, lambda: made.record.complete(0), lambda: None, search.close])
    when_it_waits(lambda: next(steps)())

    assert say("status --watch w", tmp_path).splitlines() == [
        "w: running, 1 running of 6, best skill 0.500",
        "w: running, 1 finished of 6, best skill 0.500",
        "w: stopped, 1 finished of 6, best skill 0.500",
    ]


def test_ctrl_c_ends_the_watching_quietly_with_130(root, capsys, when_it_waits):
    def ctrl_c():
        raise KeyboardInterrupt

    when_it_waits(ctrl_c)
    with lock_experiment(root / "mine"), pytest.raises(SystemExit) as ended:
        main(["status", "mine", "--watch", "--root", str(root)])

    assert ended.value.code == 130
    assert capsys.readouterr().err == ""


def test_in_a_terminal_the_watched_lines_are_those_of_status(root):
    ours, theirs = pty.openpty()
    command = ["-m", "tune_encoder", "status", "mine", "--watch", "--root", str(root)]
    subprocess.run([sys.executable, *command], stdout=theirs, check=True)
    os.close(theirs)

    shown = os.read(ours, 10_000).decode()

    os.close(ours)
    for line in STATUS.splitlines()[:5]:
        assert line in shown
