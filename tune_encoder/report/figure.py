"""Figures and tables of the page; every figure has a text summary and its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tune_encoder.system.formats import format_value

if TYPE_CHECKING:
    from tune_encoder.report.drawing import Canvas

MAX_ROWS = 300  # of a table; all rows are in the record


@dataclass(frozen=True)
class Table:
    """Columns of plain values."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    omitted: str = ""
    """Which rows are omitted, if any."""


@dataclass(frozen=True)
class Figure:
    """A plot with a text summary and its data."""

    key: str
    """The figure's ID within the page: letters, digits and hyphens."""
    title: str
    summary: str
    """A text description, also for screen readers."""
    canvas: "Canvas | None" = None
    """None if there is nothing to plot; the summary then says why."""
    table: Table | None = None

    @cached_property
    def svg(self) -> str:
        """The plot as an SVG element; empty if there is nothing to plot."""
        return "" if self.canvas is None else self.canvas.svg()


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """Return a table of the first rows, and how many rows there are."""
    left = len(rows) - MAX_ROWS
    note = f"The first {MAX_ROWS} of {len(rows)} rows." if left > 0 else ""
    cells = [[format_value(cell, missing="") for cell in row] for row in rows[:MAX_ROWS]]
    return Table(columns, cells, note)
