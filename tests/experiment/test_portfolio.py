"""Portfolios of configs, from made searches whose losses are a function of their settings."""

from pathlib import Path

import pytest

from tests.builders import make_search, parse_space
from tune_encoder.api.searching import PreparedSearch
from tune_encoder.cli import main
from tune_encoder.cli.search import print_warm_starts
from tune_encoder.config import read_yaml
from tune_encoder.experiment.portfolio import choose_portfolio
from tune_encoder.space import parse_space as parse_any_space

N = 24
CONTENT = {
    "budget": {"trials": N, "epochs": 2},
    "space": {
        "dropout": {"float": [0.0, 0.5]},
        "learning_rate": {"float": [1.0e-4, 1.0e-2], "log": True},
        "head": {"choice": ["joint", "lowrank"]},
        "head_rank": {"int": [16, 256], "log": True, "when": {"head": "lowrank"}},
    },
}
SPACE = parse_space(CONTENT, "test", Path())


def searched(root, name, best_dropout):
    """A search in which configs are the better the nearer their dropout is to the best."""
    trials = [
        (
            "COMPLETE",
            {
                "dropout": i / (2 * (N - 1)),
                "learning_rate": 1e-3,
                **({"head": "lowrank", "head_rank": 32} if i % 2 else {"head": "joint"}),
            },
            [0.1 + abs(i / (2 * (N - 1)) - best_dropout)] * 2,
        )
        for i in range(N)
    ]
    return make_search(root, SPACE, trials, name)


@pytest.fixture
def three(tmp_path):
    return [
        searched(tmp_path, name, best)
        for name, best in (("low", 0.05), ("same", 0.06), ("high", 0.45))
    ]


def test_of_one_search_it_is_the_best_configs_in_order(three):
    starts = choose_portfolio(three[:1], SPACE)

    assert dropouts_of(starts) == pytest.approx([2 / 46, 3 / 46, 6 / 46])  # those between are alike
    assert [start.origin for start in starts] == ["low/2", "low/3", "low/6"]


def test_searches_that_want_different_configs_get_one_each_before_any_gets_a_second(three):
    starts = choose_portfolio(three, SPACE)

    first, second, *more = dropouts_of(starts)
    assert first < 0.1
    assert second > 0.4
    assert starts[1].origin.startswith("high/")
    assert len(more) == 6


def test_no_two_configs_are_alike(three):
    configs = [start.config for start in choose_portfolio(three, SPACE)]

    assert all(one != other for i, one in enumerate(configs) for other in configs[:i])


def test_a_config_has_the_settings_that_the_space_searches_in_it_and_within_its_ranges(three):
    content = {"space": {"dropout": {"float": [0.0, 0.1]}, "hidden_dim": {"choice": [32, 64]}}}
    narrow = parse_any_space({**content, "base": {"head": "joint"}}, "test", Path())

    for start in choose_portfolio(three, narrow):
        assert set(start.config) <= {"dropout", "hidden_dim"}
        assert "dropout" not in start.config or dropouts_of([start])[0] <= 0.1
    for start in choose_portfolio(three, SPACE):
        assert ("head_rank" in start.config) == (start.config["head"] == "lowrank")


def dropouts_of(starts):
    return [float(start.config["dropout"] or 0.0) for start in starts]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_command_writes_a_start_section_that_a_space_can_have(three, tmp_path, capsys):
    code, said, _ = run(capsys, "portfolio", "low", "high", "--size", 2, "--root", tmp_path)

    assert code == 0
    (tmp_path / "start.yaml").write_text(said)
    section = read_yaml(tmp_path / "start.yaml")
    space = parse_any_space({**CONTENT, **section}, "test", Path())
    assert space.start == [each.config for each in choose_portfolio([three[0], three[2]], SPACE, 2)]
    assert said.splitlines()[1].endswith("# from low/2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "-1"], "--size is -1; give at least 1"),
        (["--space", "other.yaml"], "low: no trial has both a result and a setting that the space"),
    ],
)
def test_what_cannot_be_chosen_is_said_in_a_line(
    three, tmp_path, capsys, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    Path("other.yaml").write_text("space: {dropout: {float: [0.51, 0.6]}}\n")

    code, _, said = run(capsys, "portfolio", "low", "--root", tmp_path, *options)

    assert code == 2
    assert said.startswith(f"tune-encoder: {message}")
    assert said.count("\n") == 1


def test_a_search_says_which_earlier_trials_it_tries_first(three, tmp_path, capsys):
    content = {**CONTENT, "space": {"dropout": {"float": [0.0, 0.2]}}}
    elsewhere = {**CONTENT, "space": {"weight_decay": {"float": [0.1, 0.2]}}}

    for each in (content, elsewhere):
        space = parse_space(each, "test", Path())
        prepared = PreparedSearch(space, tmp_path, is_demo=False, name="new", root=tmp_path)
        print_warm_starts(prepared, ["low"])
        print_warm_starts(prepared, [])

    assert capsys.readouterr().out.splitlines() == [
        "first, trials of low: 2, 3, 1",
        "first, trials of low: none has settings within the space",
    ]
