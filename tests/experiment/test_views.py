import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import MadeSearch, new_experiment
from tests.experiment.conftest import row, space_of
from tune_encoder.cli import main
from tune_encoder.cli.curve import HEIGHT
from tune_encoder.experiment.commands import clone_line
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.experiment.folder import CHECKPOINT_NAME
from tune_encoder.experiment.views import overview
from tune_encoder.space import space_to_content
from tune_encoder.system.lock import lock_experiment

# --- show, best ----------------------------------------------------------------------------------


def test_show_lists_settings_epochs_curve_and_checkpoint_of_a_trial(say, root):
    lines = say("show mine 0").splitlines()

    assert lines[:15] == [
        "trial 0 finished after 4 of 4 epochs, skill 0.500",
        "it finished all its epochs",
        "",
        "* learning_rate            0.003",
        "* head                     linear",
        "  epochs                   4",
        "  warmup_epochs            1",
        "  early_stopping_patience  2",
        "* searched; the others differ from their defaults",
        "",
        "epoch  val_loss   skill",
        "    1    0.9000  0.1000",
        "    2    0.5000  0.5000  best",
        "    3    0.6000  0.4000",
        "    4    0.5500  0.4500",
    ]
    assert lines[15:17] == ["", "val_loss"]
    assert lines[17].startswith("      0.9 │")
    assert max(map(len, lines[:-1])) <= 80
    newest = root / "mine" / "checkpoints" / "1" / "0000" / "checkpoint_000004" / CHECKPOINT_NAME
    assert lines[-1] == f"checkpoint:  {newest}"


@pytest.mark.parametrize(
    ("number", "lines"),
    [
        (
            1,
            [
                "trial 1 stopped early after 2 of 4 epochs, skill 0.100",
                "other trials were better at tha",
            ],
        ),
        (2, ["trial 2 failed: TrainingDiverged: the loss is nan", ""]),
        (
            3,
            ["trial 3 finished after 3 of 4 epochs, skill 0.600", "no improvement in the last"],
        ),
        (
            4,
            [
                "trial 4 unfinished after 1 of 4 epochs, skill 0.300",
                "it continues at the next resu",
            ],
        ),
        (5, ["trial 5 not begun", ""]),
    ],
)
def test_show_says_the_status_of_a_trial_and_why(say, number, lines):
    said = say(f"show mine {number}").splitlines()

    assert said[0] == lines[0]
    assert said[1].startswith(lines[1])


def test_a_setting_whose_condition_does_not_hold_is_not_among_the_searched(say):
    assert "* pca_components" not in say("show mine 0")
    assert "* pca_components           16" in say("show mine 1")


def test_of_many_epochs_show_lists_the_newest_and_the_best(say, tmp_path):
    made = MadeSearch(tmp_path, space_of(), "long", row_of=row)
    made.trial([0.9, 0.1, *(0.5 for _ in range(11))])

    lines = say("show long 0", tmp_path).splitlines()

    table = lines[lines.index("epoch  val_loss   skill") + 1 :]
    assert [int(line.split()[0]) for line in table[:11]] == [2, *range(4, 14)]
    assert table[11] == "(2 earlier epochs are not shown; --json has them)"


