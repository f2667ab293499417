"""Ports that two of pytest's processes never choose both: one is free until it is bound."""

import os
from itertools import count

from tune_encoder.system.ports import free_port

_EACH = 300  # ports of a process of pytest
_first = 20_000 + _EACH * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_ports = count(_first)


def own_port() -> int:
    """A port of the loopback interface that is free and that this run gives out only here."""
    port = free_port(next(_ports))
    while next(_ports) < port:
        pass
    return port
