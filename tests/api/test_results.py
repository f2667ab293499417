import html
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pandas
import pytest
from matplotlib.figure import Figure as MplFigure

import tune_encoder
from tests.builders import MadeSearch
from tune_encoder.api.results import Best, Experiment
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.folder import open_experiment
from tune_encoder.report.drawing import NotebookFigure
from tune_encoder.report.plots import PLOTS
from tune_encoder.space import parse_space
from tune_encoder.system.lock import lock_experiment

SPACE = parse_space(
    {
        "space": {
            "head": {"choice": ["pca", "lowrank"]},
            "pca_components": {"int": [4, 128], "when": {"head": "pca"}},
            "dropout": {"float": [0.0, 0.4]},
        },
        "start": [
            {"head": "pca", "pca_components": 8, "dropout": 0.1},
            {"head": "lowrank", "dropout": 0.2},
            {"head": "pca", "pca_components": 64, "dropout": 0.3},
            {"head": "lowrank", "dropout": 0.4},
        ],
    },
    "test",
    Path(),
)


def row_of(number, epoch, loss):
    scores = {"val_loss": loss, "val_skill": 1 - loss, "train_loss": loss / 2}
    place = {"checkpoint": f"1/{number:04d}/checkpoint_{epoch:06d}"}
    return {"epoch": epoch, **scores, "finished": False, **place}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A complete, a pruned, a failed and a running trial; not to be changed."""
    made = MadeSearch(tmp_path_factory.mktemp("runs"), SPACE, row_of=row_of)
    made.trial([0.9, 0.4, 0.5], "COMPLETE")
    made.trial([0.8, 0.7], "PRUNED")
    made.trial([0.3], "FAIL", "the loss is NaN")
    made.trial([])
    return made.experiment.path


@pytest.fixture
def mine(folder):
    return Experiment(folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The same trials with all that a search records of an epoch; not to be changed."""
    made = MadeSearch(tmp_path_factory.mktemp("runs"), SPACE)
    made.trial([0.9, 0.4, 0.5], "COMPLETE")
    made.trial([0.8, 0.7], "PRUNED")
    made.trial([0.3], "FAIL", "the loss is NaN")
    made.trial([])
    return Experiment(made.experiment.path)


def test_each_trial_is_a_row_with_its_outcome_and_its_searched_settings(mine):
    frame = mine.trials

    assert frame.astype(object).where(pandas.notna(frame), None).to_dict("list") == {
        "number": [0, 1, 2, 3],
        "state": ["COMPLETE", "PRUNED", "FAIL", "RUNNING"],
        "reason": ["", "", "the loss is NaN", ""],
        "epochs": [3, 2, 1, 0],
        "best_epoch": [2, 2, 1, None],
        "objective": [0.4, 0.7, 0.3, None],
        "val_loss": [0.4, 0.7, 0.3, None],
        "val_skill": [0.6, pytest.approx(0.3), 0.7, None],
        "head": ["pca", "lowrank", "pca", "lowrank"],
        "pca_components": [8, None, 64, None],
        "dropout": [0.1, 0.2, 0.3, 0.4],
    }


def test_columns_have_their_kinds_whatever_is_missing(mine, tmp_path):
    empty = MadeSearch(tmp_path, SPACE).experiment
    waiting = Experiment(empty.path).trials

    for frame in (mine.trials, waiting):
        kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
        assert {name for name, kind in kinds.items() if kind == "Int64"} == {
            "best_epoch",
            "pca_components",
        }
        assert {name for name, kind in kinds.items() if kind == "float64"} == {
            *("objective", "val_loss", "val_skill", "dropout"),
        }
    assert list(waiting["state"]) == ["WAITING"] * 4


def test_a_second_metric_and_limited_quantities_have_columns(tmp_path):
    content = {
        "metric": {"second": "parameters"},
        "scheduler": {"name": "none"},
        "constraints": {"clone_ms": {"max": 9}, "val_loss": {"max": 2}},
        "space": {"dropout": {"float": [0.0, 0.4]}},
    }
    space = parse_space(content, "test", tmp_path)
    sizes = {"parameters": 1234, "clone_ms": 5.5}
    made = MadeSearch(tmp_path, space, row_of=lambda *row: {**row_of(*row), **sizes})
    made.trial([0.9, 0.4], "COMPLETE")
    made.trial([])

    frame = Experiment(made.experiment.path).trials

    assert list(frame.columns[-3:]) == ["parameters", "clone_ms", "dropout"]
    assert frame["parameters"][0] == 1234
    assert frame["clone_ms"].isna().tolist() == [False, True]


