"""Pitch and level of a clip, and similarities on a line, as SVG in the colours of the page.

Shapes: F frames of 10 ms.
"""

from collections.abc import Mapping

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray

from tune_encoder.speech.ear import Scale
from tune_encoder.speech.pitch import HIGHEST_HZ, LOWEST_HZ

_HEIGHT = 60  # of pitch and level, in units of the drawing; a frame is one wide
_LEVEL_RANGE_DB = 50.0  # below the loudest frame
_WIDTH, _LEFT, _RIGHT = 400, 12, 388  # of the line of similarities
_LINE_Y = 34

Array = NDArray[np.float32]


def contours(pitch: Array, level: Array) -> str:
    """Return pitch (F,) in Hz as a line, on a logarithmic scale, over level (F,) as an area."""
    heights = np.clip((level - level.max()) / _LEVEL_RANGE_DB + 1, 0, 1)
    area = " ".join(f"L{i} {_y(height)}" for i, height in enumerate(heights))
    return (
        f'<svg class="contours" viewBox="0 0 {len(pitch)} {_HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true"><path class="level" d="M0 {_HEIGHT} {area} '
        f'L{len(pitch) - 1} {_HEIGHT}Z"/><path class="pitch" d="{_line(pitch)}"/></svg>'
    )


def _line(pitch: Array) -> str:
    """The path of the pitch; it is broken where there is none."""
    heights = np.log(pitch / LOWEST_HZ) / np.log(HIGHEST_HZ / LOWEST_HZ)
    starts = np.isnan(np.concatenate([[np.nan], pitch[:-1]]))
    steps = [
        # A frame alone would be a line of no length.
        f"M{i} {_y(height)}h.5" if starts[i] else f"L{i} {_y(height)}"
        for i, height in enumerate(heights)
        if np.isfinite(height)
    ]
    return " ".join(steps)


def _y(height: float) -> str:
    return f"{(1 - height) * _HEIGHT:.1f}"


def similarity_line(clone: float, presets: Mapping[str, float], scale: Scale) -> str:
    """Return the clone and the presets on a line, by how alike the original they are."""
    known = [clone, *presets.values(), scale.strangers, *([scale.same] if scale.same else [])]
    lowest = np.floor(min(known) * 10) / 10

    def x(similarity: float) -> str:
        return f"{_LEFT + (similarity - lowest) / (1 - lowest) * (_RIGHT - _LEFT):.1f}"

    marks = [
        f'<circle class="preset" cx="{x(value)}" cy="{_LINE_Y}" r="5">'
        f"<title>{escape(name)}: {value:.2f}</title></circle>"
        for name, value in presets.items()
    ]
    ends = {"two presets": scale.strangers, "one preset": scale.same}
    ticks = [_tick(x(value), name) for name, value in ends.items() if value is not None]
    numbers = "".join(
        f'<text x="{x(value)}" y="72" text-anchor="middle">{value:.1f}</text>'
        for value in np.arange(lowest, 1.01, 0.1)
    )
    return (
        f'<svg class="similarities" viewBox="0 0 {_WIDTH} 76" aria-hidden="true">'
        f'<path class="axis" d="M{_LEFT} {_LINE_Y}H{_RIGHT}"/>{"".join(ticks)}{"".join(marks)}'
        f'<path class="clone" d="M{x(clone)} {_LINE_Y - 9}l7 9l-7 9l-7 -9Z"><title>clone: '
        f"{clone:.2f}</title></path>{numbers}</svg>"
    )


def _tick(x: str, name: str) -> str:
    anchor = "end" if float(x) > _WIDTH * 0.8 else "middle"
    return (
        f'<path class="tick" d="M{x} {_LINE_Y - 14}v28"/>'
        f'<text x="{x}" y="14" text-anchor="{anchor}">{name}</text>'
    )
