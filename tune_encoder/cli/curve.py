"""A curve drawn with characters: braille dots if the terminal can show them, else stars."""

from bisect import bisect_right
from collections.abc import Sequence

HEIGHT = 8  # lines of the plot, without labels
LABEL_WIDTH = 9  # columns of the labels left of it
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row of a character


def draw_curve(
    epochs: Sequence[int], values: Sequence[float], name: str, width: int, braille: bool
) -> list[str]:
    """Draw values over epochs.

    Args:
        epochs: Epoch numbers in ascending order; at least two.
        values: A finite number for each epoch.
        name: Title of the plot.
        width: Columns of the longest line.
        braille: Whether the terminal can show Unicode.
    """
    columns = width - LABEL_WIDTH - 2
    dots = _dots(epochs, values, columns * (2 if braille else 1), HEIGHT * (4 if braille else 1))
    plot = _braille_lines(dots, columns) if braille else _star_lines(dots, columns)
    corner, line, side = ("\u2514", "\u2500", "\u2502") if braille else ("+", "-", "|")
    labels = [""] * HEIGHT
    labels[0], labels[-1] = f"{max(values):.4g}", f"{min(values):.4g}"
    last = f"epoch {epochs[-1]}"
    return [
        name,
        *(
            f"{label:>{LABEL_WIDTH}} {side}{row}".rstrip()
            for label, row in zip(labels, plot, strict=True)
        ),
        f"{'':{LABEL_WIDTH}} {corner}{line * columns}",
        f"{'':{LABEL_WIDTH}}  {epochs[0]}{last:>{columns - len(str(epochs[0]))}}",
    ]


def _dots(
    epochs: Sequence[int], values: Sequence[float], width: int, height: int
) -> set[tuple[int, int]]:
    """Return the dots of the curve, each column connected to the previous one; y counts down."""
    low, high = min(values), max(values)
    dots, before = set(), None
    for x in range(width):
        epoch = epochs[0] + x / (width - 1) * (epochs[-1] - epochs[0])
        value = _interpolate(epochs, values, epoch)
        y = round((high - value) / ((high - low) or 1.0) * (height - 1))
        joined = range(y, y + 1) if before is None else range(min(before, y), max(before, y) + 1)
        dots |= {(x, each) for each in joined if each != before or each == y}
        before = y
    return dots


def _interpolate(epochs: Sequence[int], values: Sequence[float], epoch: float) -> float:
    """Interpolate linearly between the neighbouring epochs."""
    after = min(bisect_right(epochs, epoch), len(epochs) - 1)
    share = (epoch - epochs[after - 1]) / (epochs[after] - epochs[after - 1])
    return values[after - 1] + share * (values[after] - values[after - 1])


def _star_lines(dots: set[tuple[int, int]], columns: int) -> list[str]:
    return ["".join("*" if (x, y) in dots else " " for x in range(columns)) for y in range(HEIGHT)]


def _braille_lines(dots: set[tuple[int, int]], columns: int) -> list[str]:
    """Draw two by four dots in each character."""
    letters = [[0] * columns for _ in range(HEIGHT)]
    for x, y in dots:
        letters[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    return ["".join(chr(_BRAILLE + bits) if bits else " " for bits in row) for row in letters]
