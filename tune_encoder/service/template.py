"""Files that start a search elsewhere, from their templates."""

import shlex
import sys
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from tune_encoder.ray_settings import node_environment
from tune_encoder.service.submission import Submission


def filled(name: str, submission: Submission, **values: Any) -> str:
    """Return the file that the template of this name gives for a search.

    Args:
        name: Of the template, beside this module.
        submission: The search; its values stand in a shell's quotes.
        values: What else the template names.
    """
    # What is written is for shells and YAML, not for browsers, so nothing is escaped as HTML.
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        comment_start_string="{*",  # what Jinja takes for one by itself is the length of an array
        comment_end_string="*}",
    )
    environment.filters["quoted"] = shlex.quote
    environment.filters["command"] = shlex.join
    template = environment.from_string(_text(f"{name}.jinja"))
    versions = {"ray": version("ray"), "program": version("tune-encoder")}
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    text = template.render(
        submission=submission,
        versions=versions,
        python=python,
        ray_variables=node_environment(),
        postgresql=submission.keeping.record.startswith("postgresql"),
        **values,
    )
    return f"{text.rstrip()}\n"


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