def test_of_a_metric_of_which_more_is_better_the_objective_is_what_it_is(tmp_path):
    content = {"metric": {"name": "val_skill"}, "space": {"dropout": {"float": [0.0, 0.4]}}}
    made = MadeSearch(tmp_path, parse_space(content, "test", tmp_path))
    made.trial([0.5, 0.7], "COMPLETE")

    mine = Experiment(made.experiment.path)

    assert mine.trials["objective"][0] == 0.7
    assert list(mine.curves()["objective"]) == [0.5, 0.7]


def test_curves_have_a_row_for_each_epoch_with_every_metric_and_nothing_else(mine):
    frame = mine.curves()

    assert list(frame.columns) == [
        *("trial", "epoch", "val_loss", "val_skill", "train_loss", "objective"),
    ]
    assert list(zip(frame["trial"], frame["epoch"], frame["val_loss"], strict=True)) == [
        (0, 1, 0.9),
        (0, 2, 0.4),
        (0, 3, 0.5),
        (1, 1, 0.8),
        (1, 2, 0.7),
        (2, 1, 0.3),
    ]


def test_the_best_is_an_epoch_of_a_trial_that_did_not_fail_with_what_was_searched(mine):
    assert mine.best == Best(
        trial=0,
        epoch=2,
        settings={"head": "pca", "pca_components": 8, "dropout": 0.1},
        scores={"val_loss": 0.4, "val_skill": 0.6},
    )


def test_before_the_first_epoch_there_is_no_best_and_no_curve(tmp_path):
    made = MadeSearch(tmp_path, SPACE).experiment
    opened = Experiment(made.path)

    assert opened.best is None
    assert list(opened.curves().columns) == ["trial", "epoch"]
    assert repr(opened) == f"Experiment('{made.path}'): 4 trials (4 WAITING), no result yet"
    assert "<table" not in opened._repr_html_()


def test_it_says_in_a_line_what_it_holds(mine, folder):
    assert repr(mine) == (
        f"Experiment('{folder}'): 4 trials (1 COMPLETE, 1 FAIL, 1 PRUNED, 1 RUNNING), best "
        "val_skill 0.600 of trial 0, epoch 2"
    )


def test_a_notebook_shows_headline_curves_and_the_trials_with_a_result_the_best_first(recorded):
    page = recorded._repr_html_()

    assert "<b>mine</b>: stopped" in page
    assert "trials  1 finished" in page
    assert 'aria-label="Learning curves. val_loss over epochs' in page
    assert page.index("finished</td>") < page.index("stopped early</td>")
    assert "failed</td>" not in page
    assert "unfinished</td>" not in page
    assert "0.4</td>" in page


def test_an_id_is_not_twice_in_a_notebook_that_shows_a_search_twice(recorded):
    pages = [set(re.findall(r' id="([^"]+)"', recorded._repr_html_())) for _ in range(2)]

    assert pages[0]
    assert not pages[0] & pages[1]


def test_markup_in_names_and_values_is_escaped_in_a_notebook(tmp_path):
    made = MadeSearch(tmp_path, SPACE)
    made.trial([0.9, 0.4], "COMPLETE")
    made.trial([0.3], "FAIL", "<script>alert(1)</script>")
    page = Experiment(made.experiment.path)._repr_html_()

    assert "<script" not in page
    ElementTree.fromstring(page)


def test_a_damaged_record_is_shown_as_a_line_and_not_as_a_traceback(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "mine")
    (tmp_path / "mine" / "study.db").write_bytes(b"<b>no database</b>" * 500)
    damaged = Experiment(tmp_path / "mine")

    assert "study.db: cannot be read (" in repr(damaged)
    assert repr(damaged).endswith(f'with `tune_encoder.repair("mine", root="{tmp_path}")`')
    assert damaged._repr_html_() == f"<p>{html.escape(repr(damaged))}</p>"


