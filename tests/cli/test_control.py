"""What a person asks of a search; how it obeys: tests/tuning/driver/test_steering_search.py."""

import json

import pytest

from tests.builders import MadeSearch
from tune_encoder.cli import main
from tune_encoder.errors import StorageError
from tune_encoder.experiment.control import Controls
from tune_encoder.system.lock import lock_experiment, lock_holder


@pytest.fixture
def experiment(tmp_path):
    made = MadeSearch(tmp_path, name="night")
    made.trial([])
    return made.experiment


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def steer(experiment, *arguments):
    return run(*arguments, "--root", str(experiment.path.parent))


@pytest.mark.parametrize("command", [["stop", "night"], ["pause", "night"]])
def test_a_search_that_does_not_run_cannot_be_steered(experiment, command, capsys):
    assert steer(experiment, *command) == 2
    assert (
        "night: is not running; resume it with `tune-encoder resume night"
        in capsys.readouterr().err
    )
    assert not Controls(experiment).folder.exists()


def test_stop_leaves_the_wish_for_the_search(experiment, capsys):
    with lock_experiment(experiment.path):
        assert steer(experiment, "stop", "night") == 0

    assert capsys.readouterr().out == "night stops after the current epochs\n"
    assert Controls(experiment).stop_requested()
    assert not Controls(experiment).pause_requested()


def test_pause_and_pause_again(experiment, capsys):
    with lock_experiment(experiment.path):
        steer(experiment, "pause", "night")
        assert Controls(experiment).pause_requested()
        steer(experiment, "pause", "night", "--json")

    assert not Controls(experiment).pause_requested()
    assert json.loads(capsys.readouterr().out.split("\n", 1)[1])["told"] == "night continues"


def test_a_trial_is_ended_by_number(experiment, capsys):
    with lock_experiment(experiment.path):
        assert steer(experiment, "kill-trial", "night", "0") == 0
        assert steer(experiment, "kill-trial", "night", "7") == 2

    assert "night has no unfinished trial 7; unfinished trials: 0" in capsys.readouterr().err
    assert Controls(experiment).take_end_requests() == [0]
    assert Controls(experiment).take_end_requests() == []


def test_a_config_is_added_for_the_next_resume(experiment, capsys):
    assert steer(experiment, "add", "night", "dropout=0.2") == 0

    assert capsys.readouterr().out == "night tries it at the next resume\n"
    assert list(Controls(experiment).take_added_configs()) == [{"dropout": 0.2}]
    assert list(Controls(experiment).take_added_configs()) == []


def test_a_config_outside_the_space_is_not_added(experiment, capsys):
    assert steer(experiment, "add", "night", "dropout=0.7") == 2
    assert "start: dropout is 0.7, outside its range [0.0, 0.4]" in capsys.readouterr().err
    assert list(Controls(experiment).take_added_configs()) == []


def test_a_damaged_wish_is_named(experiment):
    controls = Controls(experiment)
    controls.request_add({})
    (path,) = controls.folder.iterdir()
    path.write_text("{")

    with pytest.raises(StorageError, match=r"add-\w+\.json: damaged \(.*\); remove it"):
        list(controls.take_added_configs())


def test_the_holder_is_named_while_it_holds(experiment):
    assert lock_holder(experiment.path) is None
    with lock_experiment(experiment.path):
        assert "pid " in str(lock_holder(experiment.path))
    assert lock_holder(experiment.path) is None
