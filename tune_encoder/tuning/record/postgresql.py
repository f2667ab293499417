"""Connections to PostgreSQL that lock a search against other drivers."""

import os
import socket
import time
import zlib
from typing import Any

from sqlalchemy import URL, Pool, StaticPool, create_pool_from_url, event

from tune_encoder.errors import StorageError

_LIBPQ = ("psycopg", "psycopg2")
# Client and server detect within about 11 seconds that the other machine is gone.
_CLIENT_SETTINGS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,
}
_SERVER_SETTINGS = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
# A server that does other work releases the lock of a connection a moment after its end.
_RETRIES_S = (0.1, 0.2, 0.4, 0.8)
_LOCK_NAMESPACE = zlib.crc32(b"tune-encoder") >> 1  # separates our locks from other programs'
_SELECT_HOLDER = (
    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND datname = current_database() "
    "AND classid = %s AND objid = %s"
)


class InUse(StorageError):
    """The search is in use: another process writes to it."""


def is_postgresql(address: URL) -> bool:
    """Whether the URL is one of PostgreSQL, with any driver."""
    return address.get_backend_name() == "postgresql"


def with_driver(address: URL) -> URL:
    """Return the URL with the driver that the extra `postgresql` installs, if it names none."""
    named = address.drivername != "postgresql"
    return address if named else address.set(drivername="postgresql+psycopg")


def locking_pool(address: URL, url: str, name: str) -> Pool:
    """Return a pool of one connection, which holds the lock of a search.

    Optuna uses two connections at once while it inspects its tables; here they are the same. The
    connection gets the lock when it is opened, and the server releases it when it is gone.

    Args:
        address: URL with a driver.
        url: URL as the user wrote it, for messages.
        name: Name of the search.
    """
    arguments = _CLIENT_SETTINGS if address.get_driver_name() in _LIBPQ else {}
    pool = create_pool_from_url(address, poolclass=StaticPool, connect_args=arguments)

    def take(connection: Any, _: Any) -> None:
        holder = _try_lock(connection, zlib.crc32(name.encode()) >> 1)
        if holder is not None:
            connection.close()
            raise InUse(f"{url}: {name} is in use by {holder}; wait until it ends, or stop it")

    event.listen(pool, "connect", take)
    return pool


def _try_lock(connection: Any, key: int) -> str | None:
    """Take a lock that lasts as long as the connection, or return who holds it."""
    settings = {
        **_SERVER_SETTINGS,
        "application_name": f"pid {os.getpid()} on {socket.gethostname()}",
    }
    cursor = connection.cursor()
    for setting, value in settings.items():
        cursor.execute("SELECT set_config(%s, %s, false)", (setting, value))
    holder = None
    if not _locked(cursor, key):
        cursor.execute(_SELECT_HOLDER, (_LOCK_NAMESPACE, key))
        (holder,) = cursor.fetchone() or ("another process",)
    connection.commit()  # otherwise the settings would be rolled back; the lock would stay
    return holder


def _locked(cursor: Any, key: int) -> bool:
    """Try to take the lock, and again if it is held."""
    for delay in (0.0, *_RETRIES_S):
        time.sleep(delay)
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (_LOCK_NAMESPACE, key))
        if cursor.fetchone()[0]:
            return True
    return False
