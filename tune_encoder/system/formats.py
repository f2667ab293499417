"""How numbers, durations, sizes and counts are written for a person."""


def format_value(value: object, missing: str = "-") -> str:
    """Write a value: a number with a fraction in four digits, what is missing as a mark."""
    if value is None:
        return missing
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_short(value: object) -> str:
    """Write a value where room is narrow, as on an axis: a fraction in three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_clock(seconds: float) -> str:
    """Write a duration that was measured, as 0:07, 12:30 or 3:05:00."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def format_duration(seconds: float) -> str:
    """Write a duration that is only known roughly, in the unit that reads best."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def format_size(n_bytes: float) -> str:
    """Write a size, in the units of those who sell disks: 1 MB is a million bytes."""
    if n_bytes < 1e6:
        return f"{n_bytes / 1e3:.0f} kB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


def count_noun(count: int, noun: str) -> str:
    """Write a count with its noun, such as "1 trial" or "3 trials"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
