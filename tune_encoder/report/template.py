"""Pages made from templates, and written whole; all text in them is escaped."""

from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from tune_encoder.errors import StorageError
from tune_encoder.system.files import atomic_write


def render_template(name: str, **values: Any) -> str:
    """Return a page made from a template of this package.

    Args:
        name: Its path within the package, such as page.html.
        values: What it shows, beside `markup`, `styles` and `version`.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        loader=FunctionLoader(package_text),
    )
    return environment.get_template(name).render(
        markup=Markup,
        styles=lambda *names: Markup("".join(map(package_text, names))),
        version=version("tune-encoder"),
        **values,
    )


@cache
def package_text(name: str) -> str:
    """Return the content of a file of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def write_page(to: Path, text: str, usual_name: str, option: str) -> None:
    """Write a page; an older one is replaced.

    Args:
        to: The file; its folder is created if needed.
        text: The page.
        usual_name: A file name for an error to propose.
        option: The option that names the file.

    Raises:
        StorageError: if it cannot be written.
    """
    check_page(to, usual_name)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(to, text.encode())
    except OSError as error:
        raise StorageError(
            f"{to}: cannot be written ({error.strerror}); name another file with {option}"
        ) from error


def check_page(to: Path, usual_name: str) -> None:
    """Raise a `StorageError` if a page cannot be written there since it is a folder."""
    if to.is_dir():
        raise StorageError(f"{to}: is a folder; name a file, such as {to / usual_name}")
