import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import make_search, parse_space
from tune_encoder.cli import main
from tune_encoder.cli.confirm import print_confirmation
from tune_encoder.config import SettingValue, TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.errors import ConfigError, SearchFailed, StorageError
from tune_encoder.experiment.confirmation import (
    Confirmation,
    ConfirmedConfig,
    best_configs,
    new_seeds,
    significantly_lower,
    summarize,
    verdict,
)
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.tuning.confirm import confirm, confirmation_name, confirmation_space

CONTENT: dict[str, Any] = {
    "budget": {"trials": 8, "epochs": 2, "time": "1h", "target": 0.1, "seeds": 3},
    "resources": {"concurrent": 1},
    "base": {"hidden_dim": 32, "seed": 4},
    "space": {
        "dropout": {"float": [0.0, 0.4]},
        "head": {"choice": ["pca", "lowrank"]},
        "head_rank": {"int": [16, 256], "log": True, "when": {"head": "lowrank"}},
    },
}
SPACE = parse_space(CONTENT, "test", Path())
LOW_RANK: dict[str, SettingValue] = {"dropout": 0.1, "head": "lowrank", "head_rank": 20}
TRIALS = [
    ("COMPLETE", {"dropout": 0.2, "head": "pca"}, [0.9, 0.5]),
    ("COMPLETE", LOW_RANK, [0.3, 0.4]),
    ("PRUNED", {"dropout": 0.3, "head": "pca"}, [0.6]),
    ("FAIL", {"dropout": 0.4, "head": "pca"}, [0.01]),
    ("COMPLETE", LOW_RANK, [0.35, 0.4]),  # the same config again
    ("RUNNING", {"dropout": 0.25, "head": "pca"}, []),
]
BEST: dict[int, dict[str, SettingValue]] = {
    1: LOW_RANK,
    0: {"dropout": 0.2, "head": "pca"},
    2: {"dropout": 0.3, "head": "pca"},
}


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """A search as it stands in the middle; not to be changed."""
    return make_search(tmp_path_factory.mktemp("runs"), SPACE, TRIALS)


# --- what is trained -----------------------------------------------------------------------------


def test_the_best_configs_are_those_of_the_best_trials_each_once_and_none_that_failed(search):
    assert best_configs(search, 2) == {number: BEST[number] for number in (1, 0)}
    assert best_configs(search, 9) == BEST
    assert list(best_configs(search, 9)) == [1, 0, 2]


def test_configs_that_differ_in_their_seed_alone_are_one(tmp_path):
    space = parse_space({"space": {**CONTENT["space"], "seed": {"int": [0, 9]}}}, "test", Path())
    config: dict[str, SettingValue] = {"dropout": 0.2, "head": "pca"}
    trials = [("COMPLETE", {**config, "seed": seed}, [0.5 + seed]) for seed in (0, 2)]
    made = make_search(tmp_path, space, trials)

    assert best_configs(made, 2) == {0: config}
    assert confirmation_space(made, {0: config}, 2).start == [
        {**config, "seed": 1},
        {**config, "seed": 3},
    ]


def test_new_seeds_are_the_lowest_that_no_trial_had():
    trials = [TrialRecord(n, "COMPLETE", {"seed": seed}) for n, seed in enumerate((0, 1, 4))]

    assert new_seeds(trials, 3) == [2, 3, 5]


