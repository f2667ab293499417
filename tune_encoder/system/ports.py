"""TCP ports of this machine, on loopback only."""

import socket

from tune_encoder.errors import StorageError

LOOPBACK = "127.0.0.1"
_PORTS = 100  # to try


def free_port(first: int) -> int:
    """Return the first port from here on that nothing on this machine listens on.

    Raises:
        StorageError: if a hundred are taken.
    """
    for port in range(first, first + _PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise StorageError(f"ports {first} to {first + _PORTS - 1} are all in use; end what uses them")
