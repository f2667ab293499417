"""Options of ECharts that all figures share, and what has changed between two of them.

Every series has an ID, so that a chart in a page takes the changed ones and keeps the others, and
where its reader has zoomed to.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tune_encoder.experiment.status import FAILED, FINISHED, STOPPED
from tune_encoder.report.palette import BLUE, GREEN, GREY, ORANGE, PURPLE

Options = dict[str, Any]

# Readable on white and on black: the page follows the browser's choice of light and dark.
TEXT, LINE, FAINT = "#808080", "#80808080", "#80808030"
BEST = ORANGE
_COLORS = {FINISHED: BLUE, STOPPED: GREY, FAILED: PURPLE}
CHART_HEIGHT = 300  # pixels
PARALLEL_ROW = 56  # pixels of an axis of the parallel coordinates
_TOOLTIP_STYLE = "white-space: pre-line; max-width: 320px; overflow-wrap: anywhere;"


def state_color(state: str) -> str:
    """Return the colour of a trial by its status; one that runs is green."""
    return _COLORS.get(state, GREEN)


def chart(x: Options, y: Options, series: Sequence[Options], **more: Any) -> Options:
    """Return the options of a chart with two axes that can be zoomed.

    Args:
        x: Options of the horizontal axis.
        y: Options of the vertical axis.
        series: The series, each with an `id`.
        **more: Other options, which replace these.
    """
    return {
        **base(),
        "grid": {"left": 12, "right": 24, "top": 36, "bottom": 34, "containLabel": True},
        "xAxis": {**_axis(), "nameLocation": "middle", "nameGap": 26, **x},
        "yAxis": {**_axis(), "nameLocation": "end", "nameTextStyle": {"align": "left"}, **y},
        "toolbox": _toolbox(),
        "dataZoom": [_pinch("xAxisIndex"), _pinch("yAxisIndex")],
        "series": list(series),
        **more,
    }


def base() -> Options:
    """Return the options that every chart has."""
    return {
        "animation": False,
        "backgroundColor": "transparent",
        "textStyle": {"color": TEXT},
        "tooltip": tooltip("{b}"),
    }


def tooltip(text: str) -> Options:
    """Return a tooltip of one mark; ECharts escapes the names and values in it."""
    return {
        "trigger": "item",
        "confine": True,
        "formatter": text,
        "extraCssText": _TOOLTIP_STYLE,
        "textStyle": {"fontSize": 12},
    }


def empty(message: str) -> Options:
    """Return a chart that only says why it is empty."""
    style = {"color": TEXT, "fontSize": 13, "fontWeight": "normal", "lineHeight": 20}
    title = {"text": message, "left": "center", "top": "middle", "textStyle": style}
    return {**base(), "title": title, "series": []}


def _axis() -> Options:
    return {
        "type": "value",
        "scale": True,
        "nameTextStyle": {"color": TEXT},
        "axisLabel": labels(),
        "axisLine": {"show": True, "lineStyle": {"color": LINE}},
        "axisTick": {"lineStyle": {"color": LINE}},
        "splitLine": {"lineStyle": {"color": FAINT}},
    }


def labels(**more: Any) -> Options:
    """Return the options of the labels of an axis; **more replaces some."""
    return {"color": TEXT, "hideOverlap": True, **more}


def short(value: float) -> float:
    """Round to six digits: more are not seen, and would double what is sent."""
    return float(f"{value:.6g}")


def category_axis(names: Sequence[str]) -> Options:
    """Return the options of an axis of names, the first at the top or left."""
    return {"type": "category", "data": list(names), "splitLine": {"show": False}}


def _toolbox() -> Options:
    titles = {"zoom": "zoom: drag over a part", "back": "zoom out"}
    style = {"borderColor": TEXT}
    return {"right": 12, "feature": {"dataZoom": {"title": titles, "iconStyle": style}}}


def _pinch(axis: str) -> Options:
    """Zoom with two fingers or Ctrl and the wheel: the wheel alone scrolls the page."""
    return {
        "type": "inside",
        axis: 0,
        "filterMode": "none",
        "zoomOnMouseWheel": "ctrl",
        "moveOnMouseMove": "shift",
        "preventDefaultMouseMove": False,
    }


class Change(NamedTuple):
    """What has to be set in a chart: the two arguments of `setOption` of ECharts."""

    options: Options
    how: Options


def changes(old: Options, new: Options) -> Change | None:
    """Return what a chart that shows `old` needs to show `new`; None if they are equal.

    Series that have not changed are not sent again.
    """
    if old.keys() != new.keys():  # from a chart that only says why it is empty, or back
        return Change(new, {"notMerge": True})
    found = {name: new[name] for name in new if name != "series" and old[name] != new[name]}
    before = {each["id"]: each for each in old["series"]}
    changed = [each for each in new["series"] if before.get(each["id"]) != each]
    if before.keys() <= {each["id"] for each in new["series"]}:
        options = {**found, **({"series": changed} if changed else {})}
        return Change(options, {}) if options else None
    kept = [_if_changed(before.get(each["id"]), each) for each in new["series"]]
    return Change({**found, "series": kept}, {"replaceMerge": ["series"]})


def _if_changed(old: Options | None, new: Options) -> Options:
    """The series, or of one that a chart has already only what names it."""
    return {"id": new["id"], "type": new["type"]} if old == new else new
