"""Drawing: matplotlib figures as SVG embedded in the page, with a tooltip for each mark.

Every figure is about as wide as a phone, so that its text is never scaled down; it grows with the
page. The colours are the colour-blind safe palette of Okabe and Ito, and no information is conveyed
by colour alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as MplFigure
from matplotlib.figure import SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tune_encoder.report.palette import BLACK as BLACK
from tune_encoder.report.palette import BLUE as BLUE
from tune_encoder.report.palette import GREEN as GREEN
from tune_encoder.report.palette import GREY as GREY
from tune_encoder.report.palette import ORANGE as ORANGE
from tune_encoder.report.palette import PALE as PALE
from tune_encoder.report.palette import PURPLE, SKY

WIDTH, HEIGHT = 400, 260  # SVG units, one CSS pixel each on a phone
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 8, 26  # margins of the axes, with tick labels
LABEL_HEIGHT = 19  # of the name of an axis
_LETTER, _MARGIN = 7.2, 14  # width of a letter of a label, and the margin beside labels
_LEGEND_ROW = 19
_MOST_TICKS = 6
_FEW_DECADES = 10**1.8  # range of an axis; above it, ticks are at powers of ten
POINTS_PER_INCH = 72  # matplotlib's; a unit of the SVG is a point
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "svg.hashsalt": "report",  # the same data gives the same file
    "text.parse_math": False,
    "font.size": 12,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "axes.titlesize": 12,
    "axes.titlepad": 8,
    "hatch.color": "#8a8a8a",
    "legend.frameon": False,
    "legend.fontsize": 11,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_DECIMALS = re.compile(r"(\.\d\d)\d+")
_FONT = re.compile(r"font-family:[^;]*;\s*")
ElementTree.register_namespace("", "http://www.w3.org/2000/svg")


_NOTEBOOK_WIDTH = 560  # CSS pixels of a figure in a notebook
_NOTEBOOK_DPI = 2 * POINTS_PER_INCH * _NOTEBOOK_WIDTH / WIDTH  # sharp on a screen of double density


class Tooltip(NamedTuple):
    """The tooltip of a mark."""

    text: str
    trial: int | None = None
    """The mark's trial; all marks of a trial are highlighted together."""


