"""The page: contents rendered to HTML and written atomically."""

import base64
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from tune_encoder.experiment.folder import Experiment
from tune_encoder.report.contents import Contents, read_contents
from tune_encoder.report.template import check_page, package_text, render_template, write_page

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
    check_page(to, REPORT_NAME)
    write_page(to, render(read_contents(experiment, compare)), REPORT_NAME, "--to")
    return to


def render(contents: Contents) -> str:
    """Return the page; all text is escaped."""
    script = package_text("page.js")
    return render_template(
        "page.html",
        contents=contents,
        script=Markup(script),
        script_hash=_hash(script),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def _hash(script: str) -> str:
    """The script's hash for the Content Security Policy; no other script can run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