def test_where_the_output_cannot_show_unicode_the_curve_is_drawn_in_ascii(root):
    command = [sys.executable, "-m", "tune_encoder", "show", "mine", "0", "--root", str(root)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(command, capture_output=True, check=True, env=environment)

    lines = done.stdout.decode("ascii").splitlines()
    assert lines[17].startswith("      0.9 |*")
    assert lines[17 + HEIGHT] == f"{'':10}+{'-' * 69}"


def test_best_shows_scores_settings_checkpoint_and_the_export_command(say, root):
    kept = root / "mine" / "checkpoints" / "1" / "0003" / "checkpoint_000001" / CHECKPOINT_NAME

    assert say("best mine").splitlines() == [
        "best: trial 3, epoch 1",
        "  loss       0.400",
        "  skill      0.600",
        "  ttl        0.500",
        "  dp         0.250",
        "  retrieval  0.040",
        "",
        "  learning_rate: 0.003",
        "  head: linear",
        "",
        f"checkpoint: {kept}",
        f"export it:  tune-encoder export mine --root {root}",
    ]


# --- compare -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """`a` and `b` differ in little, `c` in its data and its metric."""
    folder = tmp_path_factory.mktemp("three")
    larger = space_of(
        budget={"trials": 8, "epochs": 4},
        base={"early_stopping_patience": 3, "data_dir": "elsewhere"},
    )
    skill = space_of(metric={"name": "val_skill"})
    for name, space, loss, data in (
        ("a", space_of(), 0.5, "x"),
        ("b", larger, 0.4, "x"),
        ("c", skill, 0.3, "y"),
    ):
        made = MadeSearch(folder, space, name, row_of=row, fingerprint=data)
        made.trial([loss, 0.9], "COMPLETE")
    return folder


def test_compare_shows_only_the_settings_that_differ(say, three):
    assert say("compare a b", three).splitlines() == [
        f"{'':24}{'a':>8}{'b':>8}",
        f"{'trials ended':24}{'1 of 6':>8}{'1 of 8':>8}",
        f"{'epochs spent':24}{'2':>8}{'2':>8}",
        f"{'epochs per trial':24}{'4':>8}{'4':>8}",
        f"{'best val_loss':24}{'0.5000':>8}{'0.4000':>8}",
        f"{'its skill':24}{'0.5000':>8}{'0.6000':>8}",
        f"{'its trial':24}{'0':>8}{'0':>8}",
        "",
        "its settings that differ",
        f"{'warmup_epochs':24}{'1':>8}{'5':>8}",
        f"{'early_stopping_patience':24}{'2':>8}{'3':>8}",
    ]


def test_compare_warns_where_the_scores_do_not_compare(say, three):
    lines = say("compare a c", three).splitlines()
    rows = [line.rsplit(maxsplit=2) for line in lines]

    assert lines[:2] == [
        "warning: the data differ, so the scores are not comparable",
        "warning: the metrics differ, so the best values are not comparable",
    ]
    assert ["best val_loss", "0.5000", "-"] in rows
    assert ["best val_skill", "-", "0.7000"] in rows
    assert "its settings that differ" not in lines


def made_of(folder, name, loss, **content):
    made = MadeSearch(folder, space_of(), name, row_of=row, **content)
    made.trial([loss], "COMPLETE")


def test_known_and_new_voices_have_skills_of_different_names_that_are_not_compared(
    say, capsys, tmp_path
):
    for name, voices in (("a", "known"), ("b", "new"), ("c", "known")):
        made_of(tmp_path, name, 0.5, voices=voices)
    made_of(tmp_path, "old", 0.5)

    assert say("list", tmp_path).splitlines()[1:3] == [
        "a     stopped        1 of 6  0.500  known",
        "b     stopped        1 of 6  0.500  new",
    ]
    assert "  known-voice skill  0.500" in say("best a", tmp_path).splitlines()
    assert "new-voice skill 0.500" in say("status b", tmp_path)
    assert "new-voice skill 0.500" in say("show b 0", tmp_path)
    assert json.loads(say("best b --json", tmp_path))["voices"] == "new"
    assert "its known-voice skill  0.5000  0.5000" in say("compare a c old", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "a", "b", "c", "--root", str(tmp_path)])
    assert capsys.readouterr().err == (
        "tune-encoder: c on known voices, b on new voices: skill on known and on new voices are "
        "different scores; compare searches whose validation voices are of one kind\n"
    )


