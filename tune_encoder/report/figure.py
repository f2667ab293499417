"""What a page is made of: figures and tables, each with its data in words and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from tune_encoder.system.formats import format_value

MAX_ROWS = 300  # of a table; whoever wants more has the record


@dataclass(frozen=True)
class Table:
    """Columns of plain values."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    omitted: str = ""
    """What is not in it, if anything."""


@dataclass(frozen=True)
class Figure:
    """A drawing with what it shows in words and the data it was drawn from."""

    key: str
    """Its name within the page; letters, digits and hyphens."""
    title: str
    summary: str
    """What it shows, for whoever cannot see it and whoever is in a hurry."""
    svg: str = ""
    """Nothing where there is nothing to draw; the summary then says why."""
    table: Table | None = None


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table of the first rows, which says how many more there are."""
    left = len(rows) - MAX_ROWS
    note = f"The first {MAX_ROWS} of {len(rows)} rows." if left > 0 else ""
    cells = [[format_value(cell, missing="") for cell in row] for row in rows[:MAX_ROWS]]
    return Table(columns, cells, note)
