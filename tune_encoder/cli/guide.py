"""guide: shows the manual in the terminal."""

import argparse
import sys
from pathlib import Path

from tune_encoder.cli.common import Commands, add_command, print_table
from tune_encoder.config import unknown_name_message
from tune_encoder.errors import ConfigError
from tune_encoder.experiment.status import WIDTH

GUIDES = Path(__file__).parents[1] / "guides"
_SPACES = "spaces"  # this guide is in the folder of the spaces that it describes


def add_guide(commands: Commands) -> None:
    """Add the command `guide`."""
    parser = add_command(commands, "guide", _guide)
    parser.add_argument(
        "topic", nargs="?", metavar="TOPIC", help="without it the topics are listed"
    )


def _guide(options: argparse.Namespace) -> None:
    """Read the manual: a guide for each topic."""
    topics = guides()
    if options.topic is None:
        _list(topics)
    elif options.topic in topics:
        _show(topics[options.topic].read_text(encoding="utf-8"))
    else:
        problem = f"guide: {unknown_name_message(options.topic, topics, 'topic')}"
        known = ", ".join(topics)
        raise ConfigError(problem if known in problem else f"{problem} The topics are {known}")


def guides() -> dict[str, Path]:
    """Return the file of each guide by its topic, in the order of the alphabet."""
    from tune_encoder.space import builtin_spaces

    found = {path.stem: path for path in GUIDES.glob("*.md")}
    spaces = next(iter(builtin_spaces().values())).with_name("README.md")
    return dict(sorted({**found, _SPACES: spaces}.items()))


def about(path: Path) -> str:
    """Return what a guide is for: its first paragraph, in one line."""
    return " ".join(path.read_text(encoding="utf-8").split("\n\n")[1].split())


def _list(topics: dict[str, Path]) -> None:
    print_table("lp", [(name, about(path)) for name, path in topics.items()])
    print("\nread one:  tune-encoder guide TOPIC")


def _show(text: str) -> None:
    """Print a guide: laid out on a terminal, as it is written into a pipe or a file."""
    if not sys.stdout.isatty():
        print(text, end="")
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    console = Console(theme=Theme({"markdown.code": "cyan"}))  # on any background
    page = Markdown(text, code_theme="ansi_dark", hyperlinks=False)  # links are between files
    console.print(page, width=min(WIDTH, console.width))
