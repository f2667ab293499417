"""The report: one self-contained HTML file with the results of a search, readable offline.

The figures are embedded as SVG, so they work without scripts, as in mail previews, can be printed,
and keep the page small. A script of a few lines shows tooltips.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tune_encoder.report.page import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> object:
    """Import the page when it is asked for: it loads torch, which the figures' data do not."""
    if name == "write_report":
        return importlib.import_module("tune_encoder.report.page").write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
