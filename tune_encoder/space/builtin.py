"""The built-in search spaces."""

import os
from pathlib import Path

from tune_encoder.errors import ConfigError


def builtin_spaces() -> dict[str, Path]:
    """Return the files of the built-in spaces, by name."""
    return {path.stem: path for path in sorted(_spaces_folder().glob("*.yaml"))}


def find_space(name: str) -> Path:
    """Return the file of the built-in space of this name, else the YAML file at this path."""
    shipped = builtin_spaces()
    if name in shipped:
        return shipped[name]
    if not os.path.isfile(name):  # noqa: PTH113  (Path.is_file raises on a name too long)
        raise ConfigError(
            f"{name}: neither a file nor a built-in space; built-in are {', '.join(shipped)}"
        )
    return Path(name)


def space_summary(path: Path) -> str:
    """Return the first line of the comment at the top of a space's file."""
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def _spaces_folder() -> Path:
    """Return the folder of the spaces: in the package in a wheel, next to it in a checkout."""
    package = Path(__file__).parents[1]
    within = package / "search_spaces"
    return within if within.is_dir() else package.parent / "search_spaces"
