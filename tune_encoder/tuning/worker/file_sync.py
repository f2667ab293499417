"""What a trial leaves for people, carried to the experiment's folder from a node that sees it not.

The files of a run only grow, so each epoch carries what was added to them.
"""

from pathlib import Path

FileDelta = list[tuple[str, int, bytes]]
"""Of each file that changed: its name within the run's folder, from where on, and what."""
FILES = "files"  # the delta's key in what Tune is told


class FileSender:
    """A run's folder, and what was sent of it already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent: dict[str, bytes] = {}

    def next_delta(self) -> FileDelta:
        """Return what came since the last time."""
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
    """Write what a delta holds into the folder it is meant for."""
    for name, start, content in delta:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with path.open("r+b") as file:
            file.seek(start)
            file.write(content)
            file.truncate()
