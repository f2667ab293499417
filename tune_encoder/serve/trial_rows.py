"""The rows of the table of trials."""

from collections.abc import Mapping
from typing import Any

from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.facts import Facts
from tune_encoder.serve.charts import Options

TrialRow = dict[str, Any]

# The page of a trial is opened by its link, or with Enter on any of its cells.
_LINK = """(cell) => {
  const link = document.createElement("a");
  link.href = `${location.pathname}/${cell.value}`;
  link.textContent = cell.value;
  return link;
}"""
_OPEN = """(cell) => {
  if (cell.event.key === "Enter") location.href = `${location.pathname}/${cell.data.trial}`;
}"""
_FOUR_DIGITS = "(cell) => typeof cell.value === 'number' ? +cell.value.toPrecision(4) : cell.value"
# A failed trial is no result, whatever value its epochs had.
_FAILED_LAST = """(one, other, row, next, descends) => {
  const last = (value, of) => value == null || of.data.state === "failed";
  const by = last(one, row) - last(other, next);
  return by ? (descends ? -by : by) : one - other;
}"""


def trial_rows(
    facts: Facts, known: Mapping[int, TrialRow], before: Facts | None
) -> dict[int, TrialRow]:
    """Return the row of each trial by its number.

    Args:
        facts: The search.
        known: The rows of the time before, which stay where a trial is the same object.
        before: The search at that time.
    """
    same = before is not None and before.is_running == facts.is_running
    old = {trial.number: trial for trial in before.trials} if before is not None and same else {}
    return {
        trial.number: known[trial.number]
        if old.get(trial.number) is trial and trial.number in known
        else _row(facts, trial)
        for trial in facts.trials
    }


def _row(facts: Facts, trial: TrialRecord) -> TrialRow:
    best = trial.best
    searched = {f"set_{name}": value for name, value in facts.searched(trial).items()}
    return {
        "trial": trial.number,
        "state": facts.status_of(trial),
        "epochs": len(trial.rows),
        "best_epoch": best["epoch"] if best else None,
        "value": facts.value(best) if best else None,
        **searched,
        "reason": trial.reason,
    }


def grid_options(facts: Facts, rows: dict[int, TrialRow]) -> Options:
    """Return the options of the grid: it sorts, filters, and knows each row by its trial."""
    names = [parameter.name for parameter in facts.space.parameters]
    falls = facts.space.metric.direction == "min"
    columns = [
        {
            "field": "trial",
            "headerName": "trial",
            "filter": "agNumberColumnFilter",
            ":cellRenderer": _LINK,
            "pinned": "left",
            "width": 84,
            "minWidth": 84,
        },
        {"field": "state", "headerName": "state", "width": 140},
        {
            "field": "epochs",
            "headerName": "epochs",
            "filter": "agNumberColumnFilter",
            "width": 110,
        },
        {
            "field": "value",
            "headerName": facts.metric,
            "filter": "agNumberColumnFilter",
            ":valueFormatter": _FOUR_DIGITS,
            ":comparator": _FAILED_LAST,
            "sort": "asc" if falls else "desc",
            "width": 120,
        },
        {
            "field": "best_epoch",
            "headerName": "best epoch",
            "filter": "agNumberColumnFilter",
            "width": 124,
        },
        *(_setting_column(name) for name in names),
        {"field": "reason", "headerName": "why", "width": 320, "tooltipField": "reason"},
    ]
    return {
        "columnDefs": columns,
        "defaultColDef": {
            "filter": "agTextColumnFilter",
            "floatingFilter": True,
            "sortable": True,
            "resizable": True,
            "minWidth": 90,
        },
        "rowData": list(rows.values()),
        ":getRowId": "(row) => String(row.data.trial)",
        ":onCellKeyDown": _OPEN,
        "suppressFieldDotNotation": True,
        "enableCellTextSelection": True,
    }


def _setting_column(name: str) -> Options:
    return {
        "field": f"set_{name}",
        "headerName": name,
        "width": max(116, 9 * len(name) + 50),
        ":valueFormatter": _FOUR_DIGITS,
    }
