"""A search whose space names seeds, confirmed after it as users have it."""

import json
import re
import signal
from types import SimpleNamespace

import pytest

from tests.tuning.conftest import Command
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import best_trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

STOPPED = "stopped, everything is saved; resume with `tune-encoder resume tiny`"


@pytest.fixture(scope="module")
def seeded(tmp_path_factory, data_dir):
    """A search whose space names seeds, stopped while it was confirmed, and resumed."""
    command = Command(tmp_path_factory.mktemp("seeded"), data_dir)
    changes = {
        "budget": {"trials": 3, "epochs": 6, "seeds": 2},
        "scheduler": {"name": "none", "grace_period": 2, "reduction_factor": 3},
        "resources": {"concurrent": 1},
    }
    tiny = command.experiment
    process = command.start(*command.search_options(changes))
    command.experiment = Experiment(tiny.path / "confirm" / "top3x2")
    error = command.stop_after(process, 3, signal.SIGINT)
    ended = command.run("resume", "tiny", "--no-export")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    stopped = (process.returncode, error)
    return SimpleNamespace(command=command, tiny=tiny, stopped=stopped, lines=lines)


def test_ctrl_c_while_a_search_is_confirmed_says_once_how_to_go_on(seeded):
    code, error = seeded.stopped

    assert code == 130
    assert error.count(STOPPED) == 1


def test_after_a_search_with_seeds_the_configs_are_rated_but_no_rungs_where_none_stops(seeded):
    lines = seeded.lines

    assert not [line for line in lines if line.startswith("rank correlation")]
    heads = ["trial", "val_loss", "sd", "new-voice", "skill", "sd", "lowest", "highest", "seeds"]
    title = [line.split() for line in lines].index(heads)
    assert all(line.endswith("      2") for line in lines[title + 1 : title + 4])
    assert re.match("winner: trial|no winner: the top", lines[title + 4])


def test_a_best_trial_that_is_no_better_than_a_baseline_is_warned_of(seeded):
    baselines = open_pack(pack_data(seeded.command.data_dir, TrainConfig())).baselines
    enough = max(scores["skill"] for scores in baselines.values())
    best = best_trial(seeded.tiny.trials())
    assert best is not None
    assert best.best is not None

    warned = any("warning: the best trial" in line for line in seeded.lines)

    assert warned == (best.best["val_skill"] <= enough)


def test_a_stop_while_a_search_is_confirmed_costs_nothing(seeded):
    trained = seeded.command.experiment.trials()

    assert [trial.state for trial in trained] == ["COMPLETE"] * 6
    assert [trial.settings["seed"] for trial in trained] == [1, 2] * 3
    assert all([row["epoch"] for row in trial.rows] == [*range(1, 7)] for trial in trained)


def test_a_confirmed_search_that_is_confirmed_again_trains_nothing(seeded):
    trained = seeded.command.experiment.trials()

    again = seeded.command.run("confirm", "tiny", "--json")

    content = json.loads(again.stdout)
    assert seeded.command.experiment.trials() == trained
    assert sorted(config["trial"] for config in content["configs"]) == [0, 1, 2]
    assert all(config["seeds"] == [1, 2] for config in content["configs"])
