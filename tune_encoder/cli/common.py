"""Options and output that several commands share."""

import argparse
import dataclasses
import json
import math
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from tune_encoder.config import DEFAULT_ROOT, RunSettings
from tune_encoder.data.score_words import skill_name
from tune_encoder.experiment.status import WIDTH

SCORES = {
    "skill": "skill",
    "skill_ttl": "ttl",
    "skill_dp": "dp",
    "centered_cosine": "centred cosine",
    "retrieval": "retrieval",
    "retrieval_chance": "chance",
}
_PARTS = {name: SCORES[name] for name in ("skill_ttl", "skill_dp")}
_UNLIMITED = 10_000  # columns; a path that is broken into lines cannot be copied


class Commands(Protocol):
    """The commands of a program, as `ArgumentParser.add_subparsers` returns them."""

    def add_parser(
        self, name: str, *, help: str, description: str | None = None
    ) -> argparse.ArgumentParser:
        """Add a command."""


Run = Callable[[argparse.Namespace], None]
"""What a command does with its options."""


def add_command(
    commands: Commands, name: str, run: Run, *, outlives_reader: bool = False
) -> argparse.ArgumentParser:
    """Add a command whose help is the first line of its function's docstring.

    Args:
        commands: Where to add it.
        name: Its name.
        run: Its function.
        outlives_reader: Whether it makes more than its output, and comes to its end although nobody
            reads that any more.
    """
    doc = (run.__doc__ or "").splitlines()[0]
    parser = commands.add_parser(name, help=doc, description=doc)
    parser.set_defaults(command=run, outlives_reader=outlives_reader)
    return parser


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add `--root`."""
    parser.add_argument(
        "--root", type=Path, default=DEFAULT_ROOT, help="folder of experiments (default: runs)"
    )


def add_setting(
    parser: argparse.ArgumentParser,
    kind: type[Any],
    name: str,
    *,
    overrides: bool = False,
    more: str = "",
    **changes: Any,
) -> None:
    """Add the option of a setting; its help, type, choices and default are those of the setting.

    Args:
        parser: The command's parser.
        kind: The dataclass of the setting.
        name: The name of the setting.
        overrides: Whether the setting has a value already, which an absent option leaves as it is.
        more: What the help says of this command alone.
        changes: `flag` instead of the setting's name, and arguments of `add_argument`.
    """
    field = next(field for field in dataclasses.fields(kind) if field.name == name)
    words, _, meaning_of_empty = field.metadata["help"].partition("; empty: ")
    default = None if overrides else field.default
    if not overrides and (meaning_of_empty or default not in (None, "", False)):
        more = f"{more} (default: {meaning_of_empty or default})"
    arguments = {**_value_arguments(kind, field), "dest": name, "default": default, **changes}
    flag = arguments.pop("flag", f"--{name.replace('_', '-')}")
    parser.add_argument(flag, help=(words + more).replace("%", "%%"), **arguments)


def _value_arguments(kind: type[Any], field: "dataclasses.Field[Any]") -> dict[str, Any]:
    """Return how argparse parses the value of a setting."""
    value_type = typing.get_type_hints(kind)[field.name]
    if value_type is bool:
        return {"action": "store_true"}
    if isinstance(value_type, types.UnionType):  # with None
        value_type = typing.get_args(value_type)[0]
    return {"type": value_type, "choices": field.metadata["choices"]}


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add `--data-dir`."""
    add_setting(parser, RunSettings, "data_dir", type=Path, default=None)


def given_settings(options: argparse.Namespace, kind: type[Any]) -> dict[str, Any]:
    """Return the values of the options that correspond to the settings of a kind."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}


def demo_voices() -> Path:
    """Return the folder of the built-in demo voices, and print that they are used."""
    from tune_encoder.data.demo import cached_demo

    folder = cached_demo()
    announce_demo(folder)
    return folder


def announce_demo(folder: Path) -> None:
    """Print that the built-in demo voices are used."""
    print(f"no --data-dir given: using the demo voices in {folder}")


def format_skills(scores: dict[str, float], kind: str | None) -> str:
    """Format the three skills on voices of a kind, each with its standard error over folds."""
    skill, *parts = (
        f"{word} {scores[name]:.3f}{_error(scores, name)}"
        for name, word in (("skill", skill_name(kind)), *_PARTS.items())
    )
    return ", ".join([skill, *parts])


def _error(scores: dict[str, float], name: str) -> str:
    if "skill_ttl_se" not in scores:  # on a single split
        return ""
    return f" +- {scores[f'{name}_se']:.3f}" if f"{name}_se" in scores else ""


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_view(options: argparse.Namespace, content: object, lines: Iterable[str]) -> None:
    """Print the content as JSON with `--json`, else the lines."""
    if options.json:
        print(json.dumps(replace_non_finite(content), indent=2, allow_nan=False))
        return
    for line in lines:
        print(line)


def table_lines(align: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; columns are two spaces apart.

    Args:
        align: A letter for each column: `l` for text and `r` for numbers, as wide as they are, `p`
            for text that is broken into lines so that the table fits into 80 columns.
        rows: A text for each column, shown as it is; the first row may name the columns.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for letter in align:
        justify: Literal["left", "right"] = "right" if letter == "r" else "left"
        table.add_column(justify=justify, no_wrap=letter != "p", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = WIDTH if "p" in align else _UNLIMITED
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def print_table(align: str, rows: Iterable[Sequence[str]]) -> None:
    """Print a table of at least one row, as `table_lines` lays it out."""
    print("\n".join(table_lines(align, rows)))


def wrap_names(line: str) -> list[str]:
    """Break a line of names, but no name."""
    return textwrap.wrap(
        line, width=WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def replace_non_finite(value: object) -> object:
    """Replace NaN and infinity, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {name: replace_non_finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [replace_non_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
