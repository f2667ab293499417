"""What a test sees of processes that start and end while it looks."""

import psutil


def command_of(process: psutil.Process, n_words: int | None = None) -> str:
    """Return the first words of a command line, all by default.

    There are none of a process that has ended, whether or not its parent has waited for it.
    """
    try:
        return " ".join(process.cmdline()[:n_words])
    except psutil.Error:
        return ""
