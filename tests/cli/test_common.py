import argparse
from dataclasses import dataclass

import pytest

from tune_encoder.cli.common import add_setting, given_settings, table_lines
from tune_encoder.config import setting


@dataclass(frozen=True, kw_only=True)
class Settings:
    clip_count: int = setting(3, "clips", minimum=1)
    level: float | None = setting(None, "level, dB; empty: as recorded")
    kind: str = setting("a", "100 % of a kind", choices=("a", "b"))
    loud: bool = setting(False, "whether it is loud")


def parser_of(*names, **changes):
    parser = argparse.ArgumentParser(prog="p", add_help=False)
    for name in names:
        add_setting(parser, Settings, name, **changes)
    return parser


def help_of(name, **changes):
    return " ".join(parser_of(name, **changes).format_help().split()).partition("options: ")[2]


def test_an_option_has_the_type_and_the_default_of_its_setting():
    parser = parser_of("clip_count", "level", "kind", "loud")

    assert given_settings(parser.parse_args([]), Settings) == {
        "clip_count": 3,
        "level": None,
        "kind": "a",
        "loud": False,
    }
    arguments = ["--clip-count", "5", "--level", "-2.5", "--kind", "b", "--loud"]
    assert given_settings(parser.parse_args(arguments), Settings) == {
        "clip_count": 5,
        "level": -2.5,
        "kind": "b",
        "loud": True,
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clip_count", "--clip-count CLIP_COUNT clips (default: 3)"),
        ("level", "--level LEVEL level, dB (default: as recorded)"),
        ("kind", "--kind {a,b} 100 % of a kind (default: a)"),
        ("loud", "--loud whether it is loud"),
    ],
)
def test_an_option_says_what_its_setting_is_and_what_it_is_if_not_given(name, words):
    assert help_of(name) == words


def test_an_option_that_overrides_a_setting_has_no_default_and_says_none():
    assert parser_of("clip_count", overrides=True).parse_args([]).clip_count is None
    assert help_of("level", overrides=True) == "--level LEVEL level, dB"


def test_a_command_may_say_more_and_name_its_option_otherwise():
    found = help_of("clip_count", more=" of each voice", flag="--clips", metavar="N")

    assert found == "--clips N clips of each voice (default: 3)"
    assert parser_of("clip_count", flag="--clips").parse_args(["--clips", "7"]).clip_count == 7


def test_a_value_that_is_no_choice_of_the_setting_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        parser_of("kind").parse_args(["--kind", "c"])

    assert "argument --kind: invalid choice: 'c'" in capsys.readouterr().err


# --- tables --------------------------------------------------------------------------------------


def test_text_is_at_the_left_and_numbers_at_the_right_without_spaces_at_the_end():
    rows = [("name", "epochs", "state"), ("a", "12", "done"), ("longer", "3", "")]

    assert table_lines("lrl", rows) == [
        "name    epochs  state",
        "a           12  done",
        "longer       3",
    ]


@pytest.mark.parametrize("name", ["[bold]a[/bold]", "[/]", "[link=x]a", ":smile:", "a\\[b]"])
@pytest.mark.parametrize("align", ["l", "r", "p"])
def test_what_looks_like_markup_is_shown_as_it_is(align, name):
    assert table_lines(align, [(name,)]) == [name]


def test_a_long_text_is_broken_into_lines_or_left_whole():
    rows = [("a", "many words " * 12, "/" + "x" * 90)]

    (whole,) = table_lines("lll", rows)
    broken = table_lines("lpp", rows)

    assert whole.endswith(" /" + "x" * 90)
    assert max(map(len, broken)) == 80
    assert sum(line.count("x") for line in broken) == 90


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_a_table_has_no_colours_even_where_they_are_forced(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")

    assert table_lines("lr", [("name", "3.5"), ("/a/b", "True")]) == ["name   3.5", "/a/b  True"]
