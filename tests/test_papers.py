import re
from pathlib import Path

from tune_encoder import __version__

ROOT = Path(__file__).parent.parent


def test_the_newest_entry_of_the_changelog_is_the_version():
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert newest is not None
    assert project is not None
    assert newest.group(1) == project.group(1) == __version__