def test_a_search_that_did_not_record_the_kind_of_its_voices_takes_it_from_the_pack(
    packed, tmp_path
):
    made = MadeSearch(tmp_path, space_of(), fingerprint=packed.info["fingerprint"])
    unknown = MadeSearch(tmp_path, space_of(), "unknown", fingerprint="0" * 64)

    assert made.experiment.voice_kind() == "new"
    assert unknown.experiment.voice_kind() is None


def test_a_score_is_shown_with_its_standard_error_over_voices(say, tmp_path):
    def sure(number, epoch, loss):
        return {**row(number, epoch, loss), "val_skill_se": 0.125}

    MadeSearch(tmp_path, space_of(), row_of=sure).trial([0.4], "COMPLETE")

    assert "  its standard error  0.125" in say("best mine", tmp_path).splitlines()
    assert "epochs, skill 0.600 +- 0.125" in say("show mine 0", tmp_path)
    assert "skill 0.600 +- 0.125, trial 0" in say("status mine", tmp_path)
    assert json.loads(say("status mine --json", tmp_path))["best"]["skill_se"] == 0.125


def test_a_search_without_a_result_is_compared_as_far_as_it_goes(say, root):
    lines = say("compare mine new").splitlines()

    assert f"{'trials ended':28}{'4 of 6':>8}{'0 of 6':>8}" in lines
    assert f"{'best val_loss':28}{'0.4000':>8}{'-':>8}" in lines


def test_five_experiments_fit_into_80_columns(say, three):
    assert max(map(len, say("compare a b a b c", three).splitlines())) <= 80


# --- JSON, errors, what is loaded ----------------------------------------------------------------


COMMANDS = ["list", "status mine", "show mine 0", "best mine", "compare mine new"]


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_plain(say, command):
    json.loads(say(f"{command} --json"), parse_constant=refuse_constant)


RUN_ALL_AND_TELL = """
import contextlib, sys
from tune_encoder.cli import main
unpickled = []
sys.addaudithook(lambda event, args: unpickled.append(args) if "pickle" in event else None)
for command in sys.argv[2:]:
    with contextlib.suppress(SystemExit):
        main([*command.split(), "--root", sys.argv[1]])
heavy = ("torch", "ray", "optuna", "numpy", "scipy")
print([name for name in heavy if name in sys.modules], unpickled)
"""


def test_looking_loads_nothing_heavy_and_unpickles_nothing(root):
    command = [sys.executable, "-c", RUN_ALL_AND_TELL, str(root), *COMMANDS]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "best: trial 3" in done.stdout
    assert done.stdout.splitlines()[-1] == "[] []"


def test_json_holds_what_the_lines_say(say, root):
    status, trial = json.loads(say("status mine --json")), json.loads(say("show mine 1 --json"))

    assert {name: status[name] for name in ("name", "state", "process", "epochs")} == {
        "name": "mine",
        "state": "stopped",
        "process": None,
        "epochs": 10,
    }
    assert status["trials"]["stopped_early"] == 1
    assert status["best"]["settings"] == {"learning_rate": 0.003, "head": "linear"}
    assert trial["searched"] == {"learning_rate": 0.001, "head": "pca", "pca_components": 16}
    assert [row["val_loss"] for row in trial["rows"]] == [0.95, 0.9]
    assert trial["rows"][0]["gradient_norm"] is None  # infinite: JSON has no number for it


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("status none", 2, "none: no such experiment; there are mine, new"),
        ("status ../x", 2, "the experiment name '../x' is not valid; use up to 64 letters"),
        ("status mine --watch --json", 2, "--watch and --json cannot be combined; call `status --"),
        ("show mine 6", 2, "mine: no trial 6; there are 6, from 0 to 5"),
        ("show mine -1", 2, "mine: no trial -1; there are 6, from 0 to 5"),
        ("show new 0", 2, "new: no trial 0; there is none yet"),
        ("best new", 5, "new: no trial has a result yet"),
        ("compare mine", 2, "1 experiments given; name 2 to 5 to compare"),
        ("compare mine none", 2, "none: no such experiment; there are mine, new"),
    ],
)
def test_an_error_is_one_line_with_what_exists(root, capsys, command, code, message):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--root", str(root)])

    printed = capsys.readouterr()
    assert ended.value.code == code
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err


