"""A search on a pack with copies of the training clips."""

import pytest

from tests.fabricate import write_wav
from tests.tuning.conftest import TINY_SPACE, Command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_search_with_copies_is_searched_and_exported_as_any_other(tmp_path, data_dir, voices):
    (tmp_path / "noise").mkdir()
    write_wav(tmp_path / "noise" / "babble.wav", 0.3 * (voices[0][:24000] + voices[1][:24000]))
    copies = {"augment_copies": 1, "copy_noise_dir": "noise"}  # relative to the file of the space
    command = Command(tmp_path, data_dir)
    space = {
        "budget": {"trials": 2, "epochs": 2},
        "base": {**TINY_SPACE["base"], **copies},
        "resources": {"concurrent": 1},
    }

    searched = command.run(*command.search_options({**space, "scheduler": {"name": "none"}}))
    exported = command.run("export", "tiny", "--formats", "torch")

    assert searched.returncode == 0, searched.stderr
    assert [trial.state for trial in command.experiment.trials()] == ["COMPLETE"] * 2
    assert (command.experiment.data_source().copies or {})["augment_copies"] == 1
    assert exported.returncode == 0, exported.stderr
    config = (command.experiment.path / "best" / "config.yaml").read_text()
    assert "augment_copies: 1" in config