def test_each_config_is_trained_with_each_seed_to_the_end_and_nothing_else(search):
    space = confirmation_space(search, best_configs(search, 2), 3)

    seeds = (0, 1, 2)  # the search had 4
    assert space.start == [{**BEST[n], "seed": seed} for n in (1, 0) for seed in seeds]
    assert space.budget.trials == 6
    assert (space.budget.epochs, space.budget.time, space.budget.target) == (2, "", None)
    assert space.budget.seeds == 1  # or confirming would be confirmed in turn
    assert (space.scheduler.name, space.searcher.name) == ("none", "random")
    assert space.base == {"hidden_dim": 32}
    assert space.metric == SPACE.metric
    assert space.resources == SPACE.resources
    assert [parameter.name for parameter in space.parameters] == [
        "dropout",
        "head",
        "seed",
        "head_rank",
    ]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top", "seeds", "message"),
    [
        (0, 3, "top is 0; it must be from 1 to 100"),
        (101, 3, "top is 101; it must be from 1 to 100"),
        (3, 1, "seeds is 1; it must be from 2 to 32, since one seed shows no spread"),
        (3, 33, "seeds is 33; it must be from 2 to 32"),
    ],
)
def test_a_number_out_of_range_is_refused(search, top, seeds, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        confirm(search, top, seeds, print)


def test_a_search_without_a_result_is_refused_with_how_to_go_on(tmp_path):
    made = make_search(tmp_path, SPACE, [("RUNNING", {"dropout": 0.2, "head": "pca"}, [])])

    with pytest.raises(
        SearchFailed,
        match=r"^mine: no trial has a result to confirm; continue with `tune-encoder r",
    ):
        confirm(made, 3, 3, print)


def test_changed_data_are_refused(tmp_path, data_dir):
    made = make_search(tmp_path, SPACE, TRIALS, data_dir=str(data_dir), fingerprint="of other data")

    with pytest.raises(
        StorageError, match=r"demo: not the data that the search began with; restore it"
    ):
        confirm(made, 3, 3, print)
    assert not (made.path / "confirm").exists()


# --- a winner or none ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # Deviation 0.01 each: 2.776 * sqrt(2 * 0.01 ** 2 / 3) = 0.02267
        ([0.40, 0.41, 0.42], [0.433, 0.443, 0.423], True),
        ([0.40, 0.41, 0.42], [0.432, 0.442, 0.422], False),
        ([0.433, 0.443, 0.423], [0.40, 0.41, 0.42], False),
        # One without noise: 2 degrees of freedom, 4.303 * 0.01 / sqrt(3) = 0.02484
        ([0.40, 0.40, 0.40], [0.415, 0.425, 0.435], True),
        ([0.40, 0.40, 0.40], [0.414, 0.424, 0.434], False),
        ([0.4, 0.4], [0.5, 0.5], True),
        ([0.4, 0.4], [0.4, 0.4], False),
        ([0.4], [0.9, 0.9], False),  # of one value no noise is known
    ],
)
def test_a_mean_is_lower_only_outside_the_noise_of_both(a, b, expected):
    assert significantly_lower(a, b) is expected


@pytest.mark.parametrize("deviations", [(1, 1), (1, 10), (1, 1, 1), (10, 1, 1), (1, 3, 9)])
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_among_equals_a_winner_is_named_in_at_most_one_case_of_twenty(deviations, n_seeds):
    generator, n_cases, n_winners = np.random.default_rng(0), 1000, 0
    for _ in range(n_cases):
        drawn = [sorted(generator.normal(0, each, n_seeds)) for each in deviations]
        n_winners += confirmation(sorted(drawn, key=np.mean)).winner is not None

    assert n_winners <= 0.05 * n_cases + 2 * np.sqrt(0.05 * 0.95 * n_cases)


def confirmation(objectives):
    configs = [
        ConfirmedConfig(number, {}, list(range(len(values))), list(values), list(values))
        for number, values in enumerate(objectives)
    ]
    return Confirmation(Experiment(Path("mine")), SPACE.metric, configs, [])


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        (
            [[0.40, 0.41, 0.42], [0.50, 0.51, 0.52], [0.7, 0.8, 0.9]],
            "winner: trial 0, significantly better than the others (Welch's t-test, 95 %)",
        ),
        (
            [[0.40, 0.41, 0.42], [0.41, 0.42, 0.43], [0.50, 0.51, 0.52]],
            "no winner: the top 2 are not significantly different",
        ),
        (
            [[0.40, 0.41, 0.42], [0.41, 0.42, 0.43], [0.42, 0.43, 0.44]],
            "no winner: the top 3 are not significantly different",
        ),
        (
            # The second is steady enough to be told from the first, the third is not.
            [[0.40, 0.41, 0.42], [0.50, 0.51, 0.52], [0.40, 0.70, 1.00]],
            "no winner: the top 3 are not significantly different",
        ),
        ([[0.40, 0.41, 0.42]], "only one config, nothing to compare"),
    ],
)
def test_a_winner_is_named_only_if_it_is_outside_the_noise_of_each_other(objectives, said):
    assert verdict(confirmation(objectives)) == said


def again(tmp_path, trials, metric="val_loss"):
    """A confirming search that has been trained."""
    parameters = {**CONTENT["space"], "seed": {"int": [0, 2]}}
    space = parse_space({"metric": {"name": metric}, "space": parameters}, "test", Path())
    return make_search(tmp_path, space, trials)


def test_a_config_is_summed_up_over_its_seeds_and_one_that_failed_each_time_is_named(tmp_path):
    trials = [
        ("COMPLETE", {**BEST[0], "seed": 1}, [0.6, 0.5, 0.9]),
        ("COMPLETE", {**BEST[0], "seed": 0}, [0.4, 0.6, 0.8]),
        ("COMPLETE", {**BEST[1], "seed": 0}, [0.2, 0.3, 0.4]),
        ("FAIL", {**BEST[1], "seed": 1}, [0.1]),
        ("FAIL", {**BEST[2], "seed": 0}, []),
    ]

    found = summarize(again(tmp_path, trials), BEST)

    first, second = found.configs
    assert (first.trial, first.seeds, first.objectives, first.skills) == (1, [0], [0.2], [0.8])
    assert (second.trial, second.seeds, second.objectives) == (0, [0, 1], [0.4, 0.5])
    assert second.settings == BEST[0]
    assert second.skills == [0.6, 0.5]
    assert found.failed == [2]
    assert found.winner is None


