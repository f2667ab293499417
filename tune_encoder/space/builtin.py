"""The spaces that come with the program."""

import os
from pathlib import Path

from tune_encoder.errors import ConfigError


def builtin_spaces() -> dict[str, Path]:
    """Return the files of the spaces that come with the program, by name."""
    return {path.stem: path for path in sorted(_spaces_folder().glob("*.yaml"))}


def find_space(name: str) -> Path:
    """Return the YAML file a person named, or the one of that name that comes with the program."""
    shipped = builtin_spaces()
    if name in shipped:
        return shipped[name]
    if not os.path.isfile(name):  # noqa: PTH113  (Path.is_file raises on a name too long)
        raise ConfigError(f"{name}: no such file, nor a space of the program: {', '.join(shipped)}")
    return Path(name)


def space_summary(path: Path) -> str:
    """Return the first line of the comment a space's file begins with."""
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def _spaces_folder() -> Path:
    """In a wheel the spaces lie in the package, in a checkout beside it."""
    package = Path(__file__).parents[1]
    within = package / "search_spaces"
    return within if within.is_dir() else package.parent / "search_spaces"
