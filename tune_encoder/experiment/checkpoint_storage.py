"""Checkpoint storage outside the experiment's folder: an S3 bucket or a shared folder.

    LOCATION/owner                               the identity of the search that uses it
    LOCATION/1/0007_f3a9c1/checkpoint_000003/    launch 1, trial 7, epoch 3; its manifest is last

A checkpoint is complete once its manifest exists, and is never overwritten. A reader downloads it
to a local folder first, where `training.checkpoints` verifies it like any other.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.system.files import atomic_folder, atomic_write
from tune_encoder.system.manifest import MANIFEST

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_S3 = "s3://"
_PROBE = ".probe"
_OWNER = "owner"
_CHECKPOINT_NAME = re.compile(
    r"\d+/\d{4,}(_[a-z0-9]+)?/checkpoint_\d+"
)  # other names are those of nested locations
_ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
_CONNECT_S, _SILENCE_S, _ATTEMPTS = (
    3.0,
    5.0,
    3,
)  # with pyarrow's defaults a failure takes up to 100 s
_CHUNK_BYTES = 2**20
# Errors of S3 servers in pyarrow's words, and what to do.
_REMEDIES = {
    r"NO_SUCH_BUCKET|Bucket .* not found": "there is no such bucket; create it, or choose another",
    r"bucket is located in '([\w-]+)'": r"the bucket is in another region; set AWS_REGION=\1",
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|HTTP status 40[13]": (
        "access is denied; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials, "
        "to a key that may read, write and delete there"
    ),
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT": (
        "no answer from {server}; check that it runs and that AWS_ENDPOINT_URL is its address"
    ),
}


def checkpoint_location(storage: str, name: str) -> str:
    """Return the location of an experiment's checkpoints within a storage.

    Args:
        storage: s3://BUCKET/PATH, file:///PATH or a folder.
        name: Name of the experiment.
    """
    if storage.startswith(_S3):
        return f"{storage.rstrip('/')}/{name}"
    folder = unquote(urlsplit(storage).path) if "://" in storage else storage
    return str(Path(folder).expanduser().absolute() / name)


def storage_of_location(location: str) -> str:
    """Return the storage that contains a location."""
    return location.rpartition("/")[0]


def checkpoints_of_trial(names: Iterable[str], number: int) -> list[str]:
    """Return the checkpoints of one trial.

    A run's folder is the trial's number, with an underscore and letters if the trial restarted.
    """
    return [name for name in names if name.split("/")[1].partition("_")[0] == f"{number:04d}"]


@dataclass(frozen=True)
class Storage:
    """The checkpoint storage of one experiment, accessed with this process's credentials."""

    location: str
    """s3://BUCKET/PATH/NAME, or a folder."""
    endpoint: str = ""
    """Address of an S3 server other than Amazon's."""
    region: str = ""
    """Region of the bucket; if empty, that of the AWS configuration."""

    @classmethod
    def at(cls, location: str) -> "Storage":
        """Return the storage at a location, with server and region from the environment."""
        return cls(location, _environment(_ENDPOINT), _environment(_REGION))

    def __reduce__(self) -> "tuple[type[Storage], tuple[str, str, str]]":
        """Pickle without the connection, which has this process's credentials."""
        return Storage, (self.location, self.endpoint, self.region)

    @cached_property
    def _files(self) -> "FileSystem":
        return self._connect(_ATTEMPTS)

    def _connect(self, attempts: int) -> "FileSystem":
        from pyarrow import fs

        if not self.location.startswith(_S3):
            return fs.LocalFileSystem()
        return fs.S3FileSystem(
            endpoint_override=self.endpoint or None,
            region=self.region or None,
            connect_timeout=_CONNECT_S,
            request_timeout=_SILENCE_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
            allow_delayed_open=True,  # one request for a small file instead of three
        )

    @property
    def _root(self) -> str:
        return self.location.removeprefix(_S3)

    def check(self) -> None:
        """Write, read and remove a small file.

        Raises:
            StorageError: if any of it fails.
        """
        probe = f"{self._root}/{_PROBE}"
        with self._one_line_errors("used"):
            files = self._connect(attempts=1)
            self._make_folder(self._root)
            files.open_output_stream(probe).close()
            _read(files, probe)
            files.delete_file(probe)

    def check_unused(self) -> None:
        """Raise a `ConfigError` if another experiment uses the location."""
        if self.checkpoint_names():
            raise ConfigError(
                f"{self.location}: has checkpoints of another search; choose another --name or "
                "--storage, or remove them"
            )
        if self._owner():
            raise ConfigError(
                f"{self.location}: used by another search; choose another --name or --storage, "
                f"or remove {_OWNER} there if that search no longer exists"
            )

    def claim(self, identity: str) -> None:
        """Record which search uses the location, unless that is recorded already.

        Args:
            identity: Of the search; empty for searches of older versions.

        Raises:
            StorageError: if another search uses it, or it is not accessible.
        """
        if identity and not self._owner():
            with self._one_line_errors("written"):
                self._make_folder(self._root)
                with self._files.open_output_stream(f"{self._root}/{_OWNER}") as file:
                    file.write(identity.encode())
        self.check_owner(identity)  # of two that began at once, the later overwrote the owner

    def check_owner(self, identity: str) -> None:
        """Raise a `StorageError` if another search is recorded as the owner."""
        owner = self._owner()
        if identity and owner not in ("", identity):
            raise StorageError(
                f"{self.location}: has checkpoints of another search of this name; start this one "
                "again under another --name"
            )

    def _owner(self) -> str:
        """The identity of the search that uses the location; empty if none is recorded."""
        with self._one_line_errors("read"), suppress(FileNotFoundError):
            return _read(self._files, f"{self._root}/{_OWNER}").decode(errors="replace").strip()
        return ""

    def upload(self, folder: Path, name: str) -> None:
        """Upload a checkpoint's folder.

        Args:
            folder: The folder, with its manifest.
            name: LAUNCH/RUN/CHECKPOINT, not used yet.

        Raises:
            StorageError: if it cannot be written.
        """
        destination = f"{self._root}/{name}"
        with self._one_line_errors("written"):
            self._make_folder(destination)
            for path in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST):
                _copy(path, self._files, f"{destination}/{path.name}")

    def _make_folder(self, folder: str) -> None:
        if not self.location.startswith(_S3):  # a bucket has no folders
            self._files.create_dir(folder)

    def checkpoint_names(self) -> list[str]:
        """Return every stored checkpoint as LAUNCH/RUN/CHECKPOINT, sorted.

        Raises:
            StorageError: if it cannot be listed.
        """
        from pyarrow.fs import FileSelector

        everything = FileSelector(self._root, allow_not_found=True, recursive=True)
        with self._one_line_errors("listed"):
            paths = [info.path for info in self._files.get_file_info(everything)]
        start, end = len(self._root) + 1, f"/{MANIFEST}"
        names = (path[start : -len(end)] for path in paths if path.endswith(end))
        return sorted(name for name in names if _CHECKPOINT_NAME.fullmatch(name))

    def download(self, name: str, folder: Path) -> None:
        """Download a checkpoint to `folder/name`, unless it is there or no longer in the storage.

        Raises:
            StorageError: if it cannot be read or the folder cannot be written.
        """
        from pyarrow.fs import FileSelector

        local = folder / name
        if local.exists():
            return
        destination = FileSelector(f"{self._root}/{name}", allow_not_found=True)
        with self._one_line_errors("read"):
            infos = self._files.get_file_info(destination)
            contents = [(info, _read(self._files, info.path)) for info in infos if info.is_file]
        if contents:
            with atomic_folder(local, replace=True) as partial:
                for info, content in contents:
                    atomic_write(partial / info.base_name, content)
                    os.utime(partial / info.base_name, ns=(info.mtime_ns, info.mtime_ns))

    def remove(self, name: str) -> None:
        """Remove a checkpoint; errors are ignored, since it then only takes up space.

        The manifest is removed first: after an interrupted removal the checkpoint is incomplete.
        """
        destination = f"{self._root}/{name}"
        with suppress(OSError):
            with suppress(FileNotFoundError):
                self._files.delete_file(f"{destination}/{MANIFEST}")
            self._files.delete_dir(destination)

    @contextmanager
    def _one_line_errors(self, action: str) -> Iterator[None]:
        """Turn errors of the file system into one line."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self.location}: cannot be {action}, {self._explain(error)}"
            ) from error

    def _explain(self, error: OSError) -> str:
        message = " ".join(str(error).split())
        for pattern, remedy in _REMEDIES.items():
            if self.location.startswith(_S3) and (found := re.search(pattern, message)):
                return found.expand(remedy).format(server=self.endpoint or "Amazon S3")
        return f"{error.strerror or message[:300]}; choose a --storage that you may write to"


def _copy(path: Path, files: "FileSystem", to: str) -> None:
    """Upload a file; pyarrow's own copying does not report a failed upload."""
    with path.open("rb") as source, files.open_output_stream(to) as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)


def _read(files: "FileSystem", path: str) -> bytes:
    with files.open_input_stream(path) as file:
        content: bytes = file.read()
        return content


def _environment(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
