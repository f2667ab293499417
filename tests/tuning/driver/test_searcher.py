"""What the worker of a trial is told."""

from tests.builders import new_experiment, parse_space
from tests.tuning.driven import DrivenSearch

SPACE = parse_space(
    {
        "budget": {"trials": 2, "epochs": 2},
        "scheduler": {"name": "none"},
        "space": {
            "head": {"choice": ["pca", "lowrank"]},
            "pca_components": {"int": [4, 64], "when": {"head": "pca"}},
            "head_rank": {"int": [4, 64], "when": {"head": "lowrank"}},
        },
        "start": [{"head": "pca", "pca_components": 8}, {"head": "lowrank", "head_rank": 16}],
    }
)


def test_the_settings_to_show_of_a_trial_are_those_that_apply_to_it(tmp_path):
    search = DrivenSearch(new_experiment(tmp_path, space=SPACE), SPACE, lambda n, epoch: 1.0)
    search.step()

    told = [trial.config["worker"].searched for trial in search.running]

    assert told == [("head", "pca_components"), ("head", "head_rank")]
