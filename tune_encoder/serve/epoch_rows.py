"""The rows of the table of a trial's epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.views import TrialView
from tune_encoder.serve.charts import Options

_FIRST = ("epoch", "val_loss", "val_skill", "train_loss", "learning_rate", "seconds")
_FIVE_DIGITS = (
    "(cell) => typeof cell.value === 'number' ? String(+cell.value.toPrecision(5)) : cell.value"
)
# NiceGUI takes what stands under a key that begins with a colon for JavaScript, however deep; and
# a record may have come from somebody else.
_PREFIX = "row_"


def epoch_rows(rows: Sequence[EpochRow]) -> list[dict[str, Any]]:
    """Return the rows of the grid, with the values that are neither lists nor mappings."""
    return [{f"{_PREFIX}{name}": value for name, value in _scalars(row).items()} for row in rows]


def _scalars(row: Mapping[str, object]) -> dict[str, object]:
    return {name: v for name, v in row.items() if isinstance(v, str | int | float)}


def epochs_grid(view: TrialView) -> Options:
    """Return the options of the grid: a column for each value, the epoch and the metric first."""
    names = [*_FIRST, *dict.fromkeys(name for row in view["rows"] for name in _scalars(row))]
    columns = [
        {
            "field": f"{_PREFIX}{name}",
            "headerName": name,
            "width": max(110, 8 * len(name) + 40),
            ":valueFormatter": _FIVE_DIGITS,
        }
        for name in dict.fromkeys(["epoch", view["metric"], *names])
    ]
    return {
        "columnDefs": columns,
        "defaultColDef": {"sortable": True, "resizable": True},
        "rowData": epoch_rows(view["rows"]),
        ":getRowId": f"(row) => String(row.data.{_PREFIX}epoch)",
        "suppressFieldDotNotation": True,
        "enableCellTextSelection": True,
    }
