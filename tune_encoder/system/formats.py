"""Text formats of numbers, durations, sizes, counts and paths."""

import shlex
from pathlib import Path


def format_value(value: object, missing: str = "-") -> str:
    """Format a value: floats with four significant digits, None as `missing`."""
    if value is None:
        return missing
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_short(value: object) -> str:
    """Format a value for narrow space, such as an axis: floats with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_clock(seconds: float) -> str:
    """Format a measured duration as 0:07, 12:30 or 3:05:00."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def format_duration(seconds: float) -> str:
    """Format an estimated duration in a suitable unit."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def format_size(n_bytes: float) -> str:
    """Format a size in decimal units: 1 MB is a million bytes."""
    if n_bytes < 1e6:
        return f"{n_bytes / 1e3:.0f} kB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


def count_noun(count: int, noun: str) -> str:
    """Format a count with its noun, such as "1 trial" or "3 trials"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def quote_path(path: Path) -> str:
    """Return a path as it can be pasted; one that begins with a dash would be read as an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