def test_with_a_metric_to_maximise_the_largest_mean_comes_first(tmp_path, capsys):
    trials = [
        ("COMPLETE", {**BEST[n], "seed": seed}, [skill])
        for n, skills in ((0, (0.5, 0.6)), (1, (0.7, 0.8)))
        for seed, skill in enumerate(skills)
    ]

    found = summarize(again(tmp_path, trials, "val_skill"), BEST)

    assert [each.trial for each in found.configs] == [1, 0]
    assert found.configs[0].objectives == [-0.7, -0.8]
    print_confirmation(found)
    assert capsys.readouterr().out.splitlines()[2:4] == [
        "trial  val_skill      sd  skill     sd  lowest  highest  seeds",
        "    1     0.7500  0.0707  0.750  0.071   0.700    0.800      2",
    ]


def test_when_no_config_gave_a_result_again_it_is_said(tmp_path):
    made = again(tmp_path, [("FAIL", {**BEST[0], "seed": 0}, [])])

    with pytest.raises(SearchFailed, match=r"mine: no config gave a result again"):
        summarize(made, BEST)


# --- the command, on a confirming search that has been trained already ---------------------------


@pytest.fixture
def confirmed(tmp_path, data_dir):
    """A search whose best two were trained again, and its root; nothing is left to train."""
    fingerprint = open_pack(pack_data(data_dir, TrainConfig())).info["fingerprint"]
    data = {"data_dir": str(data_dir), "fingerprint": fingerprint}
    made = make_search(tmp_path / "runs", SPACE, TRIALS, **data)
    space = confirmation_space(made, best_configs(made, 2), 3)
    losses = {0.1: (0.30, 0.31, 0.32), 0.2: (0.41, 0.44, 0.40)}
    trials = [
        ("COMPLETE", config, [losses[float(config["dropout"] or 0)][int(config["seed"] or 0)], 0.9])
        for config in space.start
    ]
    again = make_search(tmp_path / "again", space, trials, **data)
    (made.path / "confirm").mkdir()
    again.path.rename(made.path / "confirm" / "top2x3")
    return made


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(["confirm", *arguments])
    return exit.value.code, capsys.readouterr()


def test_the_command_prints_a_line_a_config_and_the_winner(confirmed, capsys):
    code, said = run(capsys, "mine", "--root", str(confirmed.path.parent), "--top", "2")

    assert code == 0, said.err
    assert said.err == (
        "confirming: 2 configs x 3 further seeds, 2 epochs each, in "
        f"{confirmed.path / 'confirm' / 'top2x3'}\n"
    )
    assert said.out.splitlines() == [
        "",
        "retrained with new seeds: mean and standard deviation (sd) over the seeds",
        "trial  val_loss      sd  new-voice skill     sd  lowest  highest  seeds",
        "    1    0.3100  0.0100            0.690  0.010   0.680    0.700      3",
        "    0    0.4167  0.0208            0.583  0.021   0.560    0.600      3",
        "winner: trial 1, significantly better than the others (Welch's t-test, 95 %)",
    ]


def test_json_holds_the_values_of_each_seed(confirmed, capsys):
    options = ["--root", str(confirmed.path.parent), "--top", "2", "--seeds", "3", "--json"]
    code, said = run(capsys, "mine", *options)

    content = json.loads(said.out)
    assert code == 0
    assert (content["winner"], content["within_noise"], content["failed"]) == (1, 1, [])
    assert content["folder"] == str(confirmed.path / "confirm" / "top2x3")
    first = content["configs"][0]
    assert first["settings"] == LOW_RANK
    assert first["seeds"] == [0, 1, 2]
    assert first["metric"] == {
        "values": [0.30, 0.31, 0.32],
        "mean": pytest.approx(0.31),
        "sd": pytest.approx(0.01),
    }


def test_a_search_that_has_other_best_configs_by_now_is_confirmed_in_a_folder_of_its_own(confirmed):
    root = confirmed.path / "confirm"
    same = confirmation_space(confirmed, best_configs(confirmed, 2), 3)
    other = replace(same, start=same.start[::-1])

    assert confirmation_name(root, "top2x3", same) == "top2x3"
    assert confirmation_name(root, "top2x3", other) == "top2x3-2"

    (root / "top2x3-2").mkdir()
    (root / "top2x3-2" / "search.yaml").write_text(
        (root / "top2x3" / "search.yaml").read_text().replace("dropout: 0.1", "dropout: 0.15")
    )
    assert confirmation_name(root, "top2x3", other) == "top2x3-3"
