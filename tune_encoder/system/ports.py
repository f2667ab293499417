"""Free TCP ports on the loopback interface."""

import socket

from tune_encoder.errors import StorageError

LOOPBACK = "127.0.0.1"
_PORTS = 100  # to try


def free_port(first: int) -> int:
    """Return the first port from `first` on that no program uses.

    Raises:
        StorageError: if a hundred ports are in use.
    """
    for port in range(first, first + _PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise StorageError(
        f"ports {first} to {first + _PORTS - 1} are all in use; stop the programs that use them"
    )
