"""Copying a trial's metrics and logs from a node that does not share the experiment's folder.

The files of a run only grow, so after each epoch only what was appended is sent.
"""

from pathlib import Path

FileDelta = list[tuple[str, int, bytes]]
"""For each changed file: its name in the run's folder, an offset, and the content from there."""
FILES = "files"  # key of the delta in the results that Tune gets


class FileSender:
    """A run's folder, and what of it has already been sent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent: dict[str, bytes] = {}

    def next_delta(self) -> FileDelta:
        """Return what was added since the last call."""
        delta: FileDelta = []
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(self._folder).as_posix()
                before, content = self._sent.get(name, b""), path.read_bytes()
                start = len(before) if content.startswith(before) else 0
                if content != before:
                    delta.append((name, start, content[start:]))
                self._sent[name] = content
        return delta


def apply_delta(delta: FileDelta, folder: Path) -> None:
    """Write the content of a delta into a folder."""
    for name, start, content in delta:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with path.open("r+b") as file:
            file.seek(start)
            file.write(content)
            file.truncate()