def test_ctrl_c_in_the_middle_of_a_command_is_a_line_and_130(root, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlite3, "connect", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["status", "mine", "--root", str(root)])

    assert ended.value.code == 130
    assert capsys.readouterr().err == "tune-encoder: interrupted\n"


def test_status_of_an_empty_root_says_how_to_begin(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["status", "--root", str(tmp_path)])

    assert "no experiment; start one with `tune-encoder search`" in capsys.readouterr().err


def test_a_record_that_is_missing_is_not_taken_for_a_new_search(root, tmp_path):
    made = new_experiment(tmp_path, "lost", space=space_of())
    (made.checkpoints / "1").mkdir(parents=True)

    (entry,) = overview(tmp_path)

    assert entry["state"] == "unreadable"
    assert "study.db: cannot be read (unable to open" in str(entry["problem"])


def test_a_search_from_before_metrics_had_names_is_read_by_its_loss(tmp_path):
    old = space_to_content(space_of())
    del old["metric"], old["budget"]["target"]

    space = new_experiment(tmp_path, "old", space=old).space()

    assert (space.metric.name, space.budget.epochs) == ("val_loss", 4)
    assert objective({"epoch": 1, "val_loss": 0.5}) == 0.5


# --- list ----------------------------------------------------------------------------------------


def test_list_names_each_experiment_with_its_state_its_trials_and_its_best(say, root):
    assert say("list").splitlines() == [
        "name  state    trials ended  skill  voices",
        "mine  stopped        4 of 6  0.600",
        "new   stopped        0 of 6      -",
    ]


def test_list_of_an_empty_root_says_how_to_begin(say, tmp_path):
    assert (
        say("list", tmp_path)
        == f"{tmp_path}: no experiments; start one with `tune-encoder search`\n"
    )


def test_list_shows_one_that_cannot_be_read_with_the_reason_among_the_others(say, tmp_path):
    new_experiment(tmp_path, "a")
    (new_experiment(tmp_path, "broken").path / "search.yaml").write_text("format: 1\nspace: {}\n")
    new_experiment(tmp_path, "space", space={"space": ["learning_rate"]})
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "search.yaml").write_text("")

    lines = say("list", tmp_path).splitlines()

    assert [line.split()[:2] for line in lines[1:4]] == [
        ["a", "stopped"],
        ["broken", "unreadable"],
        ["space", "unreadable"],
    ]
    assert "broken/search.yaml: damaged, format is 1 and data_dir, fingerprint, versi" in lines[5]
    assert lines[7].endswith(
        "search.yaml, space: space is ['learning_rate']; write `name: value` lines under it; "
        "restore the file"
    )


def test_long_names_and_long_numbers_fit_into_80_columns(say, tmp_path):
    space = space_of(budget={"trials": 100_000, "epochs": 4})
    made = new_experiment(tmp_path, "n" * 64, space=space)

    with lock_experiment(made.path):
        lines = say("list", tmp_path).splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[1].startswith(f"{'n' * 28}...  running, pid {os.getpid()} ")


# --- command lines -------------------------------------------------------------------------------


def test_a_root_that_begins_with_a_dash_is_written_so_that_the_line_can_be_pasted(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    MadeSearch(tmp_path / "-dash", space_of(), row_of=row).trial([0.5])

    with pytest.raises(SystemExit, match="0"):
        main(["status", "mine", "--root=-dash"])

    assert "tune-encoder resume mine --root ./-dash" in capsys.readouterr().out
    assert clone_line(Path("-model")) == "tune-encoder clone ./-model voice.wav -o voice.json"
