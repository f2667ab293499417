"""A search whose trial 0 is the closed-form encoder, and its export.

One that is killed is in test_two_metrics_search.
"""

import json
from types import SimpleNamespace

import pytest

from tests.tuning.conftest import Command
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EPOCHS = 4
SPACE = {
    "budget": {"trials": 3, "epochs": EPOCHS},
    "scheduler": {"name": "none"},
    "searcher": {"name": "tpe", "startup_trials": 3},
    "resources": {"concurrent": 1},
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory, data_dir):
    command = Command(tmp_path_factory.mktemp("closed"), data_dir)
    ended = command.run(*command.search_options(SPACE))
    assert ended.returncode == 0, ended.stderr
    return SimpleNamespace(command=command, trials=command.experiment.trials())


def test_trial_0_ends_after_one_epoch_with_the_skill_of_the_baseline(searched):
    first, *networks = searched.trials

    baseline = open_pack(pack_data(searched.command.data_dir, TrainConfig())).baselines
    assert (first.state, first.settings["encoder_type"]) == ("COMPLETE", "statistics")
    (row,) = first.rows
    assert row["val_skill"] == pytest.approx(baseline["statistics"]["skill"], abs=1e-3)
    assert [len(trial.rows) for trial in networks] == [EPOCHS] * 2
    assert {trial.settings["encoder_type"] for trial in networks} == {"convnext"}


def test_it_is_exported_alone_or_as_a_part_of_a_blend_and_its_scores_are_verified(searched):
    exported = searched.command.run("export", "tiny", "--formats", "torch")
    verified = searched.command.run("verify", "runs/tiny/best")

    assert exported.returncode == verified.returncode == 0, exported.stderr + verified.stderr
    folder = searched.command.experiment.path / "best"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 0 in [member["trial"] for member in metrics["members"]]
    best = max(trial.best["val_skill"] for trial in searched.trials)
    assert metrics["scores"]["val"]["model"]["skill"] >= best - 1e-4
    shares = [member.get("share", 1.0) for member in metrics["members"]]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    card = (folder / "MODEL_CARD.md").read_text()
    shown = [f"({member['share']:.0%})" for member in metrics["members"] if "share" in member]
    assert bool(shown) == (len(shares) > 1)
    assert all(share in card for share in shown)
