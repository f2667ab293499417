"""The page: contents rendered to HTML and written atomically."""

import base64
import hashlib
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tune_encoder.errors import StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.report.contents import Contents, read_contents
from tune_encoder.system.files import atomic_write

REPORT_NAME = "report.html"


def write_report(
    experiment: Experiment, to: Path | None = None, compare: Sequence[Experiment] = ()
) -> Path:
    """Write an HTML report of a search, and return its path.

    Args:
        experiment: The search; it may be running.
        to: The file; report.html within the experiment by default. An older one is replaced.
        compare: Searches of the same root to compare with.

    Raises:
        ConfigError, StorageError: if the search's files are damaged, or the page cannot be written.
    """
    to = to or experiment.path / REPORT_NAME
    if to.is_dir():
        raise StorageError(f"{to}: is a folder; name a file, such as {to / REPORT_NAME}")
    text = render(read_contents(experiment, compare))
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(to, text.encode())
    except OSError as error:
        raise StorageError(
            f"{to}: cannot be written ({error.strerror}); name another file with --to"
        ) from error
    return to


def render(contents: Contents) -> str:
    """Return the page; all text is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    script = _text("page.js")
    return environment.from_string(_text("page.html")).render(
        contents=contents,
        markup=Markup,
        style=Markup(_text("page.css")),
        script=Markup(script),
        script_hash=_hash(script),
        written=time.strftime("%Y-%m-%d %H:%M"),
        version=version("tune-encoder"),
    )


@cache
def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The script's hash for the Content Security Policy; no other script can run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
