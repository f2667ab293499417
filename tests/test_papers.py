import re
from pathlib import Path

import pytest

from tune_encoder import __version__
from tune_encoder.cli import make_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"(?:`|^ {4})tune-encoder ([a-z][^`\n]*)", README, re.MULTILINE)


def test_the_newest_entry_of_the_changelog_is_the_version():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert newest is not None
    assert project is not None
    assert newest.group(1) == project.group(1) == __version__


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_parses(command):
    words = command.replace("NAME", "name").replace("MODEL", "model").split()

    assert make_parser().parse_args(words).command