class NotebookFigure(MplFigure):
    """A figure that a notebook shows although pyplot, which would show it, was never imported."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        image = BytesIO()
        self.savefig(image, format="png", dpi=_NOTEBOOK_DPI)
        return image.getvalue(), {"width": _NOTEBOOK_WIDTH}


def stacked(heights: Sequence[float]) -> tuple[NotebookFigure, list[SubFigure]]:
    """Return an empty figure, and a part of it for a canvas of each of these heights."""
    whole = _empty(sum(heights))
    with matplotlib.rc_context(_STYLE):
        parts = whole.subfigures(len(heights), height_ratios=heights, hspace=0, squeeze=False)
    return whole, list(parts[:, 0])


def _empty(height: float) -> NotebookFigure:
    with matplotlib.rc_context(_STYLE):
        whole = NotebookFigure(figsize=(WIDTH / POINTS_PER_INCH, height / POINTS_PER_INCH))
    FigureCanvasSVG(whole)
    return whole


@dataclass
class Canvas:
    """A figure with one pair of axes; the label of the vertical axis is above it.

    Margins are fixed: measuring the text first would take most of the time.
    """

    key: str
    """The figure's ID within the page."""
    height: float = HEIGHT
    labels: Sequence[str] = ()
    """Categories of the vertical axis from the top, in place of numbers."""
    place: SubFigure | None = None
    """The part of a larger figure to draw in, from `stacked`; by default a figure of its own."""
    _tooltips: list[Sequence[Tooltip]] = field(default_factory=list)

    def __post_init__(self) -> None:
        whole = _empty(self.height) if self.place is None else self.place.get_figure(root=True)
        assert isinstance(whole, NotebookFigure)
        self._whole, self._part = whole, self.place or whole
        with matplotlib.rc_context(_STYLE):
            self.axes = self._part.add_axes((0, 0, 1, 1))
        self._legend_rows = 0
        self._layout()
        if self.labels:
            self.axes.set_yticks(range(len(self.labels)), self.labels)
            self.axes.set_ylim(len(self.labels) - 0.4, -0.6)
            self.axes.grid(visible=False, axis="y")

    def _layout(self) -> None:
        """Set the margins for labels and legend."""
        left = max((_MARGIN + _LETTER * len(label) for label in self.labels), default=_LEFT)
        named_above, named_below = bool(self.axes.get_title("left")), bool(self.axes.get_xlabel())
        top = _TOP + LABEL_HEIGHT * named_above + _LEGEND_ROW * self._legend_rows
        self._set_margins(left, _RIGHT, top, _BOTTOM + LABEL_HEIGHT * named_below)

    def _set_margins(self, left: float, right: float, top: float, bottom: float) -> None:
        width, height = WIDTH - left - right, self.height - top - bottom
        self.axes.set_position(
            (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        )

    def hide_axes(self) -> None:
        """Let the axes fill the figure, without ticks and frame."""
        self.axes.set_axis_off()
        self._set_margins(4, 4, 0, 4)

    def label_axes(self, x: str, y: str = "") -> None:
        """Label the axes."""
        with matplotlib.rc_context(_STYLE):
            self.axes.set_xlabel(x)
            self.axes.set_title(y, loc="left")
        self._layout()

    def annotate(self, text: str, x: float, y: float) -> None:
        """Write a text to the right of a point."""
        with matplotlib.rc_context(_STYLE):
            self.axes.annotate(
                text, (x, y), (5, 0), textcoords="offset points", va="center", size=11
            )

    def add_tooltip(self, artist: Any, *tooltips: Tooltip) -> None:
        """Add a tooltip to a line or bar, or one to each point of a scatter plot."""
        artist.set_gid(f"mark{len(self._tooltips)}")
        self._tooltips.append(tooltips)

    def legend(self, handles: Sequence[Any], columns: int = 2) -> None:
        """Put the legend above the axes, where it covers nothing."""
        self._legend_rows = -(-len(handles) // columns)
        self._layout()
        with matplotlib.rc_context(_STYLE):
            self._part.legend(handles=handles, loc="upper left", ncols=columns, borderaxespad=0)

    def svg(self, key: str = "") -> str:
        """Return the figure as an SVG element; its title and description are in the page.

        Args:
            key: Its ID within the page, if not that of the canvas.
        """
        text = StringIO()
        self.finish()
        with matplotlib.rc_context(_STYLE):
            self._whole.savefig(text, format="svg", metadata={"Date": None})
        root = ElementTree.fromstring(text.getvalue())
        self._add_titles(root)
        _clean_svg(root, key or self.key)
        return ElementTree.tostring(root, encoding="unicode")

    def figure(self) -> NotebookFigure:
        """Return the figure, with all that it takes from this module's style settled."""
        self.finish()
        with matplotlib.rc_context(_STYLE):
            self._whole.set_facecolor("white")  # also where a notebook is dark
            self._whole.draw_without_rendering()  # makes the ticks
        return self._whole

    def finish(self) -> None:
        """Choose the ticks that suit what was drawn."""
        with matplotlib.rc_context(_STYLE):
            _plain_log_ticks(self.axes.xaxis)
            _plain_log_ticks(self.axes.yaxis)

    def _add_titles(self, root: ElementTree.Element) -> None:
        groups = {element.get("id"): element for element in root.iter(f"{_SVG}g")}
        for number, tooltips in enumerate(self._tooltips):
            group = groups[f"mark{number}"]
            shapes = _shapes(group) if len(tooltips) > 1 else [group]
            for shape, tooltip in zip(shapes, tooltips, strict=True):
                _add_title(shape, tooltip)


def _plain_log_ticks(axis: Axis) -> None:
    """Write ticks of a logarithmic axis as plain numbers, as many as fit."""
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        close = high / low < _FEW_DECADES
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if close else (1,), numticks=_MOST_TICKS))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def integer_ticks(axis: Axis) -> None:
    """Put ticks at integers only."""
    axis.set_major_locator(MaxNLocator(_MOST_TICKS, integer=True))


def _shapes(group: ElementTree.Element) -> list[ElementTree.Element]:
    """The shapes of a scatter plot in the order of its points, without the templates in defs."""
    copied = {each for defs in group.iter(f"{_SVG}defs") for each in defs.iter()}
    wanted = (f"{_SVG}use", f"{_SVG}path")
    return [each for each in group.iter() if each.tag in wanted and each not in copied]


def _add_title(shape: ElementTree.Element, tooltip: Tooltip) -> None:
    shape.set("class", "mark")
    if tooltip.trial is not None:
        shape.set("data-trial", str(tooltip.trial))
    title = ElementTree.Element(f"{_SVG}title")
    title.text = tooltip.text
    shape.insert(0, title)


def _clean_svg(root: ElementTree.Element, key: str) -> None:
    """Remove what only a standalone file needs, and make IDs unique within the page."""
    in_defs = {each for defs in root.iter(f"{_SVG}defs") for each in defs.iter()}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
        _rename(parent, key, keep=parent in in_defs)
        _shorten(parent)
    for name in ("width", "height", "version"):
        del root.attrib[name]  # the width is set by the page
    root.set("aria-hidden", "true")  # the page has a text description


def _rename(element: ElementTree.Element, key: str, keep: bool) -> None:
    """Prefix referenced IDs with the figure's key, and remove all other IDs."""
    name = element.attrib.pop("id", "")
    if keep and name:
        element.set("id", f"{key}-{name}")
    if target := element.attrib.pop(_HREF, ""):
        element.set("href", f"#{key}-{target[1:]}")
    for used in ("clip-path", "style"):
        if "url(#" in (value := element.get(used, "")):
            element.set(used, value.replace("url(#", f"url(#{key}-"))


def _shorten(element: ElementTree.Element) -> None:
    """Round coordinates to a hundredth of a pixel, and leave the font to the page."""
    if path := element.get("d"):
        element.set("d", _DECIMALS.sub(r"\1", " ".join(path.split())))
    if "font-family" in (style := element.get("style", "")):
        element.set("style", _FONT.sub("", style))
