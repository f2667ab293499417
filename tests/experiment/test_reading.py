import json
import subprocess
import sys

import pytest

from tests.experiment.conftest import space_of
from tests.experiment.test_folder import new_experiment
from tune_encoder.cli import main
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import objective
from tune_encoder.experiment.views import overview, read_terms
from tune_encoder.space import space_to_content

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
for command in sys.argv[2:]:
    with contextlib.suppress(SystemExit):
        main([*command.split(), "--root", sys.argv[1]])
print([name for name in ("torch", "ray", "optuna", "numpy", "pickle") if name in sys.modules])
"""


def test_looking_loads_nothing_heavy_and_nothing_that_could_unpickle(root):
    command = [sys.executable, "-c", RUN_ALL_AND_TELL, str(root), *COMMANDS]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "best: trial 3" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


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
        ("status ../x", 2, "the experiment name '../x' cannot be used; write up to 64 letters"),
        ("status mine --watch --json", 2, "--watch and --json exclude each other; call `status --"),
        ("show mine 6", 2, "mine: no trial 6; there are 6, from 0 to 5"),
        ("show mine -1", 2, "mine: no trial -1; there are 6, from 0 to 5"),
        ("show new 0", 2, "new: no trial 0; there is none yet"),
        ("best new", 5, "new: no trial has a result yet"),
        ("compare mine", 2, "1 experiments given; name from 2 to 5 to compare"),
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


def test_status_of_an_empty_root_says_how_to_begin(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["status", "--root", str(tmp_path)])

    assert "no experiment; begin one with `tune-encoder search`" in capsys.readouterr().err


def test_a_record_that_is_missing_is_not_taken_for_a_new_search(root, tmp_path):
    made = new_experiment(tmp_path, "lost", space=space_to_content(space_of()))
    (made.checkpoints / "1").mkdir(parents=True)

    (entry,) = overview(tmp_path)

    assert entry["state"] == "unreadable"
    assert "study.db: cannot be read (unable to open" in entry["problem"]


# --- reading -------------------------------------------------------------------------------------


def test_a_few_fields_of_each_row_read_as_they_do_among_all(root):
    whole, part = Experiment(root / "mine").trials(), Experiment(root / "mine").trials(["seconds"])

    names = ("epoch", "objective", "val_loss", "seconds")
    assert [t.rows for t in part] == [
        [{name: row[name] for name in names} for row in t.rows] for t in whole
    ]
    assert [(t.number, t.state, t.settings, t.reason) for t in part] == [
        (t.number, t.state, t.settings, t.reason) for t in whole
    ]


def test_one_trial_reads_as_it_does_among_all(root):
    experiment = Experiment(root / "mine")

    assert [experiment.trial(number) for number in range(6)] == experiment.trials()
    assert experiment.trial(6) is None


def test_a_trial_that_ended_says_when(root):
    began = (root / "mine" / "search.yaml").stat().st_mtime

    ended_at = [trial.ended_at for trial in Experiment(root / "mine").trials()]

    assert [at is not None for at in ended_at] == [True, True, True, True, False, False]
    assert all(0 <= at - began < 60 for at in ended_at[:4])


def test_a_search_from_before_metrics_had_names_is_read_by_its_loss(tmp_path):
    old = space_to_content(space_of())
    del old["metric"], old["budget"]["target"]

    terms = read_terms(new_experiment(tmp_path, "old", space=old))

    assert (terms.metric.name, terms.budget.epochs) == ("val_loss", 4)
    assert objective({"epoch": 1, "val_loss": 0.5}) == 0.5
