"""The report: one self-contained HTML file with the results of a search, readable offline.

The figures are embedded as SVG, so they work without scripts, as in mail previews, can be printed,
and keep the page small. A script of a few lines shows tooltips.
"""

from tune_encoder.report.page import write_report

__all__ = ["write_report"]