def test_the_plots_are_matplotlib_figures_that_a_notebook_shows(recorded):
    for name in ("curves", "best_over_epochs", "best_over_time", "parallel", "slices", "rungs"):
        figure = recorded.plot(name)

        assert isinstance(figure, MplFigure)
        assert isinstance(figure, NotebookFigure)
        image, size = figure._repr_png_()
        assert image.startswith(b"\x89PNG")
        assert size["width"] == 560
    assert len(recorded.plot("slices").subfigs) == 3


def test_an_unknown_plot_is_refused_with_all_that_there_are(recorded):
    with pytest.raises(
        ConfigError,
        match=r"^there is no plot 'curve'; the plots are curves, best_over_epochs, best_over_time, "
        r"gains, front, importance, parallel, slices, rungs, timeline$",
    ):
        recorded.plot("curve")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("front", r"The search has one metric\.$"),
        ("gains", r"does not end at the noise \(until\), so none was recorded\.$"),
        ("timeline", r"mine: no plot 'timeline': .+\.$"),
    ],
)
def test_a_plot_of_nothing_says_why(recorded, name, reason):
    with pytest.raises(ConfigError, match=reason):
        recorded.plot(name)


def test_the_names_of_the_plots_are_in_the_docstring():
    for name in PLOTS:
        assert f'"{name}"' in (Experiment.plot.__doc__ or "")


def test_status_and_a_trial_are_plain_values(recorded):
    assert recorded.status()["trials_ended"] == 3
    assert recorded.trial(1)["searched"] == {"head": "lowrank", "dropout": 0.2}
    with pytest.raises(ConfigError, match=r"no trial 9; there are 4, from 0 to 3"):
        recorded.trial(9)


def test_a_running_search_is_steered_as_on_the_command_line(tmp_path):
    made = MadeSearch(tmp_path, SPACE)
    made.trial([0.9])
    mine = Experiment(made.experiment.path)
    with pytest.raises(
        ConfigError, match=r"is not running; resume it with `tune_encoder\.resume\(\"mine\", root="
    ):
        mine.stop()

    with lock_experiment(mine.path):
        assert mine.pause().startswith("mine pauses after the current epochs")
        assert mine.pause() == "mine continues"
        assert mine.kill_trial(0) == "trial 0 stops after its current epoch"
        assert mine.add({"dropout": 0.15}) == "mine tries it next"
        assert mine.stop() == "mine stops after the current epochs"
        with pytest.raises(ConfigError, match=r"^add\(\).*dropuot"):
            mine.add({"dropuot": 0.15})
        with pytest.raises(ConfigError, match=r"no unfinished trial 7; unfinished trials: 0"):
            mine.kill_trial(7)


def test_watching_a_search_that_has_ended_prints_a_line(recorded, capsys):
    recorded.watch()

    assert capsys.readouterr().out == (
        "mine: stopped, 1 finished, 1 stopped early, 1 failed, 1 unfinished of 16, "
        "best skill 0.600\n"
    )


def test_an_interrupt_ends_the_view_and_not_the_search(recorded, monkeypatch, capsys):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with lock_experiment(recorded.path):
        recorded.watch()
        assert not Controls(open_experiment(recorded.path.parent, "mine")).stop_requested()

    assert "mine: running" in capsys.readouterr().out


def test_an_unknown_folder_is_refused_with_those_there_are(folder):
    with pytest.raises(ConfigError, match=r"none: no such experiment; there are mine$"):
        Experiment(folder.parent / "none")


@pytest.mark.parametrize("path", [".", "../mine", "../mine/trials/.."])
def test_a_relative_path_is_the_folder_it_names(folder, monkeypatch, path):
    (folder / "trials").mkdir(exist_ok=True)
    monkeypatch.chdir(folder)

    assert Experiment(path).name == "mine"


def test_the_home_folder_may_be_written_short(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))

    assert tune_encoder.Experiment("~/mine").path == folder


def test_results_are_read_without_torch_ray_and_optuna(folder):
    code = (
        "import sys, tune_encoder; found = tune_encoder.Experiment(sys.argv[1]);"
        "found.trials, found.best, found.curves(), found._repr_html_();"
        "print([name for name in ('torch', 'ray', 'optuna') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
