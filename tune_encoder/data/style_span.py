"""Where the rows of good styles point, to tell a mixture of voices from noise.

The rows of a style have fixed roles, so each is measured on its own: by the part of it that lies
outside the span of the same row of the good styles, in units of its length. That is 0 for a
mixture of them, whatever its norm, and 1 for a row at right angles to all.

Shapes: N styles, R rows, W numbers in a row, K directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_encoder.data.voice_style import VoiceStyle, unit_rows
from tune_encoder.system.formats import count_noun

MAX_DISTANCE = {"style_ttl": 0.5, "style_dp": 0.3}
"""RMS over the rows.

Measured on ten Supertonic presets, of timbre: a preset is 0.23 to 0.35 from the span of the nine
others, and 0.26 to 0.54 from that of three; mixtures of two are at most 0.36 from that of the eight
others. A preset with noise of 0.1 an element is 0.78 or more from all, pure noise 0.93. Of rhythm,
whose 16 dimensions ten voices nearly span: at most 0.18, and 0.48 for pure noise.
"""
MIN_STYLES = 3  # from the span of one or two, a preset can be as far as 0.63
MAX_STYLES = 500  # more take memory, 50 kB each, and add no direction
MAX_DIRECTIONS = 32  # noise of good styles, which is in all directions, would hide any other
DIRECTION_FROM = 1e-4  # of the largest singular value; what is below is rounding
MIN_NORM = 0.1  # a shorter row has no direction; mixtures of presets have 0.5 or more

Array = NDArray[np.float32]


@dataclass(frozen=True)
class StyleSpan:
    """The directions of the rows of good styles."""

    directions: dict[str, Array]
    """(R, K, W) orthonormal, or zero, of `style_ttl` and `style_dp`."""
    count: int
    """Number of styles that they are of."""

    @classmethod
    def of(cls, styles: Sequence[VoiceStyle]) -> "StyleSpan":
        """Return the span of styles with rows of norm 1."""
        return cls(
            {
                "style_ttl": _directions(np.stack([style.ttl for style in styles])),
                "style_dp": _directions(np.stack([style.dp for style in styles])),
            },
            len(styles),
        )

    def problem(self, style: VoiceStyle) -> str | None:
        """Return why a finite style, of any norm, is no voice, or None if it can be one."""
        for name, part in (("style_ttl", style.ttl), ("style_dp", style.dp)):
            distance = _distance(part, self.directions[name])
            if distance > MAX_DISTANCE[name]:
                return (
                    f"{name} is {distance:.2f} from the span of {count_noun(self.count, 'style')}; "
                    f"a voice is at most {MAX_DISTANCE[name]:g} from it"
                )
        return None


def _directions(styles: Array) -> Array:
    """The main directions (R, K, W) of each row of styles (N, R, W)."""
    _, sizes, directions = np.linalg.svd(styles.transpose(1, 0, 2), full_matrices=False)
    is_rounding = sizes < DIRECTION_FROM * sizes[:, :1]
    directions[is_rounding] = 0
    return np.asarray(directions[:, :MAX_DIRECTIONS])


def _distance(style: Array, directions: Array) -> float:
    """RMS over the rows (R, W) of the part of each, scaled to length 1, that is in no direction."""
    if np.linalg.norm(style.astype(np.float64), axis=-1).min() < MIN_NORM:
        return 1.0
    along = np.einsum("rkw,rw->rk", directions, unit_rows(style.astype(np.float64)))
    outside = 1 - np.square(along).sum(axis=1)
    return float(np.sqrt(np.maximum(outside, 0).mean()))
