import os
import subprocess
import sys

import pytest

from tests.experiment.conftest import fabricate, space_of
from tune_encoder.cli.curve import HEIGHT, draw_curve
from tune_encoder.experiment.folder import CHECKPOINT_NAME

# --- show, best ----------------------------------------------------------------------------------


def test_show_lists_settings_epochs_curve_and_checkpoint_of_a_trial(say, root):
    lines = say("show mine 0").splitlines()

    assert lines[:15] == [
        "trial 0 finished after 4 of 4 epochs, skill 0.500",
        "it used all its epochs",
        "",
        "* learning_rate            0.003",
        "* head                     linear",
        "  epochs                   4",
        "  warmup_epochs            1",
        "  early_stopping_patience  2",
        "* searched; of the others those that are not the defaults",
        "",
        "epoch  val_loss      skill",
        "    1    0.9000     0.1000",
        "    2    0.5000     0.5000  best",
        "    3    0.6000     0.4000",
        "    4    0.5500     0.4500",
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
            ["trial 1 stopped early after 2 of 4 epochs, skill 0.100", "others were better by tha"],
        ),
        (2, ["trial 2 failed: TrainingDiverged: the loss is nan", ""]),
        (
            3,
            ["trial 3 finished after 3 of 4 epochs, skill 0.600", "no better epoch among the last"],
        ),
        (
            4,
            ["trial 4 unfinished after 1 of 4 epochs, skill 0.300", "it goes on at the next resum"],
        ),
        (5, ["trial 5 not begun", ""]),
    ],
)
def test_show_says_how_a_trial_stands_and_why(say, number, lines):
    said = say(f"show mine {number}").splitlines()

    assert said[0] == lines[0]
    assert said[1].startswith(lines[1])


def test_a_setting_whose_condition_does_not_hold_is_not_among_the_searched(say):
    assert "* pca_components" not in say("show mine 0")
    assert "* pca_components           16" in say("show mine 1")


def test_of_many_epochs_show_lists_the_newest_and_the_best(say, tmp_path):
    fabricate(tmp_path, "long", losses=[[0.9, 0.1, *(0.5 for _ in range(11))]])

    lines = say("show long 0", tmp_path).splitlines()

    table = lines[lines.index("epoch  val_loss      skill") + 1 :]
    assert [int(line.split()[0]) for line in table[:11]] == [2, *range(4, 14)]
    assert table[11] == "(2 earlier epochs are not shown; --json has them)"


def test_where_the_output_cannot_show_unicode_the_curve_is_drawn_in_ascii(root):
    command = [sys.executable, "-m", "tune_encoder", "show", "mine", "0", "--root", str(root)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(command, capture_output=True, check=True, env=environment)

    lines = done.stdout.decode("ascii").splitlines()
    assert lines[17].startswith("      0.9 |*")
    assert lines[17 + HEIGHT] == f"{'':10}+{'-' * 69}"


def test_a_curve_falls_from_corner_to_corner():
    lines = draw_curve([1, 2, 9], [8.0, 7.0, 0.0], "val_loss", 20, braille=False)

    assert lines == [
        "val_loss",
        "        8 |*",
        "          | *",
        "          |  *",
        "          |   *",
        "          |    **",
        "          |      *",
        "          |       *",
        "        0 |        *",
        "          +---------",
        "           1 epoch 9",
    ]


def test_a_level_curve_is_a_line_of_braille_dots():
    lines = draw_curve([1, 2], [0.5, 0.5], "val_loss", 20, braille=True)

    assert lines[1] == f"      0.5 │{'⠉' * 9}"
    assert lines[2] == "          │"


def test_best_shows_scores_settings_checkpoint_and_the_export_command(say, root):
    kept = root / "mine" / "checkpoints" / "1" / "0003" / "checkpoint_000001" / CHECKPOINT_NAME

    assert say("best mine").splitlines() == [
        "best: trial 3, epoch 1",
        "  loss             0.400",
        "  skill            0.600",
        "  ttl              0.500",
        "  dp               0.250",
        "  retrieval        0.040",
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
        ("a", None, 0.5, "x"),
        ("b", larger, 0.4, "x"),
        ("c", skill, 0.3, "y"),
    ):
        _, record = fabricate(folder, name, space, [[loss, 0.9]], fingerprint=data)
        record.complete(0)
    return folder


def test_compare_shows_only_the_settings_that_differ(say, three):
    assert say("compare a b", three).splitlines() == [
        f"{'':24}{'a':>28}{'b':>28}",
        f"{'trials ended':24}{'1 of 6':>28}{'1 of 8':>28}",
        f"{'epochs spent':24}{'2':>28}{'2':>28}",
        f"{'epochs of a trial':24}{'4':>28}{'4':>28}",
        f"{'best val_loss':24}{'0.5000':>28}{'0.4000':>28}",
        f"{'its skill':24}{'0.5000':>28}{'0.6000':>28}",
        f"{'its trial':24}{'0':>28}{'0':>28}",
        "",
        "its settings, where they differ",
        f"{'warmup_epochs':24}{'1':>28}{'5':>28}",
        f"{'early_stopping_patience':24}{'2':>28}{'3':>28}",
    ]


def test_compare_warns_where_the_scores_do_not_compare(say, three):
    lines = say("compare a c", three).splitlines()

    assert lines[:2] == [
        "warning: the data differ: the scores do not compare",
        "warning: the metrics differ: the best values do not compare",
    ]
    assert f"{'best val_loss':24}{'0.5000':>28}{'-':>28}" in lines
    assert f"{'best val_skill':24}{'-':>28}{'0.7000':>28}" in lines
    assert "its settings, where they differ" not in lines


def test_a_search_without_a_result_is_compared_as_far_as_it_goes(say, root):
    lines = say("compare mine new").splitlines()

    assert f"{'trials ended':24}{'4 of 6':>28}{'0 of 6':>28}" in lines
    assert f"{'best val_loss':24}{'0.4000':>28}{'-':>28}" in lines


def test_five_experiments_fit_into_80_columns(say, three):
    assert max(map(len, say("compare a b a b c", three).splitlines())) <= 80
