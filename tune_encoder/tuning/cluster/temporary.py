"""The folder of Ray's sockets and logs: where temporary files are, if its path is short enough."""

import os
import sys
from pathlib import Path

from tune_encoder.errors import StorageError

_LONGEST = 103 if sys.platform == "darwin" else 107  # bytes in the path of a socket
_SOCKET = "session_2026-11-29_05-43-04_123456_4194304/sockets/plasma_store.1"  # in Ray's folder
RAY_FOLDER = "ray"  # of a local Ray, as Ray calls it
_VARIABLES = ("RAY_TMPDIR", "TMPDIR")  # as Ray looks at them
_DEFAULT = "/tmp"
_SHORT = (_DEFAULT, "/dev/shm", "/var/tmp")


def ray_parent(name: str, *, quietly: bool = False) -> Path:
    """Return where a folder of Ray of this name can be, and say if that is not where it should be.

    Args:
        name: Of the folder.
        quietly: Whether nothing is said, as where it is only checked that there is such a place.

    Raises:
        StorageError: if the path would be too long for a socket, and no shorter one is writable.
    """
    variable = next((each for each in _VARIABLES if os.environ.get(each)), "")
    wanted = Path(os.environ.get(variable, _DEFAULT)).absolute()
    longest = _LONGEST - len(f"/{name}/{_SOCKET}")
    if len(os.fsencode(wanted)) <= longest:
        return wanted
    for shorter in map(Path, _SHORT):
        if os.access(shorter, os.W_OK | os.X_OK):
            if not quietly:
                said = f"{variable} is too long for Ray's sockets; they are in {shorter}"
                print(said, file=sys.stderr)  # noqa: T201
            return shorter
    raise StorageError(
        f"{variable} is {wanted}: too long for Ray's sockets; set it to a path of at most "
        f"{longest} bytes"
    )


def ray_dashboards() -> Path:
    """Return where a local Ray that serves its dashboard writes dashboards for Grafana."""
    session = ray_parent(RAY_FOLDER, quietly=True) / RAY_FOLDER / "session_latest"
    return session / "metrics" / "grafana" / "dashboards"
