"""The report: one HTML page that says what a search found, for a browser without a network.

The figures are drawn here and stand in the page as SVG. So they show where scripts do not run, as
in the preview of a mail, and can be printed; and the page stays small. The one script, a few
lines, shows what a mark stands for when it is pointed at.
"""

from tune_encoder.report.page import write_report

__all__ = ["write_report"]
